"""The demo, as whoever types `make demo` sees it: every line of it, and when it came."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from passerelle_sandbox import cache, processes, sandbox, state, supplies
from passerelle_sandbox.deploy import REPOSITORY

pytestmark = pytest.mark.e2e

WARM_SECONDS = 60.0
LONGEST_SILENCE = 10.0
SANDBOX = (sys.executable, "-m", "passerelle_sandbox")

STORY = (
    r"a Kubernetes control plane, a Slurm site of 3 nodes",
    r"^control plane: etcd, kube-apiserver, kube-controller-manager: done",
    r"^the operator: done",
    r"^sandbox +slurmrestd +True",
    r"^    kind: TrainingJob$",
    r"^trainingjob\.passerelle\.dev/first-training created$",
    r"^first-training +sandbox +2 +4 +Accepted",
    r"^first-training +sandbox +2 +4 +Queued +(Resources|Priority)",
    r"^first-training +sandbox +2 +4 +Running",
    r"^first-training +sandbox +2 +4 +Running .*[0-9]+%",
    r"^first-training +sandbox +2 +4 +Succeeded +Completed +100%",
    r"^  rank 3 of 4 on n\d$",
    r"^and the loss curve:$",
    r"^ +\d\.\d+ \|.*\*",
    r"^ +step 1 +step 40$",
    r"Normal +Planned +trainingjob/first-training",
    r"Normal +Submitted +trainingjob/first-training",
    r"Normal +Running +trainingjob/first-training",
    r"Normal +Completed +trainingjob/first-training",
    r"^Prometheus metrics stand at http://127\.0\.0\.1:\d+/metrics until this demo ends;",
    r'^  passerelle_training_metric\{.*,metric="loss"\} \d',
)
"""What stands in its output, in this order."""


@dataclass(frozen=True)
class Told:
    """What a command printed, with the seconds after its start at which each line came, and how it ended."""

    lines: tuple[tuple[float, str], ...]
    seconds: float
    code: int

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)

    @property
    def longest_silence(self) -> float:
        times = [0.0, *(at for at, _ in self.lines), self.seconds]
        return max(later - earlier for earlier, later in pairwise(times))


def run(*words: str, cwd: Path = REPOSITORY) -> Told:
    begin = time.monotonic()
    lines = []
    with subprocess.Popen(
        words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as command:
        assert command.stdout is not None
        lines = [(time.monotonic() - begin, line.rstrip("\n")) for line in command.stdout]
    return Told(tuple(lines), time.monotonic() - begin, command.returncode)


@pytest.fixture
def name() -> Iterator[str]:
    """Of a demo of the test's own: a person's, kept up to look around, stays as it is."""
    supplies.prepare((supplies.CONTROL_PLANE, supplies.SITES[0], supplies.TRAINER_IMAGE))
    name = f"demo-{secrets.token_hex(3)}"
    yield name
    sandbox.down(name)


def test_the_demo_is_what_make_runs() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

    assert "\t@$(PY) -m passerelle_sandbox demo $(if $(KEEP),--keep)\n" in makefile


def test_the_demo_tells_its_story_in_a_minute_and_leaves_nothing(name: str) -> None:
    told = run(*SANDBOX, "demo", "--name", name)

    assert told.code == 0, told.text
    place = 0
    for part in STORY:
        found = re.compile(part, re.MULTILINE).search(told.text, place)
        assert found, f"{part!r} does not come where it should:\n{told.text}"
        place = found.end()
    assert told.longest_silence < LONGEST_SILENCE, told.lines
    assert told.seconds <= WARM_SECONDS, told.lines
    assert re.fullmatch(r"The demo took \d+ s, not counting the Python environment\.", told.lines[-1][1])
    rows = [line.split()[:-1] for _, line in told.lines if line.startswith("first-training ")]
    assert [row for row, after in pairwise(rows) if row == after] == []
    assert processes.of_sandbox(name) == []
    assert cache.mounts_below(state.directory(name)) == []
    assert not state.directory(name).exists()


def test_a_demo_that_is_kept_says_how_to_look_around_and_can_be_taken_down(name: str, tmp_path: Path) -> None:
    told = run(*SANDBOX, "demo", "--name", name, "--keep")
    ways = re.findall(r"^  (\S+ -m passerelle_sandbox (?:status|logs) .*)$", told.text, re.MULTILINE)
    saying = [run("sh", "-c", way, cwd=tmp_path) for way in ways]

    assert told.code == 0, told.text
    found = re.search(r"^  export KUBECONFIG=(\S+)$", told.text, re.MULTILINE)
    assert found
    assert found[1] == str(sandbox.load(name).kubeconfig)
    assert "Succeeded" in sandbox.load(name).kubectl_run("get", "tj", "-A").stdout

    status, logs = saying
    assert status.code == 0, status.text
    assert re.search(r"^  operator +passerelle +ok$", status.text, re.MULTILINE)
    assert logs.code == 0, logs.text
    assert "first-training" in logs.text
    assert re.search(r"^  curl http://127\.0\.0\.1:\d+/metrics$", told.text, re.MULTILINE)

    down = run(*SANDBOX, "down", "--name", name)

    assert (down.code, down.text) == (0, f"sandbox '{name}': ended and removed")
    assert processes.of_sandbox(name) == []

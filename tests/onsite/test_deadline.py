"""The clock of an attempt, the trainer's own signal, and what srun says of nodes, each alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from passerelle.grace import warning_seconds
from passerelle.onsite import deadline, notice, silence
from plans import SOURCE

PID = 4711
GRACE = 100
START = 1_800_000_000.0
LIMIT = 1000


class Node:
    """A node whose time passes as it is slept away. What the site says of the end may change; `sent` are signals with
    the seconds since the start.
    """

    def __init__(self, stop: Path) -> None:
        self.now = START
        self.end: int | None = int(START) + LIMIT
        self.stop = stop
        self.stop_at: float | None = None
        self.sent: list[tuple[int, float]] = []
        self.alive_until = START + 3 * LIMIT

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.stop_at is not None and self.now >= START + self.stop_at:
            self.stop.touch()

    def kill(self, pid: int, number: int) -> None:
        assert pid == PID
        self.sent.append((number, self.now - START))
        if number == signal.SIGUSR1:
            self.stop.touch()

    def parent(self) -> int:
        return PID if self.now < self.alive_until else 1

    def watch(self) -> list[tuple[int, float]]:
        deadline.watch(str(self.stop), GRACE, PID)
        return self.sent


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node(tmp_path / "stop")
    monkeypatch.setattr("passerelle.onsite.deadline.time.time", lambda: made.now)
    monkeypatch.setattr("passerelle.onsite.deadline.time.monotonic", lambda: made.now - START)
    monkeypatch.setattr("passerelle.onsite.deadline.time.sleep", made.sleep)
    monkeypatch.setattr("passerelle.onsite.deadline.os.kill", made.kill)
    monkeypatch.setattr("passerelle.onsite.deadline.os.getppid", made.parent)
    monkeypatch.setattr(deadline, "end_time", lambda: made.end)
    monkeypatch.setenv("PASSERELLE_DEADLINE", str(made.end))
    return made


FIRST = LIMIT - GRACE - deadline.LEAD_SECONDS


def test_the_clock_warns_in_time_for_the_grace_and_ends_the_steps_after_it(node: Node) -> None:
    assert node.watch() == [(signal.SIGUSR1, FIRST), (signal.SIGTERM, FIRST + GRACE)]


def test_the_clock_leaves_a_minute_beyond_the_grace_and_comes_after_slurms_own_warning() -> None:
    assert deadline.LEAD_SECONDS >= 60
    for grace in (1, 30, 31, 300, 330):
        assert warning_seconds(grace) >= grace + deadline.LEAD_SECONDS + 30


def test_where_slurm_has_warned_the_clock_only_counts_the_grace(node: Node) -> None:
    node.stop_at = 500

    assert node.watch() == [(signal.SIGTERM, 500 + GRACE)]


def test_more_time_from_an_administrator_moves_the_warning(node: Node) -> None:
    assert node.end is not None
    node.end += 200

    assert node.watch()[0] == (signal.SIGUSR1, FIRST + 200)


def test_a_site_that_falls_silent_is_believed_what_it_said_before(node: Node) -> None:
    node.end = None

    assert node.watch()[0] == (signal.SIGUSR1, FIRST)


def test_where_no_end_is_known_nobody_is_warned(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERELLE_DEADLINE", "")

    assert node.watch() == []


def test_the_clock_ends_with_the_batch_script(node: Node) -> None:
    node.alive_until = START + 10

    assert node.watch() == []


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A scontrol that prints a file."""
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1800000000")
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    yield tmp_path / "said"
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "said,end",
    [
        ("JobId=41 StartTime=2027-01-15T09:00:00 EndTime=2027-01-15T11:00:00 Deadline=N/A", 1_800_003_600),
        ("JobId=41 EndTime=Unknown Deadline=N/A", 1_800_000_000),
        ("slurm_load_jobs error: Unable to contact slurm controller", 1_800_000_000),
    ],
)
def test_the_end_is_what_the_site_says_now_in_the_nodes_own_time(scontrol: Path, said: str, end: int) -> None:
    scontrol.write_text(said)

    assert deadline.end_time() == end


def test_a_site_that_tells_no_end_has_none(scontrol: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol.write_text("")
    monkeypatch.delenv("SLURM_JOB_END_TIME")

    assert deadline.end_time() is None


@pytest.mark.parametrize(
    "told,at,end",
    [
        ("", "2026-10-25T02:30:00", 1_792_888_200),
        ("1792888200", "2026-10-25T02:30:00", 1_792_888_200),
        ("1792891800", "2026-10-25T02:30:00", 1_792_891_800),
        ("1792891800", "2026-10-25T03:30:00", 1_792_895_400),
        ("", "2026-07-01T12:00:00", 1_782_900_000),
    ],
)
def test_an_hour_that_comes_twice_is_read_as_the_job_was_told_else_as_the_earlier(
    tmp_path: Path, told: str, at: str, end: int
) -> None:
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho EndTime={at}\n")
    (tmp_path / "scontrol").chmod(0o755)
    code = "import time; time.tzset(); from passerelle.onsite import deadline; print(deadline.end_time())"
    environ = {
        "PYTHONPATH": str(SOURCE),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "TZ": "CET-1CEST,M3.5.0,M10.5.0/3",  # Europe/Berlin's rule: an image may have no zone files
        "SLURM_JOB_ID": "41",
        "SLURM_JOB_END_TIME": told,
    }

    said = subprocess.run([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True, check=True)

    assert int(said.stdout) == end


# The trainer's own signal


@pytest.mark.parametrize(
    "text,asked",
    [
        ("4711 USR1\n", (4711, "USR1")),
        ("4711 SIGTERM", (4711, "TERM")),
        ("4711 usr2", (4711, "USR2")),
        ("", None),
        ("4711", None),
        ("-1 TERM", None),
        ("x USR1", None),
        ("4711 USR1 now", None),
    ],
)
def test_a_registration_is_a_process_and_a_signal(tmp_path: Path, text: str, asked: tuple[int, str] | None) -> None:
    (tmp_path / "rank-0").write_text(text)

    assert notice.registered(str(tmp_path / "rank-0")) == asked
    assert notice.registered(str(tmp_path / "rank-1")) is None


@pytest.mark.parametrize(
    "variables,name,ended",
    [
        ({"PASSERELLE_SIGNAL_FILE": "/run/rank-0"}, "TERM", -signal.SIGTERM),
        ({"PASSERELLE_SIGNAL_FILE": "/run/rank-1"}, "TERM", None),
        ({"APPTAINERENV_PASSERELLE_SIGNAL_FILE": "/run/rank-0"}, "TERM", None),
        ({"PASSERELLE_SIGNAL_FILE": "/run/rank-0"}, "KILL", None),
        ({}, "TERM", None),
    ],
)
def test_only_the_process_that_was_given_the_file_is_signalled(
    variables: dict[str, str], name: str, ended: int | None
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], env=variables, stdin=-1, stdout=-1)
    assert child.stdout is not None
    child.stdout.readline()

    notice.notify("/run/rank-0", child.pid, name)

    try:
        found = child.wait(1 if ended is None else 20)
    except subprocess.TimeoutExpired:
        found = None
    child.kill()
    child.communicate()
    assert found == ended


def test_a_process_that_is_gone_is_told_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    notice.notify("/run/rank-0", 2**30, "TERM")

    assert "can't be signalled: No such file or directory" in capfd.readouterr().err


# What srun says of nodes


@pytest.mark.parametrize(
    "said,nodes",
    [
        ("srun: error: Task launch for StepId=5.1 failed on node n2: Communication connection failure\n", ["n2"]),
        ("srun: error: Node failure on nid001234\nsrun: error: Node failure on nid001234\n", ["nid001234"]),
        ("srun: error: Application launch failed: Communication connection failure\n", []),
        ("srun: error: Task launch for StepId=5.1 failed on node n2: Connection refused\n", ["n2"]),
        (
            "srun: error: Task launch for StepId=5.1 failed on node n2: Socket timed out on send/recv operation\n",
            ["n2"],
        ),
        ("srun: error: Task launch for StepId=5.1 failed on node n2: Job credential expired\n", []),
        ("0: srun: error: Node failure on n1\n", []),
        ("", []),
    ],
)
def test_srun_names_the_nodes_that_it_can_not_reach(said: str, nodes: list[str]) -> None:
    assert silence.named(said) == nodes


@pytest.mark.parametrize("count,nodes", [("2", []), ("3", ["n1", "n2"])])
def test_where_srun_reaches_no_node_at_all_none_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str, nodes: list[str]
) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\nfor n in n1 n2; do echo srun: error: Node failure on $n >&2; done\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", count)

    assert silence.silent_nodes() == nodes


def test_a_probe_that_does_not_end_blames_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\necho 'srun: error: Node failure on n1' >&2\nexec sleep 60\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(silence, "PROBE_SECONDS", 0.5)

    assert silence.silent_nodes() == []

"""Runs the parts of the suite one after the other, says that they go on, and prints the seconds of each.

`test` is what must hold for every change, within minutes; `everything` is all there is, and goes on where it stopped: a
stage that passed on exactly this tree is not repeated. Deselected is not skipped: a part names what it leaves out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from passerelle_sandbox import say
from passerelle_sandbox.cache import cache_root
from tree import REPOSITORY, commit, drawn, tree_hash

PASSED = REPOSITORY / ".work" / "passed"
BIN = Path(sys.executable).parent

Command = Sequence[str]

PROGRESS = re.compile(r"[.FEsxX]+ +\[ *(?P<share>\d+%)\]")
"""A line of pytest's dots: 70 tests. Its share is told instead; what is no dot is told at the end, with its reason."""


@dataclass(frozen=True)
class Stage:
    """A part: its commands, of which the last may have another one beside it; and in words what it leaves out."""

    name: str
    commands: tuple[Command, ...]
    leaves_out: str = ""
    beside: Command | None = None


def _pytest(*words: str) -> Command:
    return (str(BIN / "pytest"), "-q", *words)


SETUP = "setup"


def setup(*supplies: str) -> Stage:
    """Build what the stages after it need, and no more; under pytest that would go on in silence."""
    return Stage(SETUP, ((sys.executable, "-m", "passerelle_sandbox", "build", *supplies),))


SERVERS = ("sid", "trainer-image", "trixie", "bookworm", "unicore", "arc", "s3")
CLUSTER = ("control-plane", "helm", "sid", "trainer-image", "arc")
ALL_SERVERS = tuple(dict.fromkeys((*CLUSTER, *SERVERS)))
CHECK = Stage(
    "check",
    (
        (str(BIN / "ruff"), "format", "--check", "--quiet"),
        (str(BIN / "ruff"), "check", "--quiet"),
        (str(BIN / "lint-imports"), "--no-logo"),
        _pytest("-n", "2", "tests/unit", "tests/golden", "tests/test_repository.py"),
    ),
    # One process, which leaves a core idle; what it knows of a file counts for each clone that has the same file.
    beside=(str(BIN / "mypy"), "--no-error-summary", f"--cache-dir={cache_root() / 'mypy'}"),
)
# Of sets of words, too, the order is the same each time: what the state machine plays is no matter of luck.
FLOW = Stage("flow", (("env", "PYTHONHASHSEED=0", *_pytest("-n", "2", "tests/flow")),))
ONSITE = Stage("onsite", (_pytest("-n", "2", "tests/onsite"),))
ONE_MORE_LAUNCHER = "tests/e2e/test_launchers.py::test_an_agent_on_each_of_two_nodes_starts_the_ranks"
"""Beside srun: it needs no image but the one that the others use."""
SUCCESS = (
    "tests/e2e/test_success.py",
    "tests/e2e/test_doors.py::test_trainings_succeed_through_all_other_doors_side_by_side",
)
KILLED = "tests/e2e/test_doors.py::test_a_job_whose_answer_died_with_the_operator_is_adopted[slurmrestd]"
E2E_EACH_CHANGE = Stage(
    "e2e",
    (_pytest("tests/apiserver", *SUCCESS, KILLED, ONE_MORE_LAUNCHER),),
    leaves_out="the other files of tests/e2e, through other doors all stories but success, and the launchers that need "
    "the second image; `make e2e` runs all",
)
E2E = Stage("e2e, all", (_pytest("tests/apiserver", "tests/e2e"),))
EVERY_SERVER = ("submit-gpu", "reject", "adopt", "cancel", "credential")
"""Rows that every live server proves with every change; the newest proves all rows."""
DRAWN_ROWS = 2
OTHERS = "trixie,bookworm,ssh-sid,unicore,firecrest,arc"
"""Of the older releases the older doors, and of the newest the others."""
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadgroup")
"""Worlds of the contract, each whole in one process: its rows mostly wait for its own scheduler."""


def contract_rows() -> tuple[str, ...]:
    """The rows of the contract, as the suite marks them."""
    of_all = ("test_contract.py", "test_ends.py")
    texts = [(REPOSITORY / "tests" / "contract" / name).read_text(encoding="utf-8") for name in of_all]
    return tuple(dict.fromkeys(re.findall(r'^@row\("([a-z-]+)"\)$', "\n".join(texts), re.MULTILINE)))


def contract_each_change() -> Stage:
    """Every row on the newest server's first door; on others the fixed ones, and some drawn from the commit's hash."""
    rows = contract_rows()
    rest = [row for row in rows if row not in EVERY_SERVER]
    chosen = (*EVERY_SERVER, *drawn(commit(), rest, DRAWN_ROWS))
    left_out = ", ".join(row for row in rows if row not in chosen)
    return Stage(
        "contract",
        (
            _pytest("tests/contract", "--gateway", "memory,sid"),
            _pytest(*SIDE_BY_SIDE, "tests/contract", "--gateway", OTHERS, "--rows", ",".join(chosen)),
            _pytest("tests/staging/test_s3.py"),
        ),
        leaves_out=f"on {OTHERS}: {left_out}, and gigabytes of log and data; ssh on older releases, and copies from S3 "
        "to a site; `make contract` runs all",
    )


CONTRACT = Stage("contract, all", (_pytest(*SIDE_BY_SIDE, "tests/contract"), _pytest("tests/staging")))

CHART = Stage("chart", (_pytest("tests/chart"),))
IMAGE = Stage("image", (_pytest("tests/image"),))
TWINS = Stage("twins", (_pytest("tests/twins"), ("env", "PYTHONPATH=tests", sys.executable, "-m", "twins")))

FAULTS = Stage(
    "faults",
    (("env", "PYTHONPATH=tests", sys.executable, "-m", "faults", "sample"),),
    leaves_out="all seeds but five, drawn from the commit's hash, through slurmrestd, without faults that are noticed "
    "after minutes; and all mutants but one; `make faults SEEDS=n` runs them",
)

GOALS: dict[str, tuple[Stage, ...]] = {
    "setup": (setup(*ALL_SERVERS),),
    "check": (CHECK,),
    "flow": (FLOW,),
    "onsite": (ONSITE,),
    "contract": (setup(*SERVERS), CONTRACT),
    "e2e": (setup(*CLUSTER, "frameworks-image", "unicore", "s3"), E2E),
    "test": (setup(*ALL_SERVERS), CHECK, FLOW, ONSITE, contract_each_change(), E2E_EACH_CHANGE, FAULTS),
    "everything": (setup(), CHECK, FLOW, ONSITE, CONTRACT, CHART, IMAGE, TWINS, E2E, FAULTS),
}


class _Failed(Exception):
    """A command of a stage ended with another code than 0."""


def run(stage: Stage) -> bool:
    """Run a stage's commands; the first that fails ends it."""
    say.line(f"==> {stage.name}")
    if stage.leaves_out:
        say.line(f"    leaves out: {stage.leaves_out}")
    *first, last = stage.commands
    try:
        for command in first:
            _run(command)
        with ThreadPoolExecutor() as pool:
            together = [last] if stage.beside is None else [last, stage.beside]
            ended = [pool.submit(_run, command) for command in together]
        for each in ended:
            each.result()
    except _Failed:
        return False
    return True


def _environment() -> dict[str, str]:
    """Ours; but compiled modules are kept, for each worker and each of hundreds of scripts imports the same ones."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _run(command: Command) -> None:
    """Show what a command prints, as it prints it, but for pytest's dots. Raises _Failed."""
    name, share = Path(command[0]).name, ""
    say.line(f"    $ {name} {' '.join(command[1:])}")
    with (
        say.heartbeat(f"    {name}", lambda: share),
        subprocess.Popen(
            command, cwd=REPOSITORY, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as running,
    ):
        assert running.stdout is not None
        for printed in running.stdout:
            row = printed.decode(errors="replace").rstrip()
            if progress := PROGRESS.fullmatch(row):
                share = progress["share"]
            else:
                say.line(row)
        if running.wait() != 0:
            raise _Failed


def _mark(tree: str, stage: Stage) -> Path:
    return PASSED / f"{tree}-{stage.name.replace(', ', '-')}"


def main(goal: str) -> int:
    """Run a goal's stages; the exit code is 1 where one failed."""
    if goal not in GOALS:
        print(f"{goal!r} is no goal; it is one of {', '.join(GOALS)}")
        return 2
    tree = tree_hash()
    took: dict[str, str] = {}
    failed = False
    for stage in GOALS[goal]:
        if goal == "everything" and stage.name != SETUP and _mark(tree, stage).exists():
            took[stage.name] = "passed earlier on this tree"
            continue
        begin = time.monotonic()
        passed = run(stage)
        took[stage.name] = f"{time.monotonic() - begin:.0f} s" + ("" if passed else "  FAILED")
        if not passed:
            failed = True
            break
        if goal == "everything":
            PASSED.mkdir(parents=True, exist_ok=True)
            _mark(tree, stage).touch()
    print("\nseconds by part" + (" (CI)" if os.environ.get("CI") else ""))
    for name, seconds in took.items():
        print(f"  {name:15} {seconds}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "test"))

"""Runs the parts of the suite one after the other and prints the seconds of each.

`test` is what must hold for every change, within minutes; `everything` is all there is, and goes on where it stopped: a
stage that passed on exactly this tree is not repeated. Deselected is not skipped: a part names what it leaves out.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PASSED = REPOSITORY / ".work" / "passed"
BIN = Path(sys.executable).parent

Command = Sequence[str]


@dataclass(frozen=True)
class Stage:
    """A part: its commands, and in words what it leaves out."""

    name: str
    commands: tuple[Command, ...]
    leaves_out: str = ""


def _pytest(*words: str) -> Command:
    return (str(BIN / "pytest"), "-q", *words)


SETUP = Stage("setup", ((sys.executable, "-m", "passerelle_sandbox", "build"),))
CHECK = Stage(
    "check",
    (
        (str(BIN / "ruff"), "format", "--check", "--quiet"),
        (str(BIN / "ruff"), "check", "--quiet"),
        (str(BIN / "mypy"), "--no-error-summary"),
        (str(BIN / "lint-imports"), "--no-logo"),
        _pytest("tests/unit", "tests/golden", "tests/test_repository.py"),
    ),
)
E2E_EACH_CHANGE = Stage(
    "e2e",
    (_pytest("tests/apiserver", "tests/e2e/test_success.py", "tests/e2e/test_killed.py"),),
    leaves_out="the other files of tests/e2e; `make e2e` runs all",
)
E2E = Stage("e2e, all", (_pytest("tests/apiserver", "tests/e2e"),))
CONTRACT_EACH_CHANGE = Stage("contract", (_pytest("tests/contract"),))
CONTRACT = Stage("contract, all", (_pytest("tests/contract"),))

GOALS: dict[str, tuple[Stage, ...]] = {
    "setup": (SETUP,),
    "check": (CHECK,),
    "contract": (SETUP, CONTRACT),
    "e2e": (SETUP, E2E),
    "test": (SETUP, CHECK, CONTRACT_EACH_CHANGE, E2E_EACH_CHANGE),
    "everything": (SETUP, CHECK, CONTRACT, E2E),
}


def tree_hash() -> str:
    """SHA-256 over every file that git tracks or would track, by name and content."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    ).stdout
    digest = hashlib.sha256()
    for name in sorted(set(listed.decode().split("\0")) - {""}):
        path = REPOSITORY / name
        if path.is_file():
            digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def run(stage: Stage) -> bool:
    """Run a stage's commands; the first that fails ends it."""
    print(f"==> {stage.name}", flush=True)
    if stage.leaves_out:
        print(f"    leaves out: {stage.leaves_out}", flush=True)
    for command in stage.commands:
        print(f"    $ {Path(command[0]).name} {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, cwd=REPOSITORY, check=False).returncode != 0:
            print(f"    failed: {Path(command[0]).name}", flush=True)
            return False
    return True


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
        if goal == "everything" and stage is not SETUP and _mark(tree, stage).exists():
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

"""Processes are known by what stands in their environment, never by a name or a remembered pid.

A pid is reused and a state file may never have been written; the environment that a process was started with stays
readable in /proc for its whole life, and its children inherit it. So whatever was started for a sandbox is found again,
even when the command that started it was killed at any moment.
"""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SANDBOX = "PASSERELLE_SANDBOX"
"""Of every daemon of a sandbox: `<name>-<8 hex digits>`."""
STEP_OF = "PASSERELLE_STEP_OF"
"""Of every command of a step (a build, an installation): the pid and start time of the process that waits for it."""

TERM_PATIENCE = 2.0
"""Seconds: whatever a daemon would still write is removed with it."""
KILL_PATIENCE = 10.0
FREEZE_PATIENCE = 10.0


def environment(pid: int) -> Mapping[str, str]:
    """What a process was started with; empty where it has gone, is a zombie, or belongs to someone else."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (each.split("=", 1) for each in raw.decode(errors="surrogateescape").split("\0") if "=" in each)
    return {pair[0]: pair[1] for pair in pairs}


def start_time(pid: int) -> str | None:
    """The start time in ticks since boot, or None where there is no such process: (pid, start time) is never reused."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else rest[18]


def find(variable: str, wanted: Callable[[str], bool]) -> list[int]:
    """The living processes, but for this one, in whose environment the variable has a wanted value."""
    own = os.getpid()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or (pid := int(entry.name)) == own:
            continue
        value = environment(pid).get(variable)
        if value is not None and wanted(value) and start_time(pid) is not None:
            found.append(pid)
    return sorted(found)


def of_sandbox(name: str) -> list[int]:
    """The living processes of one sandbox, in every life that it had."""
    pattern = re.compile(re.escape(name) + "-[0-9a-f]{8}")
    return find(SANDBOX, lambda value: pattern.fullmatch(value) is not None)


def step_environment() -> dict[str, str]:
    """What a command of a step carries, so that it is found should this process be killed before it."""
    return {STEP_OF: f"{os.getpid()}-{start_time(os.getpid())}"}


def own_steps() -> list[int]:
    """The living commands of the steps of this process, in any of its threads."""
    own = step_environment()[STEP_OF]
    return find(STEP_OF, lambda value: value == own)


def orphaned_steps() -> list[int]:
    """The living commands of steps whose waiting process is gone: nobody will ever use what they make."""

    def orphaned(value: str) -> bool:
        pid, _, started = value.partition("-")
        return pid.isdigit() and start_time(int(pid)) != started

    return find(STEP_OF, orphaned)


def spawn(argv: Sequence[str], *, log: Path, env: Mapping[str, str]) -> int:
    """Start a daemon in a session of its own, its output in `log`. It outlives this process; `env` is all it gets."""
    log.parent.mkdir(parents=True, exist_ok=True)
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return os.posix_spawn(
            argv[0],
            list(argv),
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],
        )
    except OSError as error:
        raise SandboxError(f"{argv[0]} can't be started: {error.strerror}.") from error


def freeze(pids: Iterable[int]) -> None:
    """Have them stand still. Returns when every thread of them does: where many want a core, the signal takes its time.
    Raises SandboxError.
    """
    frozen = list(pids)
    for pid in frozen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + FREEZE_PATIENCE
    while any(start_time(pid) is not None and not is_frozen(pid) for pid in frozen):
        if time.monotonic() > deadline:
            raise SandboxError(f"{FREEZE_PATIENCE:.0f} s after a SIGSTOP these go on: {frozen}.")
        time.sleep(0.01)


def is_frozen(pid: int) -> bool:
    """Whether all its threads stand still."""
    states = []
    for each in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # a thread that has ended meanwhile
            states.append(each.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0])
    return "T" in states and set(states) <= {"T", "Z", "X"}


def reap(pids: Iterable[int]) -> None:
    """Let go of those that ended and were started by this very process: they would stay zombies for its life."""
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def end(search: Callable[[], list[int]]) -> int:
    """End all that the search finds, by pid: asked first, then killed. Returns their number when all are gone.

    The search is asked again and again, since a process may start another while it is being ended. One that was found
    counts as alive until its pid is free or another's: a dying process loses its environment before its ports.
    """
    known: dict[int, str | None] = {}
    told: set[int] = set()

    def alive() -> set[int]:
        known.update({pid: start_time(pid) for pid in search() if pid not in known})
        reap(known)
        return {pid for pid, started in known.items() if started is not None and start_time(pid) == started}

    for sign, patience in ((signal.SIGTERM, TERM_PATIENCE), (signal.SIGKILL, KILL_PATIENCE)):
        deadline = time.monotonic() + patience
        told.clear()
        while (left := alive()) and time.monotonic() < deadline:
            for pid in left - told:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            told |= left
            time.sleep(0.05)
        if not left:
            return len(known)
    raise SandboxError(f"These processes can't be ended, not even by SIGKILL: {', '.join(map(str, sorted(alive())))}.")

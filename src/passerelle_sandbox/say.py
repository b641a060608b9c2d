"""Talking to the person who waits.

Every step says that it begins, how long it took, and at least every eight seconds that it is alive; a long command
keeps its output in a log file and shows its end only when it fails. Nothing is ever silent for more than ten seconds.
Lines are whole: steps may run in parallel threads.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from passerelle_sandbox import processes
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

HEARTBEAT = 8.0
"""Seconds: the promise to the reader is ten, and a busy machine wakes a thread late."""
TAIL_LINES = 20
_LINE_LIMIT = 100
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")

_lock = threading.Lock()
_last_line = 0.0


def line(text: str) -> None:
    """One whole line, at once, whatever else is being said."""
    global _last_line  # noqa: PLW0603 - the terminal is global, too
    with _lock:
        print(text, flush=True)
        _last_line = time.monotonic()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say that something begins, that it goes on, and how long it took."""
    line(f"{title} ...")
    with heartbeat(title):
        yield


def run_step(
    title: str,
    argv: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> None:
    """Run one command as a step, its output appended to `log`; `env` is added to this process's environment.

    An interruption ends the command and its children. Should this process be killed, they are found by their
    environment (see processes.py).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    whole_env = {**os.environ, **(env or {}), **processes.step_environment()}
    line(f"{title} ...")
    with log.open("ab") as output, heartbeat(title, lambda: last_words(log, 1)):
        start = output.tell()
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=whole_env,
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"{title}: {argv[0]} can't be run: {error.strerror or error}.") from error
        try:
            child.communicate(stdin.encode() if stdin is not None else None)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        if child.returncode != 0:
            if child.returncode != -signal.SIGTERM:  # that was us, since another part failed
                for last in last_words(log, TAIL_LINES, start=start).splitlines():
                    line(f"  | {last}")
            raise SandboxError(f"{title}: {argv[0]} {_how_it_ended(child.returncode)}; all it said is in {log}.")


def last_words(log: Path, lines: int, *, start: int = 0) -> str:
    """The last lines of a file, from a byte on, without what would move a terminal's cursor."""
    try:
        with log.open("rb") as text:
            text.seek(max(start, text.seek(0, os.SEEK_END) - 8192))
            found = text.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    clean = [_CONTROL.sub("", each).rstrip() for each in found]
    return "\n".join([each for each in clean if each][-lines:])


@contextmanager
def heartbeat(title: str, detail: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Of something that has begun: say that it goes on, with a detail, and how long it took."""
    started = time.monotonic()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.5):
            if time.monotonic() - _last_line >= HEARTBEAT:
                words = detail()
                line(f"{title}: {time.monotonic() - started:.0f} s so far{': ' + _shorten(words) if words else ''}")

    heart = threading.Thread(target=beat, name=f"heartbeat of {title}", daemon=True)
    heart.start()
    try:
        yield
    except BaseException as error:
        ended.set()
        heart.join()
        line(f"{title}: {_verdict(error)} after {time.monotonic() - started:.1f} s")
        raise
    ended.set()
    heart.join()
    line(f"{title}: done in {time.monotonic() - started:.1f} s")


def _verdict(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _how_it_ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _shorten(words: str) -> str:
    return words if len(words) <= _LINE_LIMIT else words[: _LINE_LIMIT - 1] + "…"


def warn(text: str) -> None:
    """One whole line on standard error: the outcome of a command, not a step of it."""
    with _lock:
        print(text, file=sys.stderr, flush=True)

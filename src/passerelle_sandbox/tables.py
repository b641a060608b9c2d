"""A table that kubectl streams of one object, shown to a person as far as it says something new.

Left out are rows that differ from the one before by their age alone.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import TYPE_CHECKING

from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE_SECONDS = 120
QUIET_SECONDS = 7
"""After so long without a new row a line says so: nothing is silent for ten seconds."""


def follow(argv: Sequence[str], arrived: Callable[[str], bool], what: str) -> None:
    """Run `kubectl get ... --watch` and show its rows, to the first that has arrived at what is waited for."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as watch:
        try:
            _show(watch, arrived, what)
        finally:
            watch.terminate()


def without_age(row: str) -> list[str]:
    """What a row says but for its age, the last column, which changes without anything happening."""
    return row.split()[:-1]


def _show(watch: subprocess.Popen[bytes], arrived: Callable[[str], bool], what: str) -> None:
    begin = heard = changed = time.monotonic()
    said: list[str] = []
    for row in _rows(watch):
        now = time.monotonic()
        if row and without_age(row) != said:
            said, heard, changed = without_age(row), now, now
            say.line(row)
            if arrived(row):
                return
        elif now - heard > QUIET_SECONDS:
            heard = now
            say.line(f"  ... no change for {now - changed:.0f} s")
        if now - begin > PATIENCE_SECONDS:
            raise SandboxError(f"Waited {PATIENCE_SECONDS} s for {what}.")
    raise SandboxError(f"kubectl ended with {watch.wait(timeout=5)} while one waited for {what}.")


def _rows(watch: subprocess.Popen[bytes]) -> Iterator[str]:
    """The lines that a process prints; an empty one at least every second, while it prints none."""
    if watch.stdout is None:
        return
    begun = b""
    with selectors.DefaultSelector() as selector:
        selector.register(watch.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=1):
                yield ""
                continue
            if not (piece := os.read(watch.stdout.fileno(), 65_536)):
                return
            *rows, begun = (begun + piece).split(b"\n")
            yield from (row.decode(errors="replace").rstrip() for row in rows)

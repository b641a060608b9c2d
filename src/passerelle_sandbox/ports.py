"""Ports that are free now.

They are drawn at random from below the range that the kernel gives to outgoing connections, so that nothing takes one
between the look and the listening. Who was given one may take a while to listen, so it is written down, and nobody else
on this machine is given it meanwhile: the daemons of one sandbox start side by side, and so do two sandboxes.
"""

from __future__ import annotations

import json
import random
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from passerelle_sandbox import cache
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

FIRST, LAST = 20_000, 32_000
_TRIES = 1_000
_GIVEN_SECONDS = 120.0
"""By then whoever asked for a port listens there."""


def free(count: int) -> list[int]:
    """As many different ports of 127.0.0.1 on which nobody listens, and nobody is about to."""
    place = cache.cache_root() / ".locks"
    with cache.lock(place / "ports", waiting_for="free ports"):
        book, now = place / "ports.given", time.time()
        given = {port: at for port, at in _read(book).items() if 0 <= now - at < _GIVEN_SECONDS}
        found = _unused(count, {int(port) for port in given})
        book.write_text(json.dumps(given | dict.fromkeys(map(str, found), now)), encoding="ascii")
    return found


def _read(book: Path) -> dict[str, float]:
    """When each port was given; nothing where none was, or whoever wrote it down was killed at it."""
    try:
        found: dict[str, float] = json.loads(book.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _unused(count: int, given: Collection[int]) -> list[int]:
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(FIRST, LAST), _TRIES):
            candidate = held.enter_context(socket.socket())
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in given:
                found.append(port)
            if len(found) == count:
                return found
    raise SandboxError(f"No {count} free ports between {FIRST} and {LAST} on 127.0.0.1.")

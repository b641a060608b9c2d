"""Ports that are free now.

They are drawn at random from below the range that the kernel gives to outgoing connections, so that nothing takes one
between the look and the listening, and two sandboxes that start together hardly ever meet.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from passerelle_sandbox.errors import SandboxError

FIRST, LAST = 20_000, 32_000
_TRIES = 1_000


def free(count: int) -> list[int]:
    """As many different ports of 127.0.0.1 on which nobody listens."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(FIRST, LAST), _TRIES):
            if len(found) == count:
                return found
            candidate = held.enter_context(socket.socket())
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    raise SandboxError(f"No {count} free ports between {FIRST} and {LAST} on 127.0.0.1.")

"""What came over the wire for one call, told to whoever asked.

A carrier counts every answer that it has read; who measures opens a meter around a gateway's call. Where no meter is
open, counting does nothing: a driver needs to know no one. Tasks that the call starts count on the same meter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Meter:
    """Answers that were read, and their bytes as they came, without headers."""

    responses: int = 0
    received: int = 0


_METER: ContextVar[Meter | None] = ContextVar("passerelle_meter", default=None)


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    """A meter that is open for what runs inside."""
    meter = Meter()
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


def answered(size: int) -> None:
    """An answer of so many bytes was read."""
    meter = _METER.get()
    if meter is not None:
        meter.responses += 1
        meter.received += size

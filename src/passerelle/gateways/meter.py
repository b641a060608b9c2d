"""What goes over the wire for one call, told to whoever asked.

A carrier tells of every request or command that it is about to send, and of every answer that it has read; who
measures opens a meter around a gateway's call. Where no meter is open, telling does nothing: a driver needs to know no
one. Tasks that the call starts count on the same meter; what is told to one counts on those around it, too.

Who measures may also keep a request from leaving, to its last moment: it may be a minute from the beginning of a call
to the first byte, while a version, a token and a connection are waited for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Meter:
    """Requests or commands that were sent, answers that were read, and their bytes as they came, without headers.

    `on_call` is told of each call before it is sent, `on_patience` of the seconds that a server asks us to wait.
    `may_leave` is asked directly before the first byte, and raises Unavailable, not sent, where it must stay.
    """

    calls: int = 0
    responses: int = 0
    received: int = 0
    on_call: Callable[[], None] = lambda: None
    on_patience: Callable[[float], None] = lambda _: None
    may_leave: Callable[[], None] = lambda: None
    around: Meter | None = None


_METER: ContextVar[Meter | None] = ContextVar("passerelle_meter", default=None)


@contextlib.contextmanager
def metered(
    on_call: Callable[[], None] = lambda: None,
    on_patience: Callable[[float], None] = lambda _: None,
    may_leave: Callable[[], None] = lambda: None,
) -> Iterator[Meter]:
    """A meter that is open for what runs inside."""
    meter = Meter(on_call=on_call, on_patience=on_patience, may_leave=may_leave, around=_METER.get())
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


def called() -> None:
    """A request or a command is about to be sent: it counts whether it is answered or not."""
    for meter in _open():
        meter.calls += 1
        meter.on_call()


def leaving() -> None:
    """The first byte of a request or a command is about to leave. Raises Unavailable where it must stay."""
    for meter in _open():
        meter.may_leave()


def answered(size: int) -> None:
    """An answer of so many bytes was read."""
    for meter in _open():
        meter.responses += 1
        meter.received += size


def patience(seconds: float) -> None:
    """A server asked to be left alone for so long."""
    for meter in _open():
        meter.on_patience(seconds)


def _open() -> Iterator[Meter]:
    """From the innermost outwards."""
    meter = _METER.get()
    while meter is not None:
        yield meter
        meter = meter.around

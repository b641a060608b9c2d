"""An event loop whose clock jumps: where nothing is ready, the next timer's moment is now. Between jumps it goes on a
little each time it is read, as any clock does.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

READING_SECONDS = 1e-6
MOST_TURNS = 300_000
"""Of the loop, without a jump: whoever takes more will never wait for anything."""


class _Jumping(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing will ever happen again")  # a real loop would hang here
        self._turns = self._turns + 1 if timeout <= 0 else 0
        if self._turns > MOST_TURNS:
            # A real loop would be busy for ever.
            raise AssertionError("somebody turns and turns, and waits for nothing")
        self.now += max(timeout, 0.0)
        return []  # nobody is outside


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time is virtual; use no sockets, subprocesses or threads."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        self.jump(READING_SECONDS)
        return self._jumping.now

    def jump(self, seconds: float) -> None:
        self._jumping.now += seconds


def stand_still(seconds: float) -> None:
    """The whole process is stopped, and goes on so much later."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.jump(seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)

"""Who may move bytes now: so many at once at a site, and each TrainingJob in its turn.

A turn is a slice of a transfer, some seconds long, never the whole of it: a terabyte holds nobody up. Whoever waits is
served by owner, round and round, and within an owner in the order of asking.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator

AT_ONCE = 2
"""Transfers that move bytes at a time: a login node serves others, too."""
SLICE_SECONDS = 10.0
"""How long a turn lasts before others are let in."""


class Turns:
    """Of one site."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for a turn."""
        return any(not each.done() for queue in self._waiting.values() for each in queue)

    @contextlib.asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        if self._free and not self.wanted:
            self._free -= 1
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._free += 1
            self._call()

    async def _wait(self, owner: str) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was given a turn that it can't take
                self._free += 1
                self._call()
            raise

    def _call(self) -> None:
        while self._free and self._waiting:
            owner, queue = self._waiting.popitem(last=False)
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                continue
            queue.popleft().set_result(None)
            self._free -= 1
            if queue:
                self._waiting[owner] = queue  # behind all others

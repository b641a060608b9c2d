"""Who may move bytes now: so many at once at a site, and each namespace in its turn.

A turn is a slice of a transfer, some seconds long, never the whole of it: a terabyte holds nobody up. Whoever waits is
served by namespace, round and round, and within one in the order of asking: a TrainingJob that had its slice is behind
the others of its namespace, and many of them, or a slow store of theirs, take no more than one would.
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


ROOM = 6
"""Turns at a time, of all sites: each holds some parts in memory, 48 MiB where a part has 16."""


class Turns:
    """Of one site. `room` is what all sites share."""

    def __init__(self, at_once: int = AT_ONCE, room: asyncio.Semaphore | None = None) -> None:
        self._free = at_once
        self._room = room or asyncio.Semaphore(ROOM)
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for a turn, or may do so at another site."""
        return self._room.locked() or self._waited

    @property
    def _waited(self) -> bool:
        return any(not each.done() for queue in self._waiting.values() for each in queue)

    @contextlib.asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it. `owner` is a namespace, or NAMESPACE/UID."""
        if self._free and not self._waited:
            self._free -= 1
        else:
            await self._wait(owner.partition("/")[0])
        try:
            async with self._room:
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

"""Which TrainingJobs are in hand: so many at once at a site, of each namespace no more than its part, and of those in
it that want the same path one.

A place is held for a whole try of a step, which may take a day. So whoever would only wait for another's copy has none,
and a sweep on one corpus holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary

from passerelle.staging.turns import Turns

IN_HAND = 32
"""TrainingJobs with a step under way, a site: each has a listing in memory, of some MiB at most."""
OF_ONE_NAMESPACE = 8


class Places:
    """Of one site. Whoever waits for one is served by namespace, round and round."""

    def __init__(self, most: int = IN_HAND, of_one: int = OF_ONE_NAMESPACE) -> None:
        self._of_one = of_one
        self._all = Turns(most, asyncio.Semaphore(most))
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._paths: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def place(self, namespace: str, path: str) -> AsyncIterator[None]:
        """Wait for a place, and have it. `path` is where the step's files lie."""
        own = self._own.setdefault(namespace, asyncio.Semaphore(self._of_one))
        first = self._paths.setdefault((namespace, path.rstrip("/")), asyncio.Lock())
        async with first, own, self._all.turn(namespace):
            yield

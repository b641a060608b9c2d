"""One queue per site: keys wait here until a worker takes them, and no key is worked on twice at once.

A key that is added while it is worked on runs once more afterwards: the pass that read too early is repeated, so a
missed change costs time, never correctness. A dead site fills its own queue only.

What the site told of comes before what people asked for: 500 new TrainingJobs must not keep it secret for half a minute
that another one runs, and a look tells of no more than what changed. So does what was begun: a script waits in memory
between its intent and its submit. The rest waits in lanes, which take turns: a namespace with 2,000 new TrainingJobs
holds nobody else's up. Every fourth turn is theirs, whatever the site tells: a person's delete would else wait for as
long as it tells more than can be worked on. News that can wait lie in the lanes, too, and a key moves up once it has
others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

log = logging.getLogger("passerelle.work")

Key = TypeVar("Key")

FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 300.0

LANES_TURN = 4
"""Of so many turns at least one is the lanes'."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place(Generic[Key]):
    """Where a key waits; `first`: before those in the lanes."""

    key: Key
    first: bool


class WorkQueue(Generic[Key]):
    """`work(key)` is one pass; it returns after how many seconds the key is due again, or None.

    `workers` bounds how many keys of the site are in hand at once: twice the gateway's connections, since a pass waits
    for kube-apiserver most of its time. `lane` tells in which lane a key waits.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int = 16,
        lane: Callable[[Key], str] = lambda _: "",
    ) -> None:
        self.name = name
        self._work = work
        self._workers = workers
        self._lane = lane
        self._first: deque[_Place[Key]] = deque()
        self._firsts = 0  # turns in a row that were not the lanes', while these had something
        self._lanes: OrderedDict[str, deque[_Place[Key]]] = OrderedDict()  # whose turn it is, comes first
        self._queued: dict[Key, _Place[Key]] = {}  # who moved up leaves a place in its lane that is not this one
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._ready = asyncio.Semaphore(0)

    def add(self, key: Key, *, first: bool = False) -> None:
        """This key is due now; `first`: before those that are not. One that waits already keeps its place, or gets a
        better one.
        """
        self._cancel_timer(key)
        if key in self._working:
            self._again.add(key)
        elif key not in self._queued:
            waiting = self._first if first else self._lanes.setdefault(self._lane(key), deque())
            waiting.append(self._place(key, first=first))
            self._ready.release()
        elif first and not self._queued[key].first:
            self._first.append(self._place(key, first=True))

    def add_after(self, key: Key, seconds: float) -> None:
        """This key is due in so many seconds, unless something makes it due earlier."""
        if key in self._queued or key in self._again:
            return
        loop = asyncio.get_running_loop()
        due = self._timers.get(key)
        if due is not None and due.when() <= loop.time() + seconds:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def drop(self, key: Key) -> None:
        """This key exists no more."""
        self._cancel_timer(key)
        self._failures.pop(key, None)
        self._again.discard(key)

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._queued)

    async def run(self) -> None:
        """Work until cancelled. A pass in hand is finished first: its POST must reach its status."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._worker(), name=f"{self.name}-{number}")
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _worker(self) -> None:
        while True:
            await self._ready.acquire()
            key = self._next()
            del self._queued[key]
            self._working.add(key)
            act = asyncio.ensure_future(self._one(key))
            try:
                await asyncio.shield(act)
            except asyncio.CancelledError:
                await asyncio.wait({act})
                raise

    async def _one(self, key: Key) -> None:
        try:
            due = await self._work(key)
        except Exception:  # the loop must outlive a defect in one object; it is logged with its trace and tried again
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            log.exception("pass failed", extra={"queue": self.name, "key": str(key)})
            due = min(FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 20), LONGEST_BACKOFF_SECONDS)
        else:
            self._failures.pop(key, None)
        finally:
            self._working.discard(key)
        again = key in self._again
        self._again.discard(key)
        if due is not None and due <= 0:
            self._first.appendleft(self._place(key, first=True))  # before all else: there are no more than workers
            self._ready.release()
        elif again:
            self.add(key)
        elif due is not None:
            self.add_after(key, due)

    def _next(self) -> Key:
        """The key whose turn it is."""
        if not self._first or self._firsts >= LANES_TURN - 1:
            while self._lanes:
                lane, waiting = self._lanes.popitem(last=False)
                place = waiting.popleft()
                if waiting:
                    self._lanes[lane] = waiting
                if self._queued.get(place.key) is place:
                    self._firsts = 0
                    return place.key
        self._firsts = self._firsts + 1 if self._lanes else 0
        return self._first.popleft().key

    def _place(self, key: Key, *, first: bool) -> _Place[Key]:
        """The place that counts from now on, whatever this key had before."""
        place = self._queued[key] = _Place(key, first)
        return place

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

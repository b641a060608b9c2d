"""Which names our live jobs have: one narrow listing, which all look-ups within some seconds share.

sacct by name misses what was never eligible, so squeue is asked for whatever it does not know; and nearly nothing that
is looked up exists. A record is 5 KiB, its name and id are 115 bytes: so names are listed, and hits alone are read.

Absence is as certain as if each look-up had a listing of its own. What this door submitted since is added as it is
answered; and where a submit of it is in doubt, the listing is shared by nobody until the settle time is over, by which
the job is there or will never be. What any other operator submitted stands as an intent, and of that a full listing
says the last word. A hit that is gone when it is read leaves the question open: accounting may hear of its end later.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable

SHARED_SECONDS = 20.0
"""How long a listing is shared, from its question on: a thousand names are asked for in twenty pieces, one after the
other.
"""

Named = tuple[str, str]
"""A job's id and name."""


class Names:
    """Of our jobs at one login node. `ask` makes the listing; `clock` is monotonic, in seconds."""

    def __init__(self, ask: Callable[[], Awaitable[Iterable[Named]]], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._turn = asyncio.Lock()
        self._listed: dict[str, list[Named]] | None = None
        self._since: list[Named] = []
        """What was submitted after the listing had been asked for, which need not have it."""
        self._asked_at = float("-inf")
        self._doubtful_until = float("-inf")

    async def jobs(self, names: Collection[str]) -> set[Named]:
        """The live jobs that have one of these names."""
        asked_at = self._clock()
        async with self._turn:
            if self._listed is None or not self._serves(asked_at):
                self._listed = await self._anew()
            found = {job for name in names for job in self._listed.get(name, ())}
            return found | {job for job in self._since if job[1] in names}

    def submitted(self, job_id: str, name: str) -> None:
        """A submit was answered so."""
        if self._turn.locked() or self._young:
            self._since.append((job_id, name))
        else:
            self.forget()

    def doubted(self, seconds: float) -> None:
        """A submit got no answer: for so long its job may still come."""
        self._doubtful_until = max(self._doubtful_until, self._clock() + seconds)

    def forget(self) -> None:
        """Whoever asks next has a listing made."""
        self._listed = None

    @property
    def _young(self) -> bool:
        return self._clock() < self._asked_at + SHARED_SECONDS

    def _serves(self, asked_at: float) -> bool:
        """Whether the listing says all that one would say which were made for a question of that moment."""
        return self._asked_at >= asked_at or (self._young and self._clock() >= self._doubtful_until)

    async def _anew(self) -> dict[str, list[Named]]:
        self._listed, self._since, self._asked_at = None, [], self._clock()
        listed: defaultdict[str, list[Named]] = defaultdict(list)
        for job in await self._ask():
            listed[job[1]].append(job)
        return listed

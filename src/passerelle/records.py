"""Full records of jobs, in pieces: they keep the pace of news, whatever they are read for, and a look reads no more of
them than that pace lets through within a small part of its period. The rest comes with the looks after it: a look that
waited for five thousand records would keep everybody from being looked up for minutes.

What a record costs is learnt: one gateway tells of five hundred in one command, another takes a request for each. So a
piece is as many records as cost about as much as one by one would.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from passerelle.gateways.base import Gateway
from passerelle.gateways.courtesy import Courtesy
from passerelle.gateways.meter import metered
from passerelle.haste import gather
from passerelle.slurm import RemoteJob

PIECE = 64
"""Records, of one call each."""
LARGEST_PIECE = 2_000
"""Records, however little they cost: whichever squeue is asked for, all of ours are sent, so few calls are best."""


class Records:
    """Of one site, whatever its door is by now. `now` is monotonic, in seconds."""

    def __init__(self, door: Callable[[], Gateway], courtesy: Courtesy, now: Callable[[], float]) -> None:
        self._door = door
        self._courtesy = courtesy
        self._now = now
        self._until = 0.0
        self._cost = 1.0

    def begin(self, period: float) -> None:
        """A look begins to read. For a moment it waits for the pace; then, for another one, the pace saves up."""
        self._until = self._now() + gather(period)

    @property
    def may(self) -> bool:
        """Whether this look reads a further piece."""
        return self._now() + self._courtesy.news_wait <= self._until

    def piece(self, wanted: Sequence[str]) -> Sequence[str]:
        """The first of those that are wanted, as many as one piece."""
        return wanted[: min(max(int(PIECE / self._cost), 1), LARGEST_PIECE)]

    async def read(self, wanted: Collection[str]) -> Sequence[RemoteJob]:
        """One piece."""
        with metered() as meter:
            found = await self._door().get(wanted)
        self._cost = max(meter.calls, 1) / len(wanted)
        return found

    async def some(self, wanted: Collection[str]) -> tuple[list[RemoteJob], set[str]]:
        """As many as this look may, and the ids of those for which it has no time."""
        left, found = list(wanted), list[RemoteJob]()
        while left and self.may:
            piece = self.piece(left)
            found += await self.read(piece)
            left = left[len(piece) :]
        return found, set(left)

"""What a look asks of accounting, how far back, and for how long it is left alone where it does not answer.

A search reaches back as far as the oldest of the runs that it is about, and no further: whatever else is in view costs
it nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from passerelle.errors import Unavailable
from passerelle.gateways.base import DAY_SECONDS, HORIZON_SECONDS, Accounting, Gateway, Words
from passerelle.marker import Run, parse
from passerelle.names import beyond, pieces
from passerelle.picture import Picture
from passerelle.slurm import RemoteJob

LONGEST_SILENCE_SECONDS = 900.0
"""Between two questions while accounting is silent; or a period, where that is longer."""

OLD_SECONDS = 7 * DAY_SECONDS
"""Older runs are asked for apart: a search reaches back as far as the oldest in it."""


class Accountant:
    """At one site, whatever its door is by now. Rows are None where it can't be asked: then nothing is absent, and the
    live side goes on; a door without accounting has none. Who meets its silence spares it the questions of all, for
    a `period` at first. `now` is monotonic, in seconds.
    """

    def __init__(self, door: Callable[[], Gateway], picture: Picture, now: Callable[[], float]) -> None:
        self.period = 30.0
        self.trouble: Unavailable | None = None
        self._door = door
        self._picture = picture
        self._now = now
        self._silences = 0  # questions in a row that it did not answer
        self._ask_again = 0.0
        self._last_asked = ""  # the key of a run

    @property
    def patience(self) -> float:
        """Seconds for which it is not asked, since it did not answer the last time; 0 where it did."""
        return max(self._ask_again - self._now(), 0.0)

    async def by_ids(self, job_ids: Collection[str], runs: Iterable[Run]) -> list[RemoteJob] | None:
        """Rows of these jobs, all of which are jobs of these runs."""
        return await self._rows(job_ids=job_ids, within=self._within(runs))

    async def by_names(self, markers: Sequence[str]) -> list[RemoteJob] | None:
        """Rows of the jobs of these names."""
        runs = [named[0] for each in markers if (named := parse(each)) is not None]
        return await self._rows(names=markers, within=self._within(runs))

    async def look_up(self, asked: Collection[Run]) -> tuple[list[RemoteJob], set[Run]]:
        """Rows of these runs, and the runs that it has answered for. It is asked piece by piece, and no more once it is
        silent; the piece that got no answer comes last the next time.
        """
        if self.patience > 0:
            return [], set()
        rows: list[RemoteJob] = []
        answered: set[Run] = set()
        turn = sorted(asked, key=lambda run: (run.key <= self._last_asked, self._within([run]) >= OLD_SECONDS, run.key))
        for piece in pieces(self._picture.names(turn)):
            names, found = piece, list[RemoteJob]()
            while names:
                markers = [run.marker(number) for run, (first, last) in names.items() for number in range(first, last)]
                batch = await self._rows(names=markers, within=self._within(piece))
                if batch is None:
                    self._last_asked = list(piece)[-1].key
                    return rows, answered
                found += batch
                names = beyond(names, found)
            rows += found
            answered |= piece.keys()
        return rows, answered

    def _within(self, runs: Iterable[Run]) -> float:
        """Seconds since the first of these runs' jobs can have been submitted."""
        views = (self._picture.views.get(run) for run in runs)
        sinces = [view.since if view is not None else None for view in views]
        known = [each for each in sinces if each is not None]
        return max([self._now() - min(known, default=self._now())] + [HORIZON_SECONDS] * (len(known) < len(sinces)))

    async def _rows(self, *, names: Words = (), job_ids: Words = (), within: float) -> list[RemoteJob] | None:
        if not isinstance(door := self._door(), Accounting):
            return []
        if self.patience > 0:
            return None
        try:
            rows = list(await door.accounted(names=names, job_ids=job_ids, within=within))
        except Unavailable as error:
            self.trouble = error
            self._silences += 1
            backoff = self.period * 2.0 ** min(self._silences - 1, 10)
            self._ask_again = self._now() + min(backoff, max(self.period, LONGEST_SILENCE_SECONDS))
            return None
        self.trouble, self._silences = None, 0
        return rows

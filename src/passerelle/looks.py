"""What a look reads of a site: the light listing, full records of what changed, and runs by their markers.

Full records are read for what changed and, once a progress period, for what runs; a few more tell why jobs wait. What
the scheduler no longer has is accounting's to tell, and nothing is absent while that can't be asked.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence

from passerelle.errors import Unavailable
from passerelle.gateways.base import Accounting, Gateway
from passerelle.marker import Run
from passerelle.picture import Known, Picture, beyond
from passerelle.recall import recall
from passerelle.reports import Reports
from passerelle.slurm import NO_REASON, RemoteJob, Stage, id_order

LOOK_UPS_PER_LOOK = 1_000
"""Runs that a look asks for by their markers, some forty calls: of a burst of more, the rest waits for the next look,
and the listing does not.
"""

NEWS_PIECE = 64
"""Full records after which the passes of their TrainingJobs begin, while others are read."""

QUEUED_PER_LOOK = 4
"""Full records, some 8 KiB each, that a look spends on why jobs wait: a bound that does not grow with their number."""


class Looks:
    """At one site, whatever its door is by now. Each tells the runs whose picture changed; `on_change` hears of some of
    them before the rest is read. `now` is monotonic, in seconds.
    """

    def __init__(
        self,
        door: Callable[[], Gateway],
        picture: Picture,
        reports: Reports,
        *,
        on_change: Callable[[Run], None],
        now: Callable[[], float],
    ) -> None:
        self.accounting_trouble: Unavailable | None = None
        self._door = door
        self._picture = picture
        self._reports = reports
        self._on_change = on_change
        self._now = now
        self._next_progress = 0.0
        self._last_queued = ""

    async def known(self, progress_period: float) -> set[Run]:
        """The light listing for our ids; then full records of what changed, which are told of before those that are
        due to report are read: 500 records of progress take seconds.
        """
        known = self._picture.known()
        if not known:
            return set()
        states = await self._door().states(known.keys())
        present = {job_id: job for job_id, (_, _, job) in known.items() if job_id in states}
        news = [job_id for job_id, job in present.items() if states[job_id] != job.state or not job.submit_time]
        others = present.keys() - set(news)
        news += self._queued_turn([present[job_id] for job_id in others])
        for start in range(0, len(news) - NEWS_PIECE, NEWS_PIECE):
            for run in await self._read(known, news[start : start + NEWS_PIECE]):
                self._on_change(run)
        last = news[max(0, (len(news) - 1) // NEWS_PIECE * NEWS_PIECE) :]
        changed = await self._read(known, last, known.keys() - states.keys())
        if self._now() >= self._next_progress:
            self._next_progress = self._now() + progress_period
            for run in changed:
                self._on_change(run)
            reporting = [job_id for job_id in present if states[job_id].stage is Stage.RUNNING]
            changed = await self._read(known, reporting, reporting=True)
        return changed

    async def _read(
        self, known: Known, wanted: Collection[str], missing: Collection[str] = (), *, reporting: bool = False
    ) -> set[Run]:
        """Full records of these ids; what the scheduler no longer has is accounting's to tell. What changed by that."""
        read = await self._door().get(wanted) if wanted else []
        records = [job for job in read if job.name == known[job.job_id][2].name]
        gone = {*missing, *wanted} - {job.job_id for job in records}
        accounted = await self._accounted(job_ids=gone) if gone else []
        # An active row of a job that the scheduler does not have is a runaway, no sign of life.
        ended = [job for job in accounted or [] if job.stage is Stage.ENDED]
        records += [job for job in ended if job.name == known[job.job_id][2].name]
        records += self._reports.held(known[each][2] for each in gone - {job.job_id for job in records})
        changed = await self._take_in(records, reporting=reporting)
        if accounted is not None:
            for job_id in gone - {job.job_id for job in records}:
                run, attempt, job = known[job_id]
                changed.add(run)
                self._picture.lose(run, attempt, job)
        return changed

    async def _take_in(self, records: Sequence[RemoteJob], *, reporting: bool = False) -> set[Run]:
        """Keep these records, with what the jobs themselves have to tell: at their end, and where they are due to
        report. What changed by that.
        """
        ended = self._picture.newly_ended(records)
        due = [job for job in records if reporting and job.stage is Stage.RUNNING]
        told = {job.job_id: job for job in await self._reports.ended(self._door(), ended)}
        if reporting:  # not at each look: each time is a turn
            told |= {job.job_id: job for job in await self._reports.running(self._door(), due)}
        newest = [told.get(job.job_id, job) for job in records]
        return {run for job in newest if (run := self._picture.take_in(job)) is not None}

    def _queued_turn(self, unchanged: list[RemoteJob]) -> list[str]:
        """Waiting jobs whose reason is read again in this look: the light listing does not carry it. Those without a
        reason come first, the rest take turns.
        """
        last = id_order(self._last_queued)
        turns = (
            (job.state_reason not in NO_REASON, place <= last, place, job.job_id)
            for job in unchanged
            if job.stage is Stage.QUEUED and (place := id_order(job.job_id))
        )
        chosen = heapq.nsmallest(QUEUED_PER_LOOK, turns)
        self._last_queued = max((job_id for told, *_, job_id in chosen if told), key=id_order, default="")
        return [job_id for *_, job_id in chosen]

    async def asked(self) -> set[Run]:
        """Runs that are looked up: what their statuses remember, then, some of them at a time, all others by marker."""
        recalled = await self._take_in(await recall(self._door(), self._picture, self._accounted_ids))
        for run in recalled:
            self._picture.views[run].recalled = True
        recalled |= self._picture.settle(recalled, self._now(), self._door().settle_seconds, accounted=False)
        return recalled | await self._by_marker(self._picture.turn(LOOK_UPS_PER_LOOK))

    async def _by_marker(self, asked: set[Run]) -> set[Run]:
        """Accounting first (it filters by name), the full live listing where a job may exist that it does not tell."""
        if not asked:
            return set()
        rows: list[RemoteJob] = []
        names, accounted = self._picture.names(asked), True
        while names and accounted:
            markers = [run.marker(number) for run, (first, last) in names.items() for number in range(first, last)]
            batch = await self._accounted(names=markers)
            accounted = batch is not None
            rows += batch or []
            names = beyond(names, rows)
        views = [view for run in asked if (view := self._picture.views.get(run)) is not None]
        deep = not accounted or any(view.questions or view.thorough for view in views)
        active = [row.job_id for row in rows if row.stage is not Stage.ENDED]
        if deep or active:
            # The live side is read after accounting: a job that appears in between is then seen in one of them.
            live = await (self._door().find() if deep else self._door().get(active))
            rows = [row for row in rows if row.stage is Stage.ENDED]  # active rows are the live side's to tell
            rows += live
        changed = await self._take_in(rows)
        return changed | self._picture.settle(asked, self._now(), self._door().settle_seconds, accounted=accounted)

    async def _accounted_ids(self, job_ids: Collection[str]) -> list[RemoteJob] | None:
        return await self._accounted(job_ids=job_ids)

    async def _accounted(self, *, names: Collection[str] = (), job_ids: Collection[str] = ()) -> list[RemoteJob] | None:
        """Accounting's rows; None where it can't be asked: then nothing is absent, and the live side goes on."""
        if not isinstance(door := self._door(), Accounting):
            return []
        try:
            rows = list(await door.accounted(names=names, job_ids=job_ids))
        except Unavailable as error:
            self.accounting_trouble = error
            return None
        self.accounting_trouble = None
        return rows

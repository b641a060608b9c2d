"""What a look reads of a site: the light listing, full records of what changed, and runs by their markers.

Full records are read for what changed and, once a progress period, for what runs, in turns where the calls for all
would be too many; a few more tell why jobs wait. What the scheduler no longer has is accounting's to tell, and nothing
is absent while that can't be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from passerelle.copies import Copies
from passerelle.errors import PasserelleError, Unavailable
from passerelle.gateways.base import Accounting, Gateway
from passerelle.gateways.courtesy import Courtesy
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.marker import Run
from passerelle.picture import Known, Picture, beyond
from passerelle.reports import Reports
from passerelle.rota import Rota
from passerelle.slurm import NO_REASON, RemoteJob, Stage, id_order
from passerelle.strays import Strays

log = logging.getLogger("passerelle.looks")

NEWS_WHEN_FULL = 4
"""Full records that a look still reads of what changed, when the hour's calls are used up; the others' turn comes."""

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
        courtesy: Courtesy,
        on_change: Callable[[Run], None],
        now: Callable[[], float],
    ) -> None:
        self.accounting_trouble: Unavailable | None = None
        self._door = door
        self._picture = picture
        self._reports = reports
        self.copies = Copies(now)
        self.strays = Strays(now)
        self._courtesy = courtesy
        self._on_change = on_change
        self._now = now
        self._rota = Rota(now)
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
        budget = self._courtesy.budget
        if budget.full:
            news = news[:NEWS_WHEN_FULL]
        if budget.room(Purpose.PROGRESS) > 0:  # why a job waits can wait itself
            news += self._queued_turn([present[job_id] for job_id in others])
        with made_for(Purpose.NEWS):
            changed = await self._read(known, news, known.keys() - states.keys())
        if self._now() >= self._next_progress:
            self._next_progress = self._now() + progress_period
            for run in changed:
                self._on_change(run)
            running = [job_id for job_id in present if states[job_id].stage is Stage.RUNNING]
            changed = await self._progress(known, running, progress_period)
        return changed

    async def _progress(self, known: Known, running: Sequence[str], period: float) -> set[Run]:
        """What running jobs report: of all of them, or of those whose turn it is."""
        budget, courtesy = self._courtesy.budget, self._courtesy
        turn = self._rota.turn(running, budget.room(Purpose.PROGRESS))
        courtesy.progress_stretch = (
            max(self._rota.waited() / period, 1.0) if period and len(turn) < len(running) else 1.0
        )
        if len(turn) < len(running):
            courtesy.slow(Purpose.PROGRESS)
        before = budget.made(Purpose.PROGRESS)
        with made_for(Purpose.PROGRESS):
            changed = await self._read(known, turn, running=running)
        self._rota.took(turn, budget.made(Purpose.PROGRESS) - before)
        return changed

    async def _read(
        self,
        known: Known,
        wanted: Collection[str],
        missing: Collection[str] = (),
        *,
        running: Collection[str] | None = None,
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
        changed = await self._take_in(records, running=running)
        if accounted is not None:
            for job_id in gone - {job.job_id for job in records}:
                run, attempt, job = known[job_id]
                changed.add(run)
                self._picture.lose(run, attempt, job)
        return changed

    async def _take_in(self, records: Sequence[RemoteJob], *, running: Collection[str] | None = None) -> set[Run]:
        """Keep these records, with what the jobs themselves have to tell: at their end, and where they are due to
        report, of all that are `running`. What changed by that.
        """
        ended = self._picture.newly_ended(records)
        with made_for(Purpose.LOOK):  # an end is told whatever else must wait
            told = {job.key: job for job in await self._reports.ended(self._door(), ended)}
        if running is not None:  # not at each look: each time is a turn
            due = [job for job in records if job.stage is Stage.RUNNING]
            told |= {job.key: job for job in await self._reports.running(self._door(), due, running)}
        newest = [told.get(job.key, job) for job in records]
        return {run for job in newest if (run := self._picture.take_in(job)) is not None}

    def _queued_turn(self, unchanged: list[RemoteJob]) -> list[str]:
        """Waiting jobs whose reason is read again in this look: the light listing does not carry it. Those without a
        reason come first, the rest take turns.
        """
        queued = sorted((job.job_id for job in unchanged if job.stage is Stage.QUEUED), key=id_order)
        if not queued:
            return []
        reasonless = {job.job_id for job in unchanged if job.state_reason in NO_REASON}
        turn = [job_id for job_id in queued if id_order(job_id) > id_order(self._last_queued)] + queued
        chosen = sorted(dict.fromkeys(turn), key=lambda job_id: job_id not in reasonless)[:QUEUED_PER_LOOK]
        self._last_queued = max((each for each in chosen if each not in reasonless), key=id_order, default="")
        return chosen

    async def followed(self) -> set[Run]:
        """Runs whose submits were accepted some time ago: is there another job under the marker? Of those that
        accounting takes for alive, the scheduler is asked by their ids.
        """
        if not isinstance(self._door(), Accounting) or not (markers := self.copies.take()):
            return set()
        rows = await self._accounted(names=markers)
        if rows is None:
            self.copies.put_back(markers)
            return set()
        news = [row for row in rows if not self._picture.knows(row)]
        alive = {row.key for row in news if row.stage is not Stage.ENDED}
        live = await self._door().get([job_id for job_id, _ in alive]) if alive else []
        ended = [row for row in news if row.stage is Stage.ENDED]
        return await self._take_in([*ended, *(job for job in live if job.key in alive)])

    async def asked(self) -> set[Run]:
        """Runs by marker: accounting first (it filters by name), the full live listing where a job may exist."""
        asked = set(self._picture.asked & self._picture.views.keys())
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
        deep = not accounted or any(view.questions or view.thorough or view.hushing for view in views)
        if deep := deep or any(row.stage is not Stage.ENDED for row in rows):
            # The live listing is read after accounting: a job that appears in between is then seen in one of them.
            live = await self._door().find()
            self.strays.listed(live, self._picture)
            rows = [row for row in rows if row.stage is Stage.ENDED]  # active rows are the live listing's to tell
            rows += live
        changed = await self._take_in(rows)
        now, settle_seconds = self._now(), self._door().settle_seconds
        if deep:
            changed |= self._picture.hush(asked, now, settle_seconds)
        return changed | self._picture.settle(asked, now, settle_seconds, accounted=accounted)

    async def surveyed(self) -> None:
        """All jobs of ours, once an hour at least, so that those are known that nobody asks for. Nothing waits for it:
        where a listing of all is too much for a site, its looks go on.
        """
        if not self.strays.due or self._courtesy.budget.room(Purpose.LOOK) <= 0:
            return
        self.strays.put_off()
        try:
            self.strays.listed(await self._door().find(), self._picture)
        except PasserelleError as error:
            log.warning("jobs not surveyed", extra={"reason": error.reason, "error": str(error)})

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

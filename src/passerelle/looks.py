"""What a look reads of a site: the light listing, full records of what changed, and runs by their markers.

Full records are read for what changed and, once a progress period, for what runs, in turns where the calls for all
would be too many; a few more tell why jobs wait. What the scheduler no longer has is accounting's to tell, and nothing
is absent while that can't be asked, nor, for a while, what it has as alive.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial

from passerelle import hush
from passerelle.accountant import Accountant
from passerelle.copies import Copies
from passerelle.errors import PasserelleError
from passerelle.gateways.base import Accounting, Gateway, Probe
from passerelle.gateways.courtesy import Courtesy
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.lately import Lately
from passerelle.listings import Listings, distance
from passerelle.marker import Run, parse
from passerelle.names import NAMES_AT_ONCE
from passerelle.picture import Known, Picture
from passerelle.recall import LEAST, MOST, by_ids, recall
from passerelle.reports import Reports
from passerelle.rota import Rota
from passerelle.slurm import NO_REASON, RemoteJob, Stage, id_order
from passerelle.strays import Strays
from passerelle.views import View, doubted

log = logging.getLogger("passerelle.looks")

NEWS_WHEN_FULL = 4
"""Full records that a look still reads of what changed, when the hour's calls are used up; the others' turn comes."""
LOOK_UPS_PER_LOOK = 1_000
"""Runs that a look asks for by their markers, some forty calls: of a burst of more, the rest waits for the next look,
and the listing does not.
"""

NEWS_PIECE = 64
"""Full records after which the passes of their TrainingJobs begin, while others are read."""

QUEUED_PER_LOOK = 4
"""Full records, some 8 KiB each, that a look spends on why jobs wait: a bound that does not grow with their number."""
QUEUED_SECONDS = 20.0
"""At least, between two looks that spend them: at a period of 5 s they were a third of what a Site at rest costs."""


class Looks:
    """At one site, whatever its door is by now. Each tells the runs whose picture changed; `on_change` hears of some of
    them before the rest is read. `is_here`: whether a TrainingJob is of that run. `now` is monotonic, in seconds.
    """

    def __init__(
        self,
        door: Callable[[], Gateway],
        picture: Picture,
        reports: Reports,
        *,
        courtesy: Courtesy,
        on_change: Callable[[Run], None],
        is_here: Callable[[Run], bool],
        now: Callable[[], float],
    ) -> None:
        self._door = door
        self._picture = picture
        self._reports = reports
        self.copies = Copies(now)
        self.strays = Strays(now)
        self.listings = Listings(now, lambda: courtesy.host)
        self._courtesy = courtesy
        self._on_change = on_change
        self._now = now
        self._is_here = is_here
        self._accountant = Accountant(door, picture, now)
        self._lately = Lately()
        self._rota = Rota(now)
        self._next_progress = 0.0
        self._last_queued, self._next_queued = "", 0.0
        self._period = self._states_took = 0.0

    async def known(self, progress_period: float) -> set[Run]:
        """The light listing for our ids; then full records of what changed, which are told of before those that are
        due to report are read: 500 records of progress take seconds.
        """
        if not self._next_progress:  # whatever runs is read whole when it is found
            self._next_progress = self._now() + progress_period
        known = self._picture.known()
        if not known:
            return set()
        began = self._now()
        lately = self._lately.beside(known.keys()) if by_ids(self._door()) else []
        states = await self._door().states([*known, *lately])
        self._states_took = self._now() - began
        present = {job_id: job for job_id, (_, _, job) in known.items() if job_id in states}
        news = [
            job_id
            for job_id, job in present.items()
            if states[job_id] != job.state or not job.submit_time or doubted(job)
        ]
        others = present.keys() - set(news)
        budget = self._courtesy.budget
        if budget.full:
            news = news[:NEWS_WHEN_FULL]
        if self._now() >= self._next_queued and budget.room(Purpose.PROGRESS) > 0:  # why a job waits can wait itself
            self._next_queued = self._now() + QUEUED_SECONDS
            news += self._queued_turn([present[job_id] for job_id in others])
        with made_for(Purpose.NEWS):
            for start in range(0, len(news) - NEWS_PIECE, NEWS_PIECE):
                for run in await self._read(known, news[start : start + NEWS_PIECE]):
                    self._on_change(run)
            for run in await self._requeued(self._lately.alive(lately, states)):
                self._on_change(run)
            last = news[max(0, (len(news) - 1) // NEWS_PIECE * NEWS_PIECE) :]
            changed = await self._read(known, last, known.keys() - states.keys())
        if self._now() >= self._next_progress:
            self._next_progress = self._now() + progress_period
            for run in changed:
                self._on_change(run)
            running = [job_id for job_id in present if states[job_id].stage is Stage.RUNNING]
            changed = await self._progress(known, running, progress_period)
        return changed

    async def _requeued(self, job_ids: Sequence[str]) -> set[Run]:
        """Jobs that live again, perhaps of runs whose end was told."""
        chosen = job_ids[:NEWS_WHEN_FULL] if self._courtesy.budget.full else job_ids
        read = await self._door().get(chosen) if chosen else []
        return await self._taken_up(self._lately.known(read, chosen))

    async def _taken_up(self, live: Sequence[RemoteJob]) -> set[Run]:
        """Take in jobs that live, also of runs that nobody looks at any more, where a TrainingJob is of them."""
        for job in live:
            named = parse(job.name)
            if named is not None and job.stage is not Stage.ENDED and self._is_here(named[0]):
                self._picture.reopen(job)
        return await self.take_in(live)

    def apart(self, period: float, probe: Probe) -> float:
        """Seconds from one look to the next: where each lists everybody's jobs, as for every such listing."""
        return distance(period, self._states_took) if probe.everybody else period

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
        accounted = await self._accountant.by_ids(gone, {known[each][0] for each in gone}) if gone else []
        rows = [job for job in accounted or [] if job.name == known[job.job_id][2].name]
        records += [job for job in rows if job.stage is Stage.ENDED]
        records += self._reports.held(known[each][2] for each in gone - {job.job_id for job in records})
        changed = await self.take_in(records, running=running)
        # It may come back, or end in accounting later, or be a runaway: a row that never ends is no sign of life.
        unsure = [job for job in rows if job.job_id in gone - {each.job_id for each in records}]
        changed |= {run for job in unsure if (run := self._picture.doubt(job)) is not None}
        if accounted is not None:
            for job_id in gone - {job.job_id for job in (*records, *unsure)}:
                run, attempt, job = known[job_id]
                changed.add(run)
                self._picture.lose(run, attempt, job)
        return changed

    async def take_in(self, records: Sequence[RemoteJob], *, running: Collection[str] | None = None) -> set[Run]:
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
        changed = {run for job in newest if (run := self._picture.take_in(job)) is not None}
        for job in newest:
            if job.live and job.stage is Stage.ENDED and self._picture.knows(job):
                self._lately.ended(job)
        return changed

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

    async def followed(self) -> None:
        """Of submits that were answered some time ago: is there another job under the marker? Without accounting a
        listing of all shows it. What got no answer is asked again with the next light listing.
        """
        for _ in range(LOOK_UPS_PER_LOOK // NAMES_AT_ONCE):
            markers = self.copies.take(NAMES_AT_ONCE)
            if not markers or not isinstance(self._door(), Accounting):
                return
            found: set[Run] | None = None
            try:
                found = await self._others(markers) if self._accountant.patience <= 0 else None
            finally:
                if found is None:
                    self.copies.put_back(markers)
            if found is None:
                return
            for run in found:
                self._on_change(run)

    async def _others(self, markers: Sequence[str]) -> set[Run] | None:
        """Take in the jobs of these names that nobody knows, the live ones as the scheduler has them, although their
        run may have ended by now; what changed. None where accounting is silent.
        """
        rows = await self._accountant.by_names(markers)
        if rows is None:
            return None
        news = [row for row in rows if not self._picture.knows(row)]
        alive = {row.key for row in news if row.stage is not Stage.ENDED}
        live = await self._door().get([job_id for job_id, _ in alive]) if alive else []
        changed = await self.take_in([row for row in news if row.stage is Stage.ENDED])
        return changed | await self._taken_up([job for job in live if job.key in alive])

    @property
    def silent(self) -> dict[str, PasserelleError]:
        """Why one side of the site can't be asked while the rest answers, by the condition that says so."""
        sides = {"AccountingAvailable": self._accountant.trouble, "ListingAvailable": self.listings.trouble}
        return {kind: trouble for kind, trouble in sides.items() if trouble is not None}

    def due(self) -> float:
        """Seconds until a look-up can learn something new."""
        return self._picture.due(self._now(), self._door().settle_seconds, self._held)

    def _held(self, view: View) -> float:
        """Seconds for which a run is not looked up: while accounting is silent, but for the last word that a listing
        says alone; and until the next listing, where it needs one.
        """
        silent = 0.0 if view.hushing and view.complete and not view.questions else self._accountant.patience
        return max(silent, self.listings.wait if self._needs_all(view) else 0.0)

    def _needs_all(self, view: View) -> bool:
        """Whether nothing less than a full listing tells what is asked of a run."""
        door = self._door()
        by_name = door.traits.by_name and isinstance(door, Accounting)
        return view.searching or (
            view.hushing and (view.word.to_listing or not by_name or self._accountant.patience > 0)
        )

    async def asked(self, period: float) -> set[Run]:
        """Runs that are looked up: what their statuses remember, then, some of them at a time, all others by marker."""
        self._period = period
        most = max(min(int(self._courtesy.budget.room(Purpose.LOOK)), MOST), LEAST)
        accounted = partial(self._accountant.by_ids, runs=self._picture.asked)
        recalled = await self.take_in(await recall(self._door(), self._picture, accounted, most))
        for run in recalled:
            self._picture.views[run].recalled = True
        recalled |= self._picture.settle(recalled, self._now(), self._door().settle_seconds, accounted=False)
        later = self._picture.remembered(len(self._picture.asked))  # by their ids, as soon as the hour's calls allow
        turn = self._picture.turn(LOOK_UPS_PER_LOOK, lambda view: self._held(view) <= 0)
        return recalled | await self._looked_up(turn - later.keys(), period)

    async def _looked_up(self, asked: set[Run], period: float) -> set[Run]:
        """Accounting first (it filters by name), the full live listing where a job may exist that it does not tell.
        What was answered of them counts, whatever was not; while accounting is silent they are looked up once a period
        or less often, and a full listing is made only for those that may have a job.
        """
        if not asked:
            return set()
        rows, answered = await self._accountant.look_up(asked, period)
        views = {run: view for run in asked if (view := self._picture.views.get(run)) is not None}
        silent = asked - answered
        for view in (views[run] for run in silent if run in views):
            view.word.to_listing = True  # accounting can't say it now
        wanting = {run for run, view in views.items() if self._needs_all(view) or (run in silent and view.highest)}
        # The live side is read after accounting: a job that appears in between is then seen in one of them.
        due = bool(wanting) and self.listings.wait <= 0
        live = await self._list(more=len(asked) >= LOOK_UPS_PER_LOOK) if due else None
        deep = live is not None
        if not deep:  # who wants one has no answer yet
            answered, silent = answered - wanting, silent - wanting
        active = [row.job_id for row in rows if row.stage is not Stage.ENDED]
        told, unsure = rows, list[RemoteJob]()
        if live is None and active:
            live = await self._door().get(active)
        if live is not None:
            listed = {job.name for job in live}
            unsure = [row for row in rows if row.stage is not Stage.ENDED and row.name not in listed]
            told = [row for row in rows if row.stage is Stage.ENDED]  # active rows are the live side's to tell
            told += live
        changed = await self.take_in(told)
        changed |= {run for row in unsure if (run := self._picture.doubt(row)) is not None}
        now, settle_seconds = self._now(), self._door().settle_seconds
        if deep:
            changed |= hush.by_listing(self._picture, asked, now, settle_seconds)
        changed |= hush.by_name(self._picture, answered - wanting, rows, now, settle_seconds)
        changed |= self._picture.settle(answered, now, settle_seconds, accounted=True)
        return changed | self._picture.settle(silent, now, settle_seconds, accounted=False)

    async def _list(self, *, more: bool = False) -> Sequence[RemoteJob] | None:
        """The full live listing, which is the next one's measure. None where it fails: that is evidence of nothing, and
        who answers was proven before, so that all else goes on.
        """
        try:
            with self.listings.one(self._period, more_wait=more):
                live = await self._door().find()
        except PasserelleError as error:
            log.warning("jobs not listed", extra={"reason": error.reason, "error": str(error)})
            return None
        self.strays.listed(live, self._picture)
        return live

    async def surveyed(self) -> set[Run]:
        """All jobs of ours, once an hour, so that those are known that nobody asks for: strays, and a second job under
        a marker. An hour later it comes though the calls run short. Nothing waits for it. What changed.
        """
        if not self.strays.due or (self._courtesy.budget.room(Purpose.LOOK) <= 0 and not self.strays.overdue):
            return set()
        if self.listings.busy:
            return set()  # it comes with the next look
        self.strays.put_off()
        live = await self._list() or ()
        return await self.take_in([job for job in live if not self._picture.knows(job)])

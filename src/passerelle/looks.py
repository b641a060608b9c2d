"""What a look reads of the jobs that are known: the light listing, and full records of what changed.

Full records are read for what changed and, once a progress period, for what runs, in turns where the calls for all
would be too many; a few more tell why jobs wait. What the scheduler no longer has is accounting's to tell, and nothing
is absent while that can't be asked, nor, for a while, what it has as alive.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from passerelle.accountant import Accountant
from passerelle.gateways.base import Gateway, Probe
from passerelle.gateways.courtesy import Courtesy
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.lately import Lately
from passerelle.listings import distance
from passerelle.marker import Run, parse
from passerelle.picture import Known, Picture
from passerelle.reasons import Reasons
from passerelle.recall import by_ids
from passerelle.reports import Reports
from passerelle.rota import Rota
from passerelle.slurm import RemoteJob, Stage
from passerelle.views import doubted

NEWS_WHEN_FULL = 4
"""Full records that a look still reads of what changed, when the hour's calls are used up; the others' turn comes."""
NEWS_PIECE = 64
"""Full records after which the passes of their TrainingJobs begin, while others are read."""


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
        self._courtesy = courtesy
        self._on_change = on_change
        self._now = now
        self._is_here = is_here
        self.accountant = Accountant(door, picture, now)
        self._lately = Lately()
        self._rota = Rota(now)
        self._next_progress = 0.0
        self._reasons = Reasons(now)
        self._states_took = 0.0

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
        if budget.room(Purpose.PROGRESS) > 0:  # why a job waits can wait itself
            news += self._reasons.turn(present[job_id] for job_id in others)
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
        return await self.take_up(self._lately.known(read, chosen))

    async def take_up(self, live: Sequence[RemoteJob]) -> set[Run]:
        """Take in jobs that live, also of runs that nobody looks at any more, where a TrainingJob is of them."""
        for job in live:
            named = parse(job.name)
            if named is not None and job.stage is not Stage.ENDED and self._is_here(named[0]):
                self._picture.reopen(job)
        return await self.take_in(live)

    def apart(self, period: float, probe: Probe) -> float:
        """Seconds from one look to the next: where each lists everybody's jobs, as for every such listing."""
        if not probe.everybody:
            return period
        return distance(period, self._states_took, self._courtesy.host.sites)

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
        accounted = await self.accountant.by_ids(gone, {known[each][0] for each in gone}) if gone else []
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

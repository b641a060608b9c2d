"""What a look reads of the jobs that are known: the light listing, and full records of what changed.

Full records are read for what changed and, once a progress period, for what runs, in turns where the calls for all
would be too many; a few more tell why jobs wait. What a look has no time for, the next ones read. What the scheduler no
longer has is accounting's to tell, and nothing is absent while that can't be asked, nor, for a while, what it has as
alive.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

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
from passerelle.records import Records
from passerelle.reports import Reports
from passerelle.rota import Rota
from passerelle.slurm import RemoteJob, Stage
from passerelle.views import doubted

NEWS_WHEN_FULL = 4
"""Full records that a look still reads of what changed, when the hour's calls are used up; the others' turn comes."""


@dataclass(slots=True)
class _Turn:
    """Running jobs that are asked how far they are: `left` are to be read, `read` were, and so many calls had been made
    before. `running` are all that run.
    """

    ids: Sequence[str]
    running: Sequence[str]
    left: Sequence[str]
    made_before: int
    read: list[RemoteJob] = field(default_factory=list)

    def still(self, known: Known) -> list[RemoteJob]:
        """Those that were read as they ran and are in the same life by now."""
        running = (job for job in self.read if job.stage is Stage.RUNNING)
        found = ((job, known[job.job_id][2]) for job in running if job.job_id in known)
        return [job for job, now in found if (job.state, job.restart_count) == (now.state, now.restart_count)]


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
        self.records = Records(door, courtesy, now)
        self._news: list[str] = []  # that are to be read
        self._turn: _Turn | None = None
        self._states_took = 0.0

    @property
    def behind(self) -> bool:
        """Whether there are records for which the last look had no time."""
        return bool(self._news) or self._turn is not None

    async def known(self, period: float, progress_period: float) -> None:
        """The light listing for our ids; then full records of what changed, which are told of before those that are
        due to report are read: 500 records of progress take seconds.
        """
        self.accountant.period = period
        if not self._next_progress:  # whatever runs is read whole when it is found
            self._next_progress = self._now() + progress_period
        known = self._picture.known()
        if not known:
            self._news, self._turn = [], None
            return
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
        waited = set(self._news)
        self._news = sorted(news, key=lambda job_id: job_id not in waited)
        self.records.begin(period)
        with made_for(Purpose.NEWS):
            await self._read_news(missing=known.keys() - states.keys())
            for run in await self._requeued(self._lately.alive(lately, states)):
                self._on_change(run)
        if self._now() >= self._next_progress and self._turn is None:
            self._next_progress = self._now() + progress_period
            running = [job_id for job_id in present if states[job_id].stage is Stage.RUNNING]
            self._turn = self._begun(running, progress_period)
        await self._progress()

    async def go_on(self, period: float) -> None:
        """Read more of what the looks before this one had no time for."""
        self.records.begin(period)
        with made_for(Purpose.NEWS):
            await self._read_news()
        await self._progress()

    async def _read_news(self, missing: Collection[str] = ()) -> None:
        """The passes of what a piece tells of begin while others are read. The last one that there is time for takes
        those along that the scheduler no longer has.
        """
        while True:
            known, more = self._picture.known(), self.records.may
            self._news = [job_id for job_id in self._news if job_id in known]
            piece = self.records.piece(self._news) if more else []
            last = not more or len(piece) == len(self._news)
            gone = {job_id for job_id in missing if job_id in known} if last else set[str]()
            changed = await self._read(known, piece, gone) if piece or gone else set[Run]()
            self._news = self._news[len(piece) :]
            for run in changed:
                self._on_change(run)
            if last:
                return

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

    def _begun(self, running: Sequence[str], period: float) -> _Turn:
        """What running jobs report is due: of all of them, or of those whose turn it is."""
        budget, courtesy = self._courtesy.budget, self._courtesy
        turn = self._rota.turn(running, budget.room(Purpose.PROGRESS))
        courtesy.progress_stretch = (
            max(self._rota.waited() / period, 1.0) if period and len(turn) < len(running) else 1.0
        )
        if len(turn) < len(running):
            courtesy.slow(Purpose.PROGRESS)
        return _Turn(turn, running, turn, budget.made(Purpose.PROGRESS))

    async def _progress(self) -> None:
        """The rest of the turn, piece by piece, after all news; with the last piece the files of those that are due, of
        which so many are read in a turn, and no more.
        """
        turn = self._turn
        while turn is not None and not self._news and self.records.may:
            known = self._picture.known()
            left = [job_id for job_id in turn.left if job_id in known]
            piece = self.records.piece(left)
            last = len(piece) == len(left)
            with made_for(Purpose.PROGRESS):
                changed = await self._read(known, piece, turn=turn, last=last)
            turn.left = left[len(piece) :]
            for run in changed:
                self._on_change(run)
            if last:
                self._rota.took(turn.ids, self._courtesy.budget.made(Purpose.PROGRESS) - turn.made_before)
                self._turn = turn = None

    async def _read(
        self,
        known: Known,
        wanted: Collection[str],
        missing: Collection[str] = (),
        *,
        turn: _Turn | None = None,
        last: bool = False,
    ) -> set[Run]:
        """Full records of these ids; what the scheduler no longer has is accounting's to tell. What changed by that."""
        read = await self.records.read(wanted) if wanted else []
        records = [job for job in read if job.name == known[job.job_id][2].name]
        gone = {*missing, *wanted} - {job.job_id for job in records}
        accounted = await self.accountant.by_ids(gone, {known[each][0] for each in gone}) if gone else []
        rows = [job for job in accounted or [] if job.name == known[job.job_id][2].name]
        records += [job for job in rows if job.stage is Stage.ENDED]
        records += self._reports.held(known[each][2] for each in gone - {job.job_id for job in records})
        earlier = turn.still(known) if turn is not None and last else []
        changed = await self.take_in(records, running=turn.running if turn is not None and last else None, due=earlier)
        if turn is not None:
            turn.read += records
        # It may come back, or end in accounting later, or be a runaway: a row that never ends is no sign of life.
        unsure = [job for job in rows if job.job_id in gone - {each.job_id for each in records}]
        changed |= {run for job in unsure if (run := self._picture.doubt(job)) is not None}
        if accounted is not None:
            for job_id in gone - {job.job_id for job in (*records, *unsure)}:
                run, attempt, job = known[job_id]
                changed.add(run)
                self._picture.lose(run, attempt, job)
        return changed

    async def take_in(
        self, records: Sequence[RemoteJob], *, running: Collection[str] | None = None, due: Sequence[RemoteJob] = ()
    ) -> set[Run]:
        """Keep these records, with what the jobs themselves have to tell: at their end, and where they are due to
        report, of all that are `running`; so are those that are `due` and were kept before. What changed by that.
        """
        ended = self._picture.newly_ended(records)
        with made_for(Purpose.LOOK):  # an end is told whatever else must wait
            told = {job.key: job for job in await self._reports.ended(self._door(), ended)}
        if running is not None:  # not at each look: each time is a turn
            asked = [*due, *(job for job in records if job.stage is Stage.RUNNING)]
            told |= {job.key: job for job in await self._reports.running(self._door(), asked, running)}
        newest = [told[job.key] for job in due if told.get(job.key, job) != job]
        newest += [told.get(job.key, job) for job in records]
        changed = {run for job in newest if (run := self._picture.take_in(job)) is not None}
        for job in newest:
            if job.live and job.stage is Stage.ENDED and self._picture.knows(job):
                self._lately.ended(job)
        return changed

"""One site, as one identity: a single batched look per period at all of our jobs there.

The cost of a look grows with the site and with what changed, never with the number of jobs of others: the light
listing is asked for our own ids, full records are read for what changed and, once a progress period, for what runs. A
look-up by marker is made for runs that have just come into view, and for attempts whose absence is in question: live
listing and accounting must both be silent (law 3; picture.py keeps the questions).

Whoever submits or cancels goes through here, too: only to the cluster and as the user that were proven last.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager

from passerelle import stopping
from passerelle.batch import Batch
from passerelle.decide import Seen
from passerelle.errors import Invalid, Misaddressed, PasserelleError, Unavailable
from passerelle.gate import WAITING, Gate
from passerelle.gateways.base import Accounting, Gateway, Identity, Probe
from passerelle.marker import Run
from passerelle.picture import Known, Picture, Question, View, beyond
from passerelle.reports import Reports, RunDirectory
from passerelle.slurm import NO_REASON, RemoteJob, Stage, id_order

log = logging.getLogger("passerelle.watch")

GATHER_SHARE, GATHER_LEAST, GATHER_MOST = 0.1, 0.2, 3.0
"""Look-ups gather for a tenth of the period, within these seconds: a burst of new TrainingJobs costs a few calls, and
one every moment does not turn the period into nothing."""

LONGEST_BACKOFF_SECONDS = 60.0

MISADDRESSED_SECONDS = 180.0
"""How long another server answers at the address before that is the administrator's to mend."""

QUEUED_PER_LOOK = 4
"""Full records, some 8 KiB each, that a look spends on why jobs wait: a bound that does not grow with their number."""


class SiteWatch:
    """Looks at one site. `on_change` is told of every run whose picture changed; it must not block or raise."""

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        *,
        period: float,
        progress_period: float,
        renew: Callable[[], Awaitable[None]],
        run_directory: RunDirectory,
        on_change: Callable[[Run], None],
        on_site: Callable[[], None],
    ) -> None:
        self.name = name
        self.gateway = gateway
        self.period = period
        self.progress_period = progress_period
        self.probe: Probe | None = None
        self.trouble: PasserelleError | None = _waiting()
        self.accounting_trouble: PasserelleError | None = None
        self.looked_at: float | None = None
        self._answered = self._now()
        self._renew = renew
        self._on_change = on_change
        self._on_site = on_site
        self._picture = Picture()
        self._run_directory = run_directory
        self._reports = Reports(name, run_directory, self._now)
        self._wake = asyncio.Event()
        self._failures = 0
        self._failing_since = 0.0  # for the reason of the trouble
        self._gate = Gate(lambda: self._identity)
        self._looking = asyncio.Lock()
        self._next_listing = 0.0
        self._next_progress = 0.0
        self._last_queued = ""

    # What the reconciler asks and tells

    def seen(self, run: Run, fresh: Iterable[int] = ()) -> Seen:
        """The picture of one run, for `decide`."""
        return self._picture.seen(run, fresh, self._identity)

    def look_up(
        self, run: Run, *, highest: int, thorough: bool, wary: bool = False, doubtful: int | None = None
    ) -> None:
        """Ask for a run's jobs by marker soon; see Picture.ask. `thorough` reads the live listing, too: accounting lags
        behind it, by 3.7 s on 22.05.
        """
        self._picture.ask(run, highest=highest, thorough=thorough, wary=wary, doubtful=doubtful)
        self._wake.set()

    def acting(self, identity: Identity) -> AbstractContextManager[None]:
        """An act in hand, towards this cluster and as this user. Raises Unavailable where others answer."""
        return self._gate.passing(identity)

    async def submit(self, run: Run, attempt: int, batch: Batch, identity: Identity) -> str:
        """Submit to the cluster and as the user of the intent, or not at all. Errors are the gateway's."""
        with self._gate.passing(identity):
            try:
                return await self.gateway.submit(batch)
            except Unavailable as error:
                if error.sent:
                    self._picture.views.setdefault(run, View()).questions[attempt] = Question()
                else:
                    self._fail(error)  # the others need not try in turn
                    self.nudge()
                raise
            except BaseException:
                self._picture.views.setdefault(run, View()).questions[attempt] = Question()
                raise

    async def cancel(self, run: Run, attempt: int, job: RemoteJob) -> None:
        """End this job, after reading that the id is still its own: ids start again where a site lost its state."""
        with self._gate.passing(Identity(job.cluster, job.user)):
            records = await self.gateway.get([job.job_id])
            if any(each.name == job.name and self._picture.identity == _of(each) for each in records):
                await self.gateway.cancel(job.job_id)
            elif records:
                self._picture.lose(run, attempt, job)
        self._next_listing = 0.0
        self.nudge()

    async def ask_to_stop(self, job: RemoteJob) -> bool:
        """Have this job save and stop, after reading that the id is still its own. False where nobody can ask it."""
        with self._gate.passing(Identity(job.cluster, job.user)):
            records = await self.gateway.get([job.job_id])
            if any(each.name == job.name and self._picture.identity == _of(each) for each in records):
                return await stopping.ask(self.gateway, job, self._run_directory)
        return False

    def submitted(self, run: Run, attempt: int, job: RemoteJob) -> None:
        """Take in a job that has just been accepted; its true record comes with the next look."""
        view = self._picture.views.setdefault(run, View(complete=True))
        view.highest = max(view.highest, attempt)
        view.questions.pop(attempt, None)
        view.jobs[job.job_id] = (attempt, job)

    def forget(self, run: Run) -> None:
        """Nothing more is wanted of this run."""
        self._picture.forget(run)
        self._reports.forget(run)

    def nudge(self) -> None:
        """Look soon."""
        self._wake.set()

    async def shut(self) -> None:
        """Within a look, before its user changes: nobody acts until the look has proven who answers."""
        self.probe, self.trouble = None, _waiting()
        self._next_listing = 0.0
        await self._gate.empty()

    async def move(self, gateway: Gateway) -> None:
        """Another door. Neither a look nor an act is in hand meanwhile: what the one says is never the other's."""
        async with self._looking:
            await self.shut()
            former, self.gateway = self.gateway, gateway
            await former.close()
        self.nudge()

    def live(self) -> list[RemoteJob]:
        """The jobs of ours that have not ended, as they were last seen."""
        return [job for _, _, job in self._picture.known().values()]

    @property
    def live_jobs(self) -> int:
        """Jobs of ours that have not ended."""
        jobs = (job for view in self._picture.views.values() for _, job in view.jobs.values())
        return sum(job.stage is not Stage.ENDED for job in jobs)

    @property
    def silent_seconds(self) -> float:
        """Since the site last answered; before it ever did, since this watch began."""
        return self._now() - self._answered

    # The loop

    async def run(self) -> None:
        """Look for ever. Errors of the site are the site's condition; a defect of ours is logged with its trace."""
        while True:
            try:
                await self.look()
            except Exception:  # a site that is never looked at again would be worse than a repeated defect
                log.exception("look failed", extra={"site": self.name})
                self._fail(Unavailable("The operator failed to read the site's answer; see its log.", reason="Defect"))
                self._on_site()
            await self._pause()

    async def look(self) -> None:
        """One look at the site."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        before = (_kind(self.trouble), self.probe, self.accounting_trouble is None)
        changed: set[Run] = set()
        try:
            await self._renew()
            probe = await self.gateway.probe()
            self._picture.meet(probe.identity)
            self.probe = probe
            now = self._now()
            if now >= self._next_listing:
                self._next_listing = now + self.period * random.uniform(0.9, 1.0)  # noqa: S311 -- jitter, no secret
                changed = await self._look_at_known()
            changed |= await self._look_up_asked()
        except PasserelleError as error:
            if self.trouble is None or self.trouble.reason != error.reason:
                extra = {"site": self.name, "reason": error.reason, "error": str(error)}
                log.warning("site can't be asked", extra=extra)
            self._fail(error)
        else:
            if self.trouble is not None:
                who = {"cluster": probe.identity.cluster, "user": probe.identity.user, "version": probe.version}
                log.info("site answers", extra={"site": self.name, **who})
            self._failures = 0
            self.trouble = None
            self.looked_at, self._answered = time.time(), self._now()
        if (_kind(self.trouble), self.probe, self.accounting_trouble is None) != before:
            self._on_site()
            changed = set(self._picture.views)
        for run in changed:
            self._on_change(run)

    @property
    def _identity(self) -> Identity | None:
        return self.probe.identity if self.probe is not None and self.trouble is None else None

    def _fail(self, error: PasserelleError) -> None:
        if self.trouble is None or self.trouble.reason != error.reason:
            self._failing_since = self._now()
        if isinstance(error, Misaddressed) and self._now() - self._failing_since >= MISADDRESSED_SECONDS:
            error = Invalid(error.message, reason=error.reason)
        self._failures += 1
        self.trouble = error
        self._next_listing = 0.0

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _pause(self) -> None:
        """Until the next look is due, or was asked for. The clock wakes as everybody else does: wait_for of Python 3.11
        may swallow the cancellation that lets a deleted Site go.
        """
        loop = asyncio.get_running_loop()
        deadline = self._now() + self._wait()
        while self._now() < deadline:
            alarm = loop.call_at(deadline, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                alarm.cancel()
            self._wake.clear()
            if self.trouble is None or self.trouble.reason == WAITING:
                deadline = min(deadline, self._now() + self._soon())

    def _wait(self) -> float:
        """Seconds until the next look, without being woken."""
        if self.trouble is not None:
            wished = self.trouble.retry_after if isinstance(self.trouble, Unavailable) else None
            backoff = self.period * 2.0 ** min(self._failures, 10)
            return max(min(backoff, max(self.period, LONGEST_BACKOFF_SECONDS)), wished or 0.0)
        listing = max(self._next_listing - self._now(), 0.0)
        return min(listing, self._soon()) if self._picture.asked else listing

    def _soon(self) -> float:
        gather = min(max(self.period * GATHER_SHARE, GATHER_LEAST), GATHER_MOST)
        if not self._picture.asked:
            return gather
        return max(self._picture.due(self._now(), self.gateway.settle_seconds), gather)

    async def _look_at_known(self) -> set[Run]:
        """The light listing for our ids; then full records of what changed, which are told of before those that are
        due to report are read: 500 records of progress take seconds.
        """
        known = self._picture.known()
        if not known:
            return set()
        states = await self.gateway.states(known.keys())
        present = {job_id: job for job_id, (_, _, job) in known.items() if job_id in states}
        news = [job_id for job_id, job in present.items() if states[job_id] != job.state or not job.submit_time]
        others = present.keys() - set(news)
        news += self._queued_turn([present[job_id] for job_id in others])
        changed = await self._read(known, news, known.keys() - states.keys())
        if self._now() >= self._next_progress:
            self._next_progress = self._now() + self.progress_period
            for run in changed:
                self._on_change(run)
            reporting = [job_id for job_id in present if states[job_id].stage is Stage.RUNNING]
            changed = await self._read(known, reporting, reporting=True)
        return changed

    async def _read(
        self, known: Known, wanted: Collection[str], missing: Collection[str] = (), *, reporting: bool = False
    ) -> set[Run]:
        """Full records of these ids; what the scheduler no longer has is accounting's to tell. What changed by that."""
        read = await self.gateway.get(wanted) if wanted else []
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
        told = {job.job_id: job for job in await self._reports.ended(self.gateway, ended)}
        if reporting:  # not at each look: each time is a turn
            told |= {job.job_id: job for job in await self._reports.running(self.gateway, due)}
        newest = [told.get(job.job_id, job) for job in records]
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

    async def _look_up_asked(self) -> set[Run]:
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
        deep = not accounted or any(view.questions or view.thorough for view in views)
        if deep or any(row.stage is not Stage.ENDED for row in rows):
            # The live listing is read after accounting: a job that appears in between is then seen in one of them.
            live = await self.gateway.find()
            rows = [row for row in rows if row.stage is Stage.ENDED]  # active rows are the live listing's to tell
            rows += live
        changed = await self._take_in(rows)
        return changed | self._picture.settle(asked, self._now(), self.gateway.settle_seconds, accounted=accounted)

    async def _accounted(self, *, names: Collection[str] = (), job_ids: Collection[str] = ()) -> list[RemoteJob] | None:
        """Accounting's rows; None where it can't be asked: then nothing is absent, and the live side goes on."""
        if not isinstance(self.gateway, Accounting):
            return []
        try:
            rows = list(await self.gateway.accounted(names=names, job_ids=job_ids))
        except Unavailable as error:
            self.accounting_trouble = error
            return None
        self.accounting_trouble = None
        return rows


def _waiting() -> Unavailable:
    return Unavailable("The site has not answered yet.", reason=WAITING, sent=False)


def _kind(trouble: PasserelleError | None) -> tuple[type[PasserelleError], str] | None:
    """What is wrong and who must act: a change of either is news."""
    return None if trouble is None else (type(trouble), trouble.reason)


def _of(job: RemoteJob) -> Identity:
    return Identity(job.cluster, job.user)

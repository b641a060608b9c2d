"""One site, as one identity: a single batched look per period at all of our jobs there.

The cost of a look grows with the site and with what changed, never with the number of jobs of others: looks.py tells
what is read. A look-up by marker is made for runs that have just come into view, and for attempts whose absence is in
question: live listing and accounting must both be silent (law 3; picture.py keeps the questions).

Whoever submits or cancels goes through here, too: only to the cluster and as the user that were proven last.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager

from passerelle import stopping
from passerelle.batch import Batch
from passerelle.decide import Seen
from passerelle.errors import Invalid, Misaddressed, PasserelleError, Unavailable
from passerelle.gate import WAITING, Gate
from passerelle.gateways.base import Gateway, Identity, Probe
from passerelle.looks import Looks
from passerelle.marker import Run
from passerelle.picture import Picture, Question, View
from passerelle.reports import Reports, RunDirectory
from passerelle.slurm import RemoteJob, Stage

log = logging.getLogger("passerelle.watch")

GATHER_SHARE, GATHER_LEAST, GATHER_MOST = 0.1, 0.2, 3.0
"""Look-ups gather for a tenth of the period, within these seconds: a burst of new TrainingJobs costs a few calls, and
one every moment does not turn the period into nothing."""

LONGEST_BACKOFF_SECONDS = 60.0

MISADDRESSED_SECONDS = 180.0
"""How long another server answers at the address before that is the administrator's to mend."""


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
        self.looked_at: float | None = None
        self._answered = self._now()
        self._renew = renew
        self._on_change = on_change
        self._on_site = on_site
        self._picture = Picture()
        self._run_directory = run_directory
        self._reports = Reports(name, run_directory, self._now)
        self._looks = Looks(lambda: self.gateway, self._picture, self._reports, on_change=on_change, now=self._now)
        self._wake = asyncio.Event()
        self._failures = 0
        self._failing_since = 0.0  # for the reason of the trouble
        self._gate = Gate(lambda: self._identity)
        self._looking = asyncio.Lock()
        self._next_listing = 0.0

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

    def look_anew(self, run: Run) -> None:
        """Believe no more that all jobs of a run are known, until it has been looked up again."""
        self._picture.look_anew(run)

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
    def accounting_trouble(self) -> Unavailable | None:
        """Why accounting could not be asked, while the live side answers."""
        return self._looks.accounting_trouble

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
                changed = await self._looks.known(self.progress_period)
            changed |= await self._looks.asked()
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


def _waiting() -> Unavailable:
    return Unavailable("The site has not answered yet.", reason=WAITING, sent=False)


def _kind(trouble: PasserelleError | None) -> tuple[type[PasserelleError], str] | None:
    """What is wrong and who must act: a change of either is news."""
    return None if trouble is None else (type(trouble), trouble.reason)


def _of(job: RemoteJob) -> Identity:
    return Identity(job.cluster, job.user)

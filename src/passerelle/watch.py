"""One site, as one identity: a single batched look per period at all of our jobs there.

The cost of a look grows with the site and with what changed, never with the number of jobs of others: looks.py tells
what is read. A look-up by marker is made for runs that have just come into view, and for attempts whose absence is in
question: live listing and accounting must both be silent (law 3; picture.py keeps the questions).

Looks come once a period; sooner, and not often, where something is waited for; and later where the hour's calls run
short. Whoever submits or cancels goes through here, too: only to the cluster and as the user that were proven last.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace

from passerelle.batch import Batch
from passerelle.current import Seen
from passerelle.endings import Endings
from passerelle.errors import Deferred, PasserelleError, Rejected, Unavailable
from passerelle.gate import WAITING, Gate, kind_of, waiting
from passerelle.gateways.base import Gateway, Identity, Probe
from passerelle.gateways.courtesy import LONGEST_PATIENCE, Courtesy
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.haste import Haste, gather
from passerelle.looks import Looks
from passerelle.lookups import LookUps
from passerelle.marker import Run
from passerelle.picture import Picture
from passerelle.refused import Refused
from passerelle.reports import Reports, RunDirectory
from passerelle.setbacks import Setbacks
from passerelle.slurm import RemoteJob, Stage
from passerelle.strays import Stray
from passerelle.views import Inquiry, Question, View

log = logging.getLogger("passerelle.watch")

SPREAD = (1.0, 1.1)
"""Of a period: many Sites of one machine do not knock together, and none knocks sooner than its least period."""


class SiteWatch:
    """Looks at one site. `on_change` is told of every run whose picture changed; it must not block or raise.
    `renew` tells what is shown there, and `names_nobody` of a run that no TrainingJob is of it.
    """

    def __init__(  # noqa: PLR0913 -- all that it stands between, by name
        self,
        name: str,
        gateway: Gateway,
        *,
        period: float,
        progress_period: float,
        renew: Callable[[], Awaitable[object]],
        run_directory: RunDirectory,
        on_change: Callable[[Run], None],
        on_site: Callable[[], None],
        courtesy: Courtesy | None = None,
        names_nobody: Callable[[Run], bool] = lambda _: False,
    ) -> None:
        self.name = name
        self.gateway = gateway
        self.period = period
        self.progress_period = progress_period
        self.probe: Probe | None = None
        self.trouble: PasserelleError | None = waiting()
        self.looked_at: float | None = None
        self._answered = self._now()
        self._renew = renew
        self._on_change = on_change
        self._on_site = on_site
        self._picture = Picture()
        self._run_directory = run_directory
        self._names_nobody = names_nobody
        self._reports = Reports(name, run_directory, self._now)
        self.courtesy = courtesy or Courtesy(self._now, calls_per_hour=sys.maxsize)
        self._looks = Looks(
            lambda: self.gateway,
            self._picture,
            self._reports,
            courtesy=self.courtesy,
            on_change=on_change,
            is_here=lambda run: run_directory(run, 1) is not None,
            now=self._now,
        )
        self._look_ups = LookUps(
            name,
            lambda: self.gateway,
            self._picture,
            self._looks,
            courtesy=self.courtesy,
            on_change=on_change,
            now=self._now,
        )
        self._haste = Haste(self._now)
        self._wake = asyncio.Event()
        self._setbacks = Setbacks(self._now)
        self._refused = Refused(self._now)
        self._gate = Gate(lambda: self._identity, self._shut_out)
        self._endings = Endings(
            lambda: self.gateway, self._picture, self._gate, courtesy=self.courtesy, run_directory=run_directory
        )
        self._looking = asyncio.Lock()
        self._next_listing = 0.0
        self._stale = False  # something has just been done, and the listing is to tell of it

    # What the reconciler asks and tells

    def seen(self, run: Run, fresh: Iterable[int] = ()) -> Seen:
        """The picture of one run, for `decide`."""
        return self._picture.seen(run, fresh, self._identity)

    def look_up(self, run: Run, inquiry: Inquiry, *, age: float | None = None) -> None:
        """Ask for a run's jobs soon, none of which is older than `age`, in seconds. Where the inquiry is thorough the
        live listing is read, too: accounting lags behind it, by 3.7 s on 22.05.
        """
        since = None if age is None else self._now() - age
        self._picture.ask(run, replace(inquiry, since=since))
        self._wake.set()

    def acting(self, identity: Identity) -> AbstractContextManager[None]:
        """An act in hand, towards this cluster and as this user. Raises Unavailable where others answer."""
        return self._gate.passing(identity)

    async def submit(self, run: Run, attempt: int, batch: Batch, identity: Identity) -> str:
        """Submit to the cluster and as the user of the intent, or not at all. Errors are the gateway's."""
        with self.acting(identity):
            try:
                job_id = await self.gateway.submit(batch)
            except Deferred:
                raise  # the site is spared a submit, and answers all the same
            except BaseException as error:
                self._picture.sent(run, self._now())
                if isinstance(error, Unavailable) and not error.sent:
                    self._fail(error)  # the others need not try in turn
                    self.nudge()
                else:
                    question = Question(refused=isinstance(error, Rejected))
                    self._picture.views.setdefault(run, View()).questions[attempt] = question
                    self._look_ups.copies.sent(batch.options.name)
                raise
            self._picture.sent(run, self._now())
            return job_id

    async def cancel(self, run: Run, attempt: int, job: RemoteJob, *, surplus: bool = False) -> bool:
        """End this job, after reading that the id is still its own: ids start again where a site lost its state. A
        `surplus` one only while it waits: since it was last looked at it may have begun, and taken the claim. False
        where it has.
        """
        news = await self._endings.cancel(run, attempt, job, surplus=surplus)
        for changed in await self._looks.take_in([news] if news is not None else []):
            self._on_change(changed)
        self._stale = True
        self.nudge()
        return news is None or news.stage is Stage.ENDED

    async def ask_to_stop(self, job: RemoteJob) -> bool:
        """Have this job save and stop, after reading that the id is still its own. False where nobody can ask it."""
        return await self._endings.ask_to_stop(job)

    def submitted(self, run: Run, attempt: int, job: RemoteJob) -> None:
        """Take in a job that has just been accepted; its true record comes with the next look."""
        view = self._picture.views.setdefault(run, View(complete=True))
        view.highest = max(view.highest, attempt)
        view.questions.pop(attempt, None)
        view.jobs[job.job_id] = (attempt, job)
        self._look_ups.copies.sent(job.name)

    def waits(self, run: Run) -> bool:
        """Whether one job of this run waits, and nothing else is known of it."""
        return self._picture.waits(run)

    def forget(self, run: Run) -> None:
        """Nothing more is wanted of this run."""
        self._picture.forget(run)
        self._reports.forget(run)

    def ended(self, run: Run) -> None:
        """All of this run has its end on record. It is forgotten, unless it is looked up: there may be a later job."""
        if run not in self._picture.asked:
            self.forget(run)

    def nudge(self) -> None:
        """Look soon."""
        self._wake.set()

    async def shut(self) -> None:
        """Within a look, before its user changes: nobody acts until the look has proven who answers."""
        self.probe, self.trouble = None, waiting()
        self._next_listing = 0.0
        await self._gate.empty()

    async def move(self, gateway: Gateway) -> None:
        """Another door. Neither a look nor an act is in hand meanwhile: what the one says is never the other's."""
        async with self._looking:
            await self.shut()
            self._refused.forget()
            former, self.gateway = self.gateway, gateway
            await former.close()
        self.nudge()

    def live(self) -> list[RemoteJob]:
        """The jobs of ours that have not ended, as they were last seen."""
        return [job for _, _, job in self._picture.known().values()]

    def strays(self) -> list[Stray]:
        """The live jobs of ours of which no TrainingJob is here, as of the last full listing, in the order of ids."""
        return [each for each in self._look_ups.strays.found(self._identity) if self._names_nobody(each.run)]

    @property
    def silent(self) -> dict[str, PasserelleError]:
        """Why one side of the site can't be asked while the rest answers, by the condition that says so."""
        return self._look_ups.silent

    @property
    def live_jobs(self) -> int:
        """Jobs of ours that have not ended."""
        jobs = (job for view in self._picture.views.values() for _, job in view.jobs.values())
        return sum(job.stage is not Stage.ENDED for job in jobs)

    @property
    def reporting_seconds(self) -> float:
        """How often a running job is asked for its progress by now: the hour's calls may have it wait its turn."""
        return self.progress_period * self.courtesy.progress_stretch

    @property
    def looked_for(self) -> int:
        """Runs whose jobs are looked for: the picture is not whole before there are none."""
        return len(self._picture.asked)

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
            with made_for(Purpose.LOOK):
                await self._look()

    async def _list(self) -> None:
        """What is known of is told before look-ups begin: they may take long, or fail."""
        await self._looks.known(self.period, self.progress_period)
        await self._look_ups.followed()

    async def _look(self) -> None:
        before = (kind_of(self.trouble), self.probe, self.silent.keys())
        changed: set[Run] = set()
        healed = False
        try:
            with self._refused.showing(await self._renew()):
                probe = await self.gateway.probe()
                self._picture.meet(probe.identity)
                self.probe = probe
                changed = await self._ask(probe)
        except PasserelleError as error:
            if self.trouble is None or self.trouble.reason != error.reason:
                extra = {"site": self.name, "reason": error.reason, "error": str(error)}
                log.warning("site can't be asked", extra=extra)
            self._fail(error)
        else:
            if self.trouble is not None:
                who = {"cluster": probe.identity.cluster, "user": probe.identity.user, "version": probe.version}
                log.info("site answers", extra={"site": self.name, **who})
            self._setbacks.answered()
            healed = self.trouble is not None  # of an act, maybe, since this look began: passes were told of it
            self.trouble = None
            self.looked_at, self._answered = time.time(), self._now()
        if healed or (kind_of(self.trouble), self.probe, self.silent.keys()) != before:
            self._on_site()
            changed = set(self._picture.views)
        for run in changed:
            self._on_change(run)

    async def _ask(self, probe: Probe) -> set[Run]:
        """All that a look asks. Between those that come early it merely reads on, where it is behind."""
        now, behind = self._now(), self._behind
        early = now < self._next_listing
        asks = not (early and behind and self._haste.wait(self.period) > 0)
        if early and asks:
            self._haste.take(self.period)
        if not early or (self._stale and asks and not probe.everybody):
            self._stale = False
            await self._list()
            apart = self._looks.apart(self.period, probe)
            self._next_listing = now + apart * random.uniform(*SPREAD)  # noqa: S311 -- jitter, no secret
        elif behind:
            await self._looks.go_on(self.period)
        if not asks and not self._look_ups.behind:
            return set()
        changed = await self._look_ups.asked(self.period)
        changed |= await self._look_ups.surveyed()
        self._look_ups.ask_for_forgotten(lambda each: self._run_directory(each.run, each.attempt) is not None)
        return changed

    @property
    def _identity(self) -> Identity | None:
        return self.probe.identity if self.probe is not None and self.trouble is None else None

    def _fail(self, error: PasserelleError) -> None:
        self.trouble = self._setbacks.failed(error, self.trouble)
        self._next_listing = 0.0

    def _shut_out(self) -> None:
        """An act was told that the credential counts no more. So would all others be, and an account may be locked for
        it: none comes before a look was told otherwise, which shows what was refused ever later.
        """
        if self.trouble is None:
            self.trouble, self._next_listing = waiting(), 0.0
        self.nudge()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _pause(self) -> None:
        """Until the next look is due, or was asked for. The clock wakes as everybody else does: wait_for of Python 3.11
        may swallow the cancellation that lets a deleted Site go.
        """
        loop = asyncio.get_running_loop()
        deadline = self._now() + self._wait()
        while (now := self._now()) < (deadline := max(deadline, now + self._patient())):
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
            wait = max(self._setbacks.backoff(self.period), min(wished or 0.0, LONGEST_PATIENCE))
            return max(wait, self._spared(), self.courtesy.look_wait(self.period))
        listing = max(self._next_listing - self._now(), 0.0)
        spared = self._spared()
        self.courtesy.look_stretch = max(spared / self.period, 1.0) if self.period else 1.0
        if spared > listing:
            self.courtesy.slow(Purpose.LOOK)
        listing = max(listing, spared, self._patient())
        if self._behind:
            return min(listing, max(gather(self.period), spared, self._patient()))
        return min(listing, self._soon()) if self._picture.asked else listing

    def _soon(self) -> float:
        """Seconds until a look that is asked for may come."""
        least = max(gather(self.period), self._haste.wait(self.period), self._spared(), self._patient())
        if not self._picture.asked:
            return least
        return max(self._look_ups.due(), least)

    @property
    def _behind(self) -> bool:
        """Whether records wait for a look that has time for them: it comes soon, and costs little else."""
        return self._looks.behind or self._look_ups.behind

    def _spared(self) -> float:
        """Seconds for which the hour's calls leave none for a look."""
        return self.courtesy.budget.wait(Purpose.LOOK)

    def _patient(self) -> float:
        """Seconds that the site asked us to wait, where that is no longer than a period: a longer silence is told."""
        return self.courtesy.look_wait(self.period) if self.courtesy.patience_left <= self.period else 0.0

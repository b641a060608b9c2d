"""One site, as one identity: a single batched look per period at all of our jobs there.

The cost of a look grows with the site and with what changed, never with the number of jobs of others: the light
listing is asked for our own ids, full records are read for what changed and, once a progress period, for what runs. A
look-up by marker is made for runs that have just come into view, and for attempts whose absence is in question.
Absence is believed only when live listing and accounting both say no, at least `settle_seconds` after the first good
live answer that followed the question, with a credential that the same cycle has proven (law 3).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from passerelle.decide import Seen
from passerelle.errors import PasserelleError, Unavailable
from passerelle.gateways.base import Accounting, Gateway, Probe
from passerelle.marker import Run, parse
from passerelle.slurm import NO_REASON, JobState, RemoteJob, Stage

log = logging.getLogger("passerelle.watch")

GATHER_SECONDS = 0.2
"""How long look-ups gather before they are asked together: a burst of new TrainingJobs costs a few calls, not one
each.
"""

LOOK_AHEAD = 2
"""Attempts beyond the highest known one that a look-up asks for; it goes on while it finds more."""

LONGEST_BACKOFF_SECONDS = 60.0

QUEUED_PER_LOOK = 4
"""Full records, some 8 KiB each, that a look spends on why jobs wait: a bound that does not grow with their number."""


@dataclass(slots=True)
class _Question:
    """An attempt whose job was not found. `answered_at`: the first good live answer since the question was put."""

    answered_at: float | None = None
    absent: bool = False


@dataclass(slots=True)
class _View:
    """What is known of one run."""

    jobs: dict[int, tuple[int, RemoteJob]] = field(default_factory=dict)  # job id -> (attempt, record)
    highest: int = 0
    complete: bool = False
    thorough: bool = False
    questions: dict[int, _Question] = field(default_factory=dict)


class SiteWatch:
    """Looks at one site. `on_change` is told of every run whose picture changed; it must not block."""

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        *,
        period: float,
        progress_period: float,
        renew: Callable[[], Awaitable[None]],
        on_change: Callable[[Run], None],
        on_site: Callable[[], None],
    ) -> None:
        self.name = name
        self.gateway = gateway
        self.period = period
        self.progress_period = progress_period
        self.probe: Probe | None = None
        self.looked_at: float | None = None  # when the last look went well, in epoch seconds
        self.trouble: PasserelleError | None = Unavailable(
            "The site has not answered yet.", reason="Waiting", sent=False
        )
        self._renew = renew
        self._on_change = on_change
        self._on_site = on_site
        self._views: dict[Run, _View] = {}
        self._asked: set[Run] = set()
        self._wake = asyncio.Event()
        self._failures = 0
        self._next_progress = 0.0
        self._last_queued = 0

    # What the reconciler asks and tells

    def seen(self, run: Run, fresh: Iterable[int] = ()) -> Seen:
        """The picture of one run, for `decide`."""
        view = self._views.get(run) or _View()
        return Seen(
            jobs=tuple(view.jobs.values()),
            complete=view.complete,
            absent=frozenset(attempt for attempt, question in view.questions.items() if question.absent),
            fresh=frozenset(fresh),
            identity=self.probe.identity if self.probe is not None and self.trouble is None else None,
        )

    def look_up(self, run: Run, *, highest: int, thorough: bool, doubtful: int | None = None) -> None:
        """Ask for a run's jobs by marker soon.

        `thorough`: the run may have a job already, so the live listing is read, too: accounting lags behind it, by
        3.7 s on 22.05. `doubtful` is an attempt whose absence is in question.
        """
        view = self._views.setdefault(run, _View())
        view.highest = max(view.highest, highest)
        view.thorough |= thorough
        if doubtful is not None:
            view.questions.setdefault(doubtful, _Question())
        self._asked.add(run)
        self._wake.set()

    def submitted(self, run: Run, attempt: int, job: RemoteJob) -> None:
        """Take in a job that has just been accepted; its true record comes with the next look."""
        view = self._views.setdefault(run, _View(complete=True))
        view.highest = max(view.highest, attempt)
        view.questions.pop(attempt, None)
        view.jobs[job.job_id] = (attempt, job)

    def doubt(self, run: Run, attempt: int) -> None:
        """A submit's answer is missing: any older belief about this attempt is void."""
        self._views.setdefault(run, _View()).questions[attempt] = _Question()

    def forget(self, run: Run) -> None:
        """Nothing more is wanted of this run."""
        self._views.pop(run, None)
        self._asked.discard(run)

    def nudge(self) -> None:
        """Look soon: something was asked of the site."""
        self._wake.set()

    @property
    def live_jobs(self) -> int:
        """Jobs of ours that have not ended."""
        return sum(job.stage is not Stage.ENDED for view in self._views.values() for _, job in view.jobs.values())

    # The loop

    async def run(self) -> None:
        """Look for ever. Errors of the site are the site's condition; a defect of ours is logged with its trace."""
        while True:
            try:
                await self.look()
            except Exception:  # a site that is never looked at again would be worse than a repeated defect
                log.exception("look failed", extra={"site": self.name})
                self._failures += 1
                self.trouble = Unavailable(
                    "The operator failed to read the site's answer; see its log.", reason="Defect"
                )
                self._on_site()
            await self._pause()

    async def look(self) -> None:
        """One look at the site."""
        before = (self.trouble.reason if self.trouble else None, self.probe)
        try:
            await self._renew()
            self._meet(await self.gateway.probe())
            changed = await self._look_at_known()
            changed |= await self._look_up_asked()
        except PasserelleError as error:
            self._failures += 1
            if before[0] != error.reason:
                log.warning(
                    "site can't be asked", extra={"site": self.name, "reason": error.reason, "error": str(error)}
                )
            self.trouble = error
            changed = set()
        else:
            self._failures = 0
            self.trouble = None
            self.looked_at = time.time()
        after = (self.trouble.reason if self.trouble else None, self.probe)
        if after != before:
            self._on_site()
            changed = set(self._views)
        for run in changed:
            self._on_change(run)

    def _meet(self, probe: Probe) -> None:
        """Another cluster or user answers: what was concluded from the former one's silence is void."""
        if self.probe is not None and probe.identity != self.probe.identity:
            for run, view in self._views.items():
                view.complete = False
                view.questions = {attempt: _Question() for attempt in view.questions}
                self._asked.add(run)
        self.probe = probe

    def _ours(self, job: RemoteJob) -> bool:
        """Whether who answers now can speak of this job."""
        return self.probe is not None and (job.cluster, job.user) == (
            self.probe.identity.cluster,
            self.probe.identity.user,
        )

    async def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = min(self.period * 2 ** min(self._failures, 10), max(self.period, LONGEST_BACKOFF_SECONDS))
        wait = backoff * random.uniform(0.9, 1.0)  # noqa: S311 -- jitter: many operators must not poll in step
        if self.trouble is None and self._asked:
            wait = min(wait, self._next_question())
        deadline = loop.time() + wait
        while (left := deadline - loop.time()) > 0:
            try:
                await asyncio.wait_for(self._wake.wait(), left)
            except TimeoutError:
                return
            self._wake.clear()
            if self.trouble is None:
                deadline = min(deadline, loop.time() + (self._next_question() if self._asked else GATHER_SECONDS))

    def _next_question(self) -> float:
        """Seconds until a look-up can learn something new: soon for a new one, after the settle time for a doubtful
        one.
        """
        now = asyncio.get_running_loop().time()
        wait = self.period
        for run in self._asked:
            view = self._views[run]
            if not view.complete or any(question.answered_at is None for question in view.questions.values()):
                return GATHER_SECONDS
            for question in view.questions.values():
                if not question.absent and question.answered_at is not None:
                    wait = min(wait, question.answered_at + self.gateway.settle_seconds - now)
        return max(wait, GATHER_SECONDS)

    async def _look_at_known(self) -> set[Run]:
        """The light listing for our ids, then full records of what changed or is due to report."""
        now = asyncio.get_running_loop().time()
        known = {
            job_id: (run, attempt, job)
            for run, view in self._views.items()
            for job_id, (attempt, job) in view.jobs.items()
            if job.stage is not Stage.ENDED and self._ours(job)
        }
        if not known:
            return set()
        states = await self.gateway.states(known.keys())
        progress_due = now >= self._next_progress
        if progress_due:
            self._next_progress = now + self.progress_period
        present = {job_id: job for job_id, (_, _, job) in known.items() if job_id in states}
        wanted = [
            job_id for job_id, job in present.items() if _must_read(job, states[job_id], progress_due=progress_due)
        ]
        wanted += self._queued_turn([job for job_id, job in present.items() if job_id not in wanted])
        # An id counts only with its marker: after a site lost its state, ids start again.
        records = (
            [job for job in await self.gateway.get(wanted) if job.name == known[job.job_id][2].name] if wanted else []
        )
        gone = known.keys() - states.keys() | (set(wanted) - {job.job_id for job in records})
        if gone and isinstance(self.gateway, Accounting):
            records += await self.gateway.accounted(job_ids=gone)
        changed = {run for job in records if (run := self._take_in(job)) is not None}
        for job_id in gone - {job.job_id for job in records}:
            run, attempt, job = known[job_id]
            changed.add(run)
            self._lose(run, attempt, job)
        return changed

    def _queued_turn(self, unchanged: list[RemoteJob]) -> list[int]:
        """Waiting jobs whose reason is read again in this look: the light listing does not carry it. Those without a
        reason come first, the rest take turns.
        """
        queued = sorted(job.job_id for job in unchanged if job.stage is Stage.QUEUED)
        if not queued:
            return []
        reasonless = {job.job_id for job in unchanged if job.state_reason in NO_REASON}
        turn = [job_id for job_id in queued if job_id > self._last_queued] + queued
        chosen = sorted(dict.fromkeys(turn), key=lambda job_id: job_id not in reasonless)[:QUEUED_PER_LOOK]
        self._last_queued = max((job_id for job_id in chosen if job_id not in reasonless), default=0)
        return chosen

    async def _look_up_asked(self) -> set[Run]:
        """Runs by marker: accounting first (it filters by name), the full live listing where absence is in question."""
        if not self._asked:
            return set()
        asked = {run for run in self._asked if run in self._views}
        now = asyncio.get_running_loop().time()
        found: list[RemoteJob] = []
        accounting = self.gateway if isinstance(self.gateway, Accounting) else None
        if accounting is not None:
            names = {run: (1, max(self._views[run].highest, 1) + LOOK_AHEAD) for run in asked}
            while names:
                markers = [run.marker(n) for run, (first, last) in names.items() for n in range(first, last)]
                batch = await accounting.accounted(names=markers)
                found += batch
                names = _beyond(names, batch)
        deep = [run for run in asked if self._views[run].questions or self._views[run].thorough]
        if accounting is None or deep:
            # The live listing is read after accounting: a job that appears in between is then seen in one of them.
            found += await self.gateway.find()
        changed = {run for job in found if (run := self._take_in(job, only=asked)) is not None}
        for run in asked:
            view = self._views[run]
            if not view.complete:
                view.complete = True
                changed.add(run)
            if self._settle(view, now):
                changed.add(run)
            if all(question.absent for question in view.questions.values()):
                self._asked.discard(run)
        return changed

    def _settle(self, view: _View, now: float) -> bool:
        """Age the questions that this look left open; True where one is answered now."""
        answered = False
        present = {attempt for attempt, job in view.jobs.values() if not (job.refused or job.duplicate)}
        for attempt in list(view.questions):
            question = view.questions[attempt]
            if attempt in present:
                del view.questions[attempt]
                answered = True
            elif question.answered_at is None:
                question.answered_at = now
            elif not question.absent and now - question.answered_at >= self.gateway.settle_seconds:
                question.absent = answered = True
        return answered

    def _take_in(self, job: RemoteJob, only: set[Run] | None = None) -> Run | None:
        """Keep a record; the run, if its picture changed by it."""
        named = parse(job.name)
        if named is None or named[0] not in (self._views if only is None else only) or not self._ours(job):
            return None
        run, attempt = named
        view = self._views[run]
        before = view.jobs.get(job.job_id)
        if before is not None and before[1].live and not job.live and before[1].submit_time > job.submit_time:
            return None  # accounting's row of an earlier life of a requeued job
        if before is not None and before[1].comment and not job.comment:
            job = replace(job, comment=before[1].comment)  # accounting keeps no comments by default
        view.jobs[job.job_id] = (attempt, job)
        view.highest = max(view.highest, attempt)
        if not (job.refused or job.duplicate):
            view.questions.pop(attempt, None)
        return run if before is None or before[1] != job else None

    def _lose(self, run: Run, attempt: int, job: RemoteJob) -> None:
        """The site knows neither the job nor its end: put its absence in question."""
        view = self._views[run]
        del view.jobs[job.job_id]
        self.look_up(run, highest=attempt, thorough=True, doubtful=attempt)


def _must_read(job: RemoteJob, state: JobState, *, progress_due: bool) -> bool:
    if state != job.state or not job.submit_time:
        return True
    return progress_due and job.stage is Stage.RUNNING


def _beyond(names: dict[Run, tuple[int, int]], found: Sequence[RemoteJob]) -> dict[Run, tuple[int, int]]:
    """The next attempts to ask for, where the highest that was asked for exists."""
    highest: dict[Run, int] = {}
    for job in found:
        named = parse(job.name)
        if named is not None:
            highest[named[0]] = max(highest.get(named[0], 0), named[1])
    return {run: (last, last + 10) for run, (_, last) in names.items() if highest.get(run, 0) >= last - LOOK_AHEAD + 1}

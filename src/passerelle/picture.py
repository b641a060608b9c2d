"""What is known of our runs at one site: their jobs' newest records, and attempts whose absence is in question. Pure.

Absence is believed only when a question stays open for the settle time after its first good answer. A record counts
only under its marker, and only where who answers now may speak of it: after a site lost its state, ids start again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from passerelle.decide import Seen
from passerelle.gateways.base import Identity
from passerelle.marker import Run, parse
from passerelle.progress import newest
from passerelle.slurm import RemoteJob, Stage

LOOK_AHEAD = 2
"""Attempts beyond the highest known one that a look-up asks for; it goes on while it finds more."""

Known = dict[str, tuple[Run, int, RemoteJob]]
"""Jobs by their ids: whose they are, which attempt, the newest record."""


@dataclass(slots=True)
class Question:
    """An attempt whose job was not found. `answered_at`: the first good answer since the question was put."""

    answered_at: float | None = None
    absent: bool = False


@dataclass(slots=True)
class View:
    """What is known of one run.

    `thorough`: it may have a job already, so that the live listing is read, too. `wary`: it has had an intent, which
    its status has lost, so that an empty answer is believed only after the settle time.
    """

    jobs: dict[str, tuple[int, RemoteJob]] = field(default_factory=dict)  # job id -> (attempt, record)
    highest: int = 0
    complete: bool = False
    thorough: bool = False
    wary: bool = False
    answered_at: float | None = None
    questions: dict[int, Question] = field(default_factory=dict)


class Picture:
    """The views of one site's runs. `identity` is who answers now."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.views: dict[Run, View] = {}
        self.asked: set[Run] = set()

    def seen(self, run: Run, fresh: Iterable[int], identity: Identity | None) -> Seen:
        """One run, for `decide`."""
        view = self.views.get(run) or View()
        return Seen(
            jobs=tuple(view.jobs.values()),
            complete=view.complete,
            absent=frozenset(attempt for attempt, question in view.questions.items() if question.absent),
            doubtful=frozenset(attempt for attempt, question in view.questions.items() if not question.absent),
            fresh=frozenset(fresh),
            identity=identity,
        )

    def ask(self, run: Run, *, highest: int, thorough: bool, wary: bool = False, doubtful: int | None = None) -> None:
        """Have a run looked up. `doubtful` is an attempt whose absence is in question."""
        view = self.views.setdefault(run, View())
        view.highest = max(view.highest, highest)
        view.thorough |= thorough
        view.wary |= wary
        if doubtful is not None:
            view.questions.setdefault(doubtful, Question())
        self.asked.add(run)

    def look_anew(self, run: Run) -> None:
        """What was known of a run to be all may no longer be."""
        view = self.views.get(run)
        if view is not None:
            view.complete, view.answered_at = False, None

    def forget(self, run: Run) -> None:
        self.views.pop(run, None)
        self.asked.discard(run)

    def meet(self, identity: Identity) -> None:
        """Another cluster or user answers: what was concluded from the former one's silence is void."""
        if self.identity is not None and identity != self.identity:
            for run, view in self.views.items():
                view.complete, view.answered_at = False, None
                view.questions = {attempt: Question() for attempt in view.questions}
                self.asked.add(run)
        self.identity = identity

    def known(self) -> Known:
        """Jobs that have not ended, of whom who answers now can speak."""
        return {
            job_id: (run, attempt, job)
            for run, view in self.views.items()
            for job_id, (attempt, job) in view.jobs.items()
            if job.stage is not Stage.ENDED and self._ours(job)
        }

    def newly_ended(self, records: Iterable[RemoteJob]) -> list[RemoteJob]:
        """Those of our runs' jobs whose end is news, with what was last heard of them."""
        found = []
        for job in records:
            named = parse(job.name)
            view = self.views.get(named[0]) if named is not None else None
            if view is None or not self._ours(job) or job.stage is not Stage.ENDED:
                continue
            before = view.jobs.get(job.job_id)
            if before is None or before[1].stage is not Stage.ENDED:
                found.append(_with_comment(job, before))
        return found

    def take_in(self, job: RemoteJob) -> Run | None:
        """Keep a record; the run, if its picture changed by it."""
        named = parse(job.name)
        view = self.views.get(named[0]) if named is not None else None
        if named is None or view is None or not self._ours(job):
            return None
        run, attempt = named
        before = view.jobs.get(job.job_id)
        if before is not None and before[1].live and not job.live and before[1].submit_time > job.submit_time:
            return None  # accounting's row of an earlier life of a requeued job
        job = _with_comment(job, before)
        view.jobs[job.job_id] = (attempt, job)
        view.highest = max(view.highest, attempt)
        if not (job.refused or job.duplicate):
            view.questions.pop(attempt, None)
        return run if before is None or before[1] != job else None

    def lose(self, run: Run, attempt: int, job: RemoteJob) -> None:
        """The site knows neither the job nor its end: put its absence in question."""
        view = self.views.get(run)
        if view is not None and view.jobs.pop(job.job_id, None) is not None:
            self.ask(run, highest=attempt, thorough=True, doubtful=attempt)

    def settle(self, runs: Collection[Run], now: float, settle_seconds: float, *, accounted: bool) -> set[Run]:
        """Take a look-up's silence as its answer; the runs for which something is now known.

        Without accounting's word nothing is absent. A live job completes the picture all the same: an attempt is made
        only after the one before it was seen to end, so a live one is the highest.
        """
        known = set()
        for run in runs:
            view = self.views.get(run)
            if view is None:
                continue
            if view.answered_at is None and accounted:
                view.answered_at = now
            live = any(job.live and job.stage is not Stage.ENDED for _, job in view.jobs.values())
            settled = view.answered_at is not None and (
                not view.wary or bool(view.jobs) or now - view.answered_at >= settle_seconds
            )
            if not view.complete and (live or settled):
                view.complete = True
                known.add(run)
            if accounted and _age(view, now, settle_seconds):
                known.add(run)
            if view.complete and all(question.absent for question in view.questions.values()):
                self.asked.discard(run)
        return known

    def due(self, now: float, settle_seconds: float) -> float:
        """In how many seconds a look-up can learn something new; 0 for one that was never made."""
        waits = [0.0 for run in self.asked if _new(self.views.get(run))]
        for run in self.asked:
            view = self.views.get(run) or View()
            moments = [question.answered_at for question in view.questions.values() if not question.absent]
            moments += [view.answered_at] if not view.complete else []
            waits += [moment + settle_seconds - now for moment in moments if moment is not None]
        return max(min(waits, default=settle_seconds), 0.0)

    def names(self, runs: Iterable[Run]) -> dict[Run, tuple[int, int]]:
        """The first round of markers to ask accounting for: run -> (first attempt, first beyond)."""
        return {run: (1, max(self.views[run].highest, 1) + LOOK_AHEAD) for run in runs if run in self.views}

    def _ours(self, job: RemoteJob) -> bool:
        return self.identity == Identity(job.cluster, job.user)


def beyond(names: dict[Run, tuple[int, int]], found: Sequence[RemoteJob]) -> dict[Run, tuple[int, int]]:
    """The next round, where the highest attempts that were asked for exist."""
    highest: dict[Run, int] = {}
    for job in found:
        named = parse(job.name)
        if named is not None:
            highest[named[0]] = max(highest.get(named[0], 0), named[1])
    return {run: (last, last + 10) for run, (_, last) in names.items() if highest.get(run, 0) >= last - LOOK_AHEAD + 1}


def _with_comment(job: RemoteJob, before: tuple[int, RemoteJob] | None) -> RemoteJob:
    """With the comment that it had, where that was told later: accounting keeps none by default, some gateways tell
    none, and where the site takes none any more, the report file goes on.
    """
    if before is None or before[1].comment in ("", job.comment):
        return job
    return replace(job, comment=newest(job.comment, before[1].comment))


def _new(view: View | None) -> bool:
    if view is None:
        return False
    never = not view.complete and view.answered_at is None
    return never or any(question.answered_at is None for question in view.questions.values())


def _age(view: View, now: float, settle_seconds: float) -> bool:
    """Age the questions that a look left open; True where one is answered now."""
    answered = False
    present = {attempt for attempt, job in view.jobs.values() if not (job.refused or job.duplicate)}
    for attempt in list(view.questions):
        question = view.questions[attempt]
        if attempt in present:
            del view.questions[attempt]
            answered = True
        elif question.answered_at is None:
            question.answered_at = now
        elif not question.absent and now - question.answered_at >= settle_seconds:
            question.absent = answered = True
    return answered

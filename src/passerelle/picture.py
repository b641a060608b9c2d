"""What is known of all our runs at one site, and which of them are to be looked up; views.py has each by itself. Pure.

A record counts only under its marker, and only where who answers now may speak of it: after a site lost its state, ids
start again. What accounting alone has as alive stands in the picture as it tells it, until its absence is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from itertools import islice

from passerelle.current import Seen
from passerelle.gateways.base import Identity
from passerelle.last_word import LastWord
from passerelle.marker import ATTEMPT_LIMIT, Run, parse
from passerelle.names import LOOK_AHEAD, NAMES_OF_A_RUN
from passerelle.slurm import RemoteJob, Stage
from passerelle.views import Asked, Inquiry, Question, Remembered, View, doubted, with_what_it_had

Known = dict[str, tuple[Run, int, RemoteJob]]
"""Jobs by their ids: whose they are, which attempt, the newest record."""


class Picture:
    """The views of one site's runs. `identity` is who answers now."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.views: dict[Run, View] = {}
        self.asked: dict[Run, None] = {}  # the longest waiting first

    def seen(self, run: Run, fresh: Iterable[int], identity: Identity | None) -> Seen:
        """One run, for `decide`."""
        view = self.views.get(run) or View()
        return Seen(
            jobs=tuple(view.jobs.values()),
            complete=view.complete,
            quiet=view.quiet,
            absent=frozenset(attempt for attempt, question in view.questions.items() if question.absent),
            lost=frozenset(
                attempt for attempt, question in view.questions.items() if question.absent and question.seen
            ),
            doubtful=frozenset(attempt for attempt, question in view.questions.items() if not question.absent),
            fresh=frozenset(fresh),
            identity=identity,
        )

    def ask(self, run: Run, inquiry: Inquiry) -> None:
        """Have a run looked up."""
        view = self.views.setdefault(run, View())
        if run not in self.asked and not view.complete and view.answered_at is None:
            view.remembered = inquiry.remembered
        view.ask(inquiry)
        self.asked.setdefault(run)

    def turn(self, most: int, ready: Callable[[View], bool] = lambda _: True) -> set[Run]:
        """At most so many of the runs that are to be looked up and are `ready`; of more, each has its turn."""
        there = (run for run in self.asked if run in self.views and ready(self.views[run]))
        chosen = list(islice(there, most))
        for run in chosen:
            self.later(run)
        return set(chosen)

    def later(self, run: Run) -> None:
        """Others that are to be looked up come before this one."""
        if run in self.asked:
            del self.asked[run]
            self.asked[run] = None

    def remembered(self, most: int) -> dict[Run, Remembered]:
        """At most so many of the jobs that the site is to be asked for by their ids."""
        views = ((run, self.views.get(run)) for run in self.asked)
        found = ((run, view.remembered) for run, view in views if view is not None and not view.questions)
        return dict(islice(((run, job) for run, job in found if job is not None), most))

    def sent(self, run: Run, now: float) -> None:
        """A submit has left: there may be a job, or two."""
        view = self.views.setdefault(run, View())
        view.quiet, view.sent_at, view.word = False, now, LastWord()

    def knows(self, job: RemoteJob) -> bool:
        """Whether this job is known as its run's."""
        named = parse(job.name)
        view = self.views.get(named[0]) if named is not None else None
        return view is not None and job.job_id in view.jobs and view.jobs[job.job_id][1].name == job.name

    def waits(self, run: Run) -> bool:
        """Whether all there is of this run is one job, and that waits in the scheduler's queue."""
        view = self.views.get(run)
        jobs = [job for _, job in view.jobs.values()] if view is not None and not view.questions else []
        return len(jobs) == 1 and jobs[0].live and jobs[0].stage is Stage.QUEUED

    def forget(self, run: Run) -> None:
        self.views.pop(run, None)
        self.asked.pop(run, None)

    def meet(self, identity: Identity) -> None:
        """Another cluster or user answers: what was concluded from the former one's silence is void."""
        if self.identity is not None and identity != self.identity:
            for run, view in self.views.items():
                view.complete, view.quiet, view.recalled = False, False, False
                view.answered_at = view.remembered = None
                view.word = LastWord()
                view.questions = {
                    attempt: Question(seen=each.seen, had=each.had) for attempt, each in view.questions.items()
                }
                self.asked.setdefault(run)
        self.identity = identity

    def known(self) -> Known:
        """Jobs that have not ended, of whom who answers now can speak."""
        return {
            job_id: (run, attempt, job)
            for run, view in self.views.items()
            for job_id, (attempt, job) in view.jobs.items()
            if job.stage is not Stage.ENDED and self.ours(job)
        }

    def newly_ended(self, records: Iterable[RemoteJob]) -> list[RemoteJob]:
        """Those of our runs' jobs whose end is news, with what was last heard of them."""
        found = []
        for job in records:
            named = parse(job.name)
            view = self.views.get(named[0]) if named is not None else None
            if view is None or not self.ours(job) or job.stage is not Stage.ENDED:
                continue
            before = view.jobs.get(job.job_id)
            if before is None or before[1].stage is not Stage.ENDED:
                found.append(with_what_it_had(job, before))
        return found

    def take_in(self, job: RemoteJob) -> Run | None:
        """Keep a record; the run, if its picture changed by it."""
        named = parse(job.name)
        view = self.views.get(named[0]) if named is not None else None
        if named is None or view is None or not self.ours(job):
            return None
        run, attempt = named
        if view.recalled and job.stage is Stage.ENDED:
            view.recalled = False  # what its end means depends on the run's other jobs, which were never asked for
            self.ask(run, Inquiry(highest=attempt, thorough=False))
            return None
        before = view.jobs.get(job.job_id)
        open_before = before is not None and (before[1].live or doubted(before[1]))
        if before is not None and open_before and not job.live and before[1].submit_time > job.submit_time:
            return None  # accounting's row of an earlier life of a requeued job
        job = with_what_it_had(job, before)
        view.jobs[job.job_id] = (attempt, job)
        view.highest = max(view.highest, attempt)
        if job.stage is not Stage.ENDED:
            view.quiet, view.word = False, LastWord()
        if view.questions.get(attempt, Question()).is_answered_by(job):
            view.questions.pop(attempt, None)
            view.drop_doubted(attempt)
        return run if before is None or before[1] != job else None

    def doubt(self, row: RemoteJob) -> Run | None:
        """Accounting has a job as alive, and the scheduler does not have it: that may come back, or accounting may not
        have heard of its end, or never will. It stands as accounting tells it, for as long as its absence is in
        question. The run, if its picture changed by it.
        """
        named = parse(row.name)
        view = self.views.get(named[0]) if named is not None else None
        if named is None or view is None or not self.ours(row):
            return None
        run, attempt = named
        question = view.questions.get(attempt)
        if question is not None and question.absent and question.seen:
            return None  # it was believed long enough
        others = (job for number, job in view.jobs.values() if number == attempt and job.job_id != row.job_id)
        if any(not doubted(job) and Question(had=row.job_id).is_answered_by(job) for job in others):
            return None  # a former life, or a surplus one: the attempt has another
        before = view.jobs.get(row.job_id)
        if before is not None and before[1].stage is Stage.ENDED:
            return None
        if before is not None and before[1].submit_time > row.submit_time:
            row = replace(before[1], live=False)  # accounting's row is of an earlier life of a requeued job
        job = with_what_it_had(row, before)
        view.jobs[row.job_id] = (attempt, job)
        view.quiet = False
        self.ask(run, Inquiry(highest=attempt, thorough=True, doubtful=attempt, had=row.job_id))
        return run if before is None or before[1] != job else None

    def reopen(self, job: RemoteJob) -> None:
        """This job lives: its run is looked at again where nobody does any more, since its end was told. What the run
        has beside it is looked up at this job's end.
        """
        named = parse(job.name)
        if named is not None and self.ours(job):
            run, attempt = named
            self.views.setdefault(run, View(highest=attempt, complete=True, recalled=True))

    def turn_away(self, run: Run, job: RemoteJob) -> None:
        """A cancel of this job is sent, as of one too many: should that end it, that is no end of the attempt."""
        view = self.views.get(run)
        if view is not None and job.job_id in view.jobs:
            attempt, known = view.jobs[job.job_id]
            view.jobs[job.job_id] = attempt, replace(known, surplus=True)

    def lose(self, run: Run, attempt: int, job: RemoteJob) -> None:
        """The site knows neither the job nor its end: put its absence in question."""
        view = self.views.get(run)
        if view is not None and view.jobs.pop(job.job_id, None) is not None:
            self.ask(run, Inquiry(highest=attempt, thorough=True, doubtful=attempt, had=job.job_id))

    def settle(self, runs: Collection[Run], asked: Asked, settle_seconds: float, *, accounted: bool) -> set[Run]:
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
                view.answered_at = asked.answered
            live = any(job.live and job.stage is not Stage.ENDED for _, job in view.jobs.values())
            settled = view.answered_at is not None and (
                not view.wary or bool(view.jobs) or asked.began - view.answered_at >= settle_seconds
            )
            if not view.complete and (live or settled):
                view.complete = True
                known.add(run)
            if accounted and view.age(asked, settle_seconds):
                known.add(run)
            if view.complete and not view.hushing and all(question.absent for question in view.questions.values()):
                self.asked.pop(run, None)
        return known

    def due(self, now: float, settle_seconds: float, held: Callable[[View], float] = lambda _: 0.0) -> float:
        """In how many seconds a look-up can learn something new; 0 for one that was never made. `held` tells for how
        many a run's waits for something else.
        """
        waits: list[float] = []
        for run in self.asked:
            view = self.views.get(run) or View()
            open_ones = [question for question in view.questions.values() if not question.absent]
            moments = [(each.answered_at, each.patience(settle_seconds)) for each in open_ones]
            moments += [(view.answered_at, settle_seconds)] if not view.complete else []
            moments += [(view.word.heard(view.sent_at), settle_seconds)] if view.hushing else []
            mine = [moment + patience - now for moment, patience in moments if moment is not None]
            mine += [0.0] if (run in self.views and view.new) else []
            waits += [max(min(mine), held(view))] if mine else []
        return max(min(waits, default=settle_seconds), 0.0)

    def names(self, runs: Iterable[Run]) -> dict[Run, tuple[int, int]]:
        """The first round of markers to ask accounting for: run -> (first attempt, first beyond)."""
        beyond = {run: self.views[run].highest + LOOK_AHEAD for run in runs if run in self.views}
        ends = {run: min(max(end, 1 + LOOK_AHEAD), ATTEMPT_LIMIT + 1) for run, end in beyond.items()}
        return {run: (max(end - NAMES_OF_A_RUN, 1), end) for run, end in ends.items()}

    def ours(self, job: RemoteJob) -> bool:
        """Whether who answers now may speak of it."""
        known = self.identity
        return known is not None and job.user == known.user and job.cluster == known.cluster

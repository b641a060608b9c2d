"""What is known of one run at a site: its jobs' newest records, and attempts whose absence is in question. Pure.

Absence is believed only when a question stays open for the settle time after its first good answer; of a job that was
once seen, by us or by accounting, for LOST_SECONDS at least: a scheduler that starts may list nothing at first, and
accounting may hear of an end minutes later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from passerelle.last_word import LastWord
from passerelle.progress import newest
from passerelle.slurm import RemoteJob, Stage

LOST_SECONDS = 120.0
"""How long, at least, a job that was once seen is gone before it is believed lost."""


class Asked(NamedTuple):
    """When a look-up began and when it was answered, in monotonic seconds. What it tells was true at `began` at the
    earliest: a wait begins with an answer, and is over for what began after it.
    """

    began: float
    answered: float


@dataclass(slots=True)
class Question:
    """An attempt whose job was not found. `seen`: it had a job once; `had` is its id, where known. `refused`: its last
    submit was, so that nothing but another one, which a balancer has made of it, may have a job.
    """

    answered_at: float | None = None  # the first good answer since the question was put
    absent: bool = False
    seen: bool = False
    had: str = ""
    refused: bool = False

    def is_answered_by(self, job: RemoteJob) -> bool:
        """Not by a job that was turned away; nor by another one than it had, which was cancelled as it waited."""
        surplus = job.cancelled_waiting and self.had not in ("", job.job_id)
        return not (job.refused or job.duplicate or surplus)

    def patience(self, settle_seconds: float) -> float:
        """Seconds from the first good answer until absence is believed."""
        return max(settle_seconds, LOST_SECONDS) if self.seen else settle_seconds


@dataclass(frozen=True, slots=True)
class Remembered:
    """The job of a run's open attempt, as its status tells of it. Nothing of this counts before the site says the same.

    `state` is Slurm's, and `reason` why it waited.
    """

    attempt: int
    marker: str
    job_id: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What is asked about a run, and what is known of it where that is asked.

    `thorough`, `wary` and `since`: see View. `doubtful` is an attempt whose absence is in question, `had` the job that
    it had once; `lost` are those whose loss is believed already, until a record tells better. `last`: does a job live?
    """

    highest: int
    thorough: bool
    wary: bool = False
    doubtful: int | None = None
    remembered: Remembered | None = None
    last: bool = False
    had: str | None = None
    lost: Sequence[int] = ()
    since: float | None = None


@dataclass(slots=True)
class View:
    """What is known of one run.

    `thorough`: it may have a job already, so that the live listing is read, too. `wary`: it has had an intent, which
    its status has lost, so that an empty answer is believed only after the settle time. `quiet`: see Seen; `hushing`
    where that is asked for, and `word` what was heard of it. `sent_at`: when a submit of it was answered last, or came
    to nothing. `since`: none of its jobs is older. `remembered` is what the site is asked for before all that.
    `recalled`: the site confirmed it, and was not asked for its other jobs.
    """

    jobs: dict[str, tuple[int, RemoteJob]] = field(default_factory=dict)  # job id -> (attempt, record)
    highest: int = 0
    complete: bool = False
    thorough: bool = False
    wary: bool = False
    quiet: bool = False
    hushing: bool = False
    word: LastWord = field(default_factory=LastWord)
    sent_at: float = float("-inf")
    since: float | None = None
    answered_at: float | None = None
    remembered: Remembered | None = None
    recalled: bool = False
    questions: dict[int, Question] = field(default_factory=dict)

    @property
    def searching(self) -> bool:
        """Whether a job of it may live of which nobody knows the id, and accounting may not have heard."""
        unsure = any(not question.refused for question in self.questions.values())
        return unsure or (self.thorough and not self.complete)

    @property
    def new(self) -> bool:
        """Whether a look-up of it, or of one of its questions, was never answered."""
        never = not self.complete and self.answered_at is None
        return never or any(question.answered_at is None for question in self.questions.values())

    def ask(self, inquiry: Inquiry) -> None:
        """Take in what is asked, beside what is asked already."""
        since = inquiry.since
        self.highest = max(self.highest, inquiry.highest)
        self.thorough |= inquiry.thorough
        self.wary |= inquiry.wary
        self.since = since if since is None or self.since is None else min(since, self.since)
        self.hushing |= inquiry.last and not self.quiet
        for attempt in inquiry.lost:
            self.questions.setdefault(attempt, Question(absent=True, seen=True))
        if inquiry.doubtful is not None:
            put = self.questions.setdefault(inquiry.doubtful, Question())
            put.seen, put.had = put.seen or inquiry.had is not None, inquiry.had or put.had

    def drop_doubted(self, attempt: int) -> None:
        """Nobody but accounting has it as alive, and something else is known of it now."""
        self.jobs = {key: each for key, each in self.jobs.items() if each[0] != attempt or not doubted(each[1])}

    def age(self, asked: Asked, settle_seconds: float) -> bool:
        """Age the questions that a look left open; True where one is answered now."""
        answered = False
        firm = [(attempt, job) for attempt, job in self.jobs.values() if not doubted(job)]
        present = {number for number, job in firm if self.questions.get(number, Question()).is_answered_by(job)}
        for attempt in list(self.questions):
            question = self.questions[attempt]
            if attempt in present:
                del self.questions[attempt]
                answered = True
            elif question.answered_at is None:
                question.answered_at = asked.answered
            elif not question.absent and asked.began - question.answered_at >= question.patience(settle_seconds):
                question.absent = answered = True
                self.drop_doubted(attempt)
        return answered


def doubted(job: RemoteJob) -> bool:
    """Whether accounting alone has it as alive."""
    return not job.live and job.stage is not Stage.ENDED


def with_what_it_had(job: RemoteJob, before: tuple[int, RemoteJob] | None) -> RemoteJob:
    """With the comment that it had, where that was told later: accounting keeps none by default, some gateways tell
    none, and where the site takes none any more, the report file goes on. And with what we did to it.
    """
    if before is not None and before[1].surplus:
        job = replace(job, surplus=True)
    if before is None or before[1].comment in ("", job.comment):
        return job
    return replace(job, comment=newest(job.comment, before[1].comment))

"""What became of a run, by three truths: Slurm's accounting, what began by its own word, and the TrainingJobs. Pure.

What befell a job from outside (Blow) excuses an end that nobody wanted, of that very attempt, and only where the
TrainingJob tells the same of it as accounting.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, TypeVar

Wanted = Literal["ok", "fails", "deleted"]
LIVE = frozenset({"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "RESIZING"})


class What(StrEnum):
    """What may befall a job from outside; Slurm's own words, but for the last two."""

    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    NO_STEP = "FAILED"
    REQUEUED = "REQUEUED"
    LOST = "LOST"
    FOREIGN = "FOREIGN"


_TRIED_AGAIN = frozenset({What.NODE_FAIL, What.PREEMPTED, What.NO_STEP})
_ENDS = {
    What.CANCELLED: ("False", "Cancelled"),
    What.TIMEOUT: ("False", "TimeLimit"),
    What.NODE_FAIL: ("False", "NodeFailure"),
    What.PREEMPTED: ("False", "Preempted"),
    What.NO_STEP: ("False", "SiteFault"),
    What.LOST: ("Unknown", "OutcomeLost"),
}
_RAN_ON = frozenset({"COMPLETED", "TIMEOUT"})
"""Ends that nobody gives to a job that is deleted: its trainer would go on for longer than any run lasts."""
STOPPED_SECONDS = 60.0
"""How long the jobs of a TrainingJob may take to end that is deleted: a poll or two, Slurm's KillWait, its own exit."""
_WANTED = {"ok": ("True", "Completed", "COMPLETED"), "fails": ("False", "Failed", "FAILED")}
"""Succeeded, its reason, and Slurm's word."""


@dataclass(frozen=True, slots=True)
class Job:
    """A row of Slurm's accounting: of one life of a job, which its id names together with its submit time. `over`: it
    has an end. `known`: the scheduler has it still. `ended`: when, 0 where that is not told; times are whole epoch
    seconds. `by`: who cancelled it.
    """

    job_id: str
    name: str
    state: str
    submitted: int = 0
    over: bool = False
    known: bool = True
    ended: int = 0
    by: str = ""

    @property
    def said(self) -> str:
        """Its state, in sacct's words."""
        return f"{self.state} by {self.by}" if self.by else self.state

    @property
    def live(self) -> bool:
        return self.state in LIVE and not self.over


@dataclass(frozen=True, slots=True)
class Blow:
    """What befell a job of this name; LOST: the scheduler forgot it, and accounting had not heard of its end. FOREIGN:
    others submitted it.
    """

    name: str
    job_id: str
    what: What
    submitted: int = 0


_Named = TypeVar("_Named", Job, Blow)


@dataclass(frozen=True, slots=True)
class Told:
    """What a TrainingJob says at the end. `attempts` is the number of its last one."""

    finished: bool
    succeeded: str
    reason: str
    attempts: int
    job_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A TrainingJob that was created, whose run is `run`. `wanted`: how it must end. `most`: of its attempts. `paused`:
    how often it was suspended for a while. `again`: how often a person asked for one attempt more after a failure.
    `deleted_at`: when that was asked for, in epoch seconds, where it is known; `hit`: for how many seconds since then
    the site or the operators may have been unable to act on it.
    """

    name: str
    run: str
    wanted: Wanted
    most: int = 1
    paused: int = 0
    again: int = 0
    deleted_at: float | None = None
    hit: float = 0.0

    def marker(self, attempt: int) -> str:
        return f"{self.run}-{attempt}"


@dataclass(slots=True)
class Verdict:
    """Names of markers and TrainingJobs, each with its sentence. All but `submitted_twice` are defects; what nothing
    explains of that is `submitted_again`, too.
    """

    submitted_twice: list[str] = field(default_factory=list)
    submitted_again: list[str] = field(default_factory=list)
    executed_twice: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong_end: list[str] = field(default_factory=list)
    stopping_seconds: float = 0.0
    """The longest that a job went on after its TrainingJob was deleted."""

    @property
    def defects(self) -> list[str]:
        return [*self.submitted_again, *self.executed_twice, *self.orphans, *self.lost, *self.wrong_end]


@dataclass(frozen=True, slots=True)
class _Run:
    """All that is known of one run, by its markers."""

    rows: Mapping[str, Sequence[Job]]
    began: Mapping[str, Sequence[str]]
    ended: Mapping[str, Sequence[str]]
    blows: Mapping[str, Sequence[Blow]]

    def befell(self, marker: str, whats: Iterable[What]) -> list[Blow]:
        return [blow for blow in self.blows.get(marker, ()) if blow.what in whats]

    def lost(self, row: Job) -> bool:
        """Whether this very life of a job was lost: accounting has it as alive for ever."""
        blows = self.befell(row.name, {What.LOST})
        return row.live and not row.known and any(_of(blow, row) for blow in blows)

    def ours(self, marker: str) -> list[Job]:
        """Its jobs that nobody else submitted."""
        others = {blow.job_id for blow in self.befell(marker, {What.FOREIGN})}
        return [row for row in self.rows.get(marker, ()) if row.job_id not in others]

    def ended_itself(self, row: Job) -> bool:
        """Whether its trainer came to its own end."""
        return row.job_id in {_job_id(word) for word in self.ended.get(row.name, ())}


def check(
    tasks: Sequence[Task],
    jobs: Collection[Job],
    executed: Mapping[str, Sequence[str]],
    told: Mapping[str, Told],
    *,
    blows: Collection[Blow] = (),
    ended: Mapping[str, Sequence[str]] | None = None,
    sent_twice: Collection[str] = (),
) -> Verdict:
    """`executed`: marker -> the jobs whose trainer began, in order, each as its id or, where it was requeued so often
    before, `id+1`; `ended` likewise, of those whose trainer came to its own end. `told`: by name, where it is still.
    `sent_twice`: the markers of which a second job is nobody's fault; nor is it one's that was forgotten.
    """
    verdict = Verdict()
    rows = [job for job in jobs if not (job.state == What.REQUEUED and job.over)]  # a former life
    run = _Run(_by_name(rows), executed, ended or {}, _by_name([*blows, *_no_steps(blows, rows, executed)]))
    ours = {task.run for task in tasks}
    for marker, found in run.rows.items():
        submitted = [row.job_id for row in run.ours(marker)]
        if len(submitted) > 1:
            sentence = f"{marker}: jobs {', '.join(submitted)}"
            verdict.submitted_twice.append(sentence)
            if marker not in sent_twice and not run.befell(marker, {What.LOST}):
                verdict.submitted_again.append(f"{sentence}, and nothing sent its submit twice")
        if run_of(marker) not in ours:
            verdict.orphans.append(f"{marker} is of no TrainingJob: job {found[0].job_id}, {found[0].said}")
    for marker, words in executed.items():
        if not _once(words, len(run.befell(marker, {What.REQUEUED}))):
            verdict.executed_twice.append(f"{marker}: its trainer began in jobs {', '.join(words)}")
    for task in tasks:
        live = [row for row in _rows_of(task, run) if row.live and not run.lost(row)]
        verdict.orphans += [f"{row.name} of {task.name} is {row.said}, at the end" for row in live]
        _judge(task, run, told.get(task.name), verdict)
    return verdict


def _no_steps(blows: Iterable[Blow], rows: Iterable[Job], executed: Mapping[str, Sequence[str]]) -> list[Blow]:
    """Jobs whose time was over before their script came to srun: Slurm makes no step then, and the script fails."""
    failed = {(row.name, row.job_id) for row in rows if row.state == What.NO_STEP}
    began = {(marker, _job_id(word)) for marker, words in executed.items() for word in words}
    over = [blow for blow in blows if blow.what is What.TIMEOUT and (blow.name, blow.job_id) in failed - began]
    return [replace(blow, what=What.NO_STEP) for blow in over]


def _judge(task: Task, run: _Run, told: Told | None, verdict: Verdict) -> None:
    if task.wanted == "deleted":
        if told is not None:
            verdict.lost.append(f"{task.name} was deleted, and is there still")
        mine = [row for row in _rows_of(task, run) if not _struck(run, row)]
        stops = [row.ended - task.deleted_at for row in mine if row.ended and task.deleted_at is not None]
        verdict.stopping_seconds = max([verdict.stopping_seconds, *stops])
        ran_on = [row for row in mine if _ran_on(task, run, row)]
        verdict.orphans += [
            f"{task.name} was deleted, and its job {row.job_id} is {_late(task, row)}" for row in ran_on
        ]
        numbers = [_number(marker) for marker in (*run.rows, *run.began) if run_of(marker) == task.run]
        verdict.wrong_end += _attempts(task, run, max(numbers, default=0))
        return
    if told is None:
        verdict.lost.append(f"{task.name} is gone")
        return
    if not told.finished:
        verdict.lost.append(f"{task.name} has not come to its end: {told.reason}")
        return
    last = task.marker(told.attempts)
    if not _rows_of(task, run) and not run.befell(last, {What.LOST}):
        verdict.lost.append(f"{task.name} says {told.reason}, and Slurm has no job of it")
        return
    verdict.wrong_end += _attempts(task, run, told.attempts)
    succeeded, reason, state = _WANTED[task.wanted]
    if (told.succeeded, told.reason) == (succeeded, reason):
        verdict.wrong_end += _as_wanted(task, run, told, state)
        return
    excuses = [blow for blow in run.befell(last, _ENDS) if _ENDS[blow.what] == (told.succeeded, told.reason)]
    if not excuses:
        told_so = f"{task.name} says Succeeded={told.succeeded} ({told.reason}), and it {task.wanted}"
        verdict.wrong_end.append(f"{told_so}; accounting says {_states(run.rows.get(last, ()))}")
        return
    verdict.wrong_end += _excused(task, run, told, excuses)


def _attempts(task: Task, run: _Run, last: int) -> list[str]:
    """Another attempt is made only after an end that is nobody's doing, or where one was suspended, and as often as is
    asked for; never after a success, nor before the end; and each that began is told of. `last`: as it tells.
    """
    more = sorted(marker for marker in run.began if run_of(marker) == task.run and _number(marker) > last)
    if more:
        return [f"{task.name} tells of {last} attempts, and {', '.join(more)} began"]
    most = task.most + task.paused + task.again
    if last > most:
        allowed = "where one was asked for" if most == 1 else f"where {most} were allowed"
        return [f"{task.name} has {last} attempts, {allowed}"]
    unexplained, succeeded, early = list[str](), list[str](), list[str]()
    for number in range(1, last):
        marker = task.marker(number)
        ends = {blow.what for blow in run.befell(marker, _TRIED_AGAIN)} | ({"CANCELLED"} if task.paused else set())
        rows = run.rows.get(marker, ())
        over = any(row.state in ends or (task.paused and run.lost(row)) for row in rows)
        if not over and not (task.paused and not rows):
            sentence = f"{task.name} has {last} attempts, and nothing befell number {number}"
            (succeeded if _succeeded(run, marker) else unexplained).append(sentence)
        early += _too_early(task, run, number)
    return succeeded + (unexplained if len(unexplained) > task.again else []) + early


def _succeeded(run: _Run, marker: str) -> bool:
    """Whether an attempt did, and that was not forgotten: nobody can ask for another one then."""
    forgotten = {blow.job_id for blow in run.befell(marker, {What.LOST})}
    return any(row.state == "COMPLETED" and row.job_id not in forgotten for row in run.ours(marker))


def _too_early(task: Task, run: _Run, number: int) -> list[str]:
    """Attempt n + 1 is submitted only after n has ended: the job that was it, where one began; else the first of those
    that came to nothing. Both times are slurmctld's, in whole seconds. What came later under n's marker ends nothing.
    """
    following = [row.submitted for row in run.ours(task.marker(number + 1)) if row.submitted]
    if not following:
        return []
    first, marker = min(following), task.marker(number)
    lost = {blow.job_id for blow in run.befell(marker, {What.LOST})}
    rows = [row for row in run.ours(marker) if row.ended and row.submitted <= first and row.job_id not in lost]
    began = {_job_id(word) for word in run.began.get(marker, ())}
    ends = [row.ended for row in rows if row.job_id in began] or sorted(row.ended for row in rows)[:1]
    if max(ends, default=0) <= first:
        return []
    return [f"{task.name}: attempt {number + 1} was submitted {max(ends) - first} s before number {number} had ended"]


def _as_wanted(task: Task, run: _Run, told: Told, state: str) -> list[str]:
    """It says what its trainer makes: then that must have begun, in the job that it tells of, and ended there."""
    last = task.marker(told.attempts)
    ran = {_job_id(word) for word in run.began.get(last, ())}
    if not ran:
        return [f"{task.name} says {told.reason}, and its trainer never began"]
    job_id = told.job_ids[-1] if told.job_ids else min(ran)  # where an id is the gateway's, one has begun all the same
    if job_id not in ran:
        return [f"{task.name} tells of job {job_id}, and its trainer began in {sorted(ran)}"]
    rows = [row for row in run.rows.get(last, ()) if row.job_id == job_id]
    if any(row.state == state for row in rows):
        return []
    lost = any(blow.job_id == job_id for blow in run.befell(last, {What.LOST}))
    if lost and job_id in {_job_id(word) for word in run.ended.get(last, ())}:
        return []  # it was seen to end before that was forgotten
    return [f"{task.name} says {told.reason}, and accounting says {_states(rows)} of job {job_id}"]


def _excused(task: Task, run: _Run, told: Told, excuses: Sequence[Blow]) -> list[str]:
    """It says what befell it: then accounting must say so, too, and nothing more be left to try."""
    last, what = task.marker(told.attempts), excuses[0].what
    if what in _TRIED_AGAIN and told.attempts < task.most:
        return [f"{task.name} says {told.reason} after attempt {told.attempts}, and may have {task.most}"]
    rows = run.rows.get(last, ())
    if what is What.LOST:
        ended = [row for row in rows for blow in excuses if _of(blow, row) and not row.live]
        return [f"{task.name} says {told.reason}, and accounting says {_states(ended)}"] if ended else []
    mine = [row for row in rows if not told.job_ids or row.job_id == told.job_ids[-1]]
    if any(row.state == what and any(blow.job_id == row.job_id for blow in excuses) for row in mine):
        return []
    return [f"{task.name} says {told.reason}, and accounting says {_states(mine)}"]


def _rows_of(task: Task, run: _Run) -> list[Job]:
    return [row for marker, found in run.rows.items() if run_of(marker) == task.run for row in found]


def _ran_on(task: Task, run: _Run, row: Job) -> bool:
    """Whether a job went on though its TrainingJob was deleted. Where no times are known, its end alone must tell."""
    if task.deleted_at is not None and row.ended:
        return row.ended > task.deleted_at + STOPPED_SECONDS + task.hit
    return row.state in _RAN_ON or (row.state == "FAILED" and run.ended_itself(row))


def _late(task: Task, row: Job) -> str:
    known = task.deleted_at is not None and row.ended
    return f"{row.said}, {row.ended - (task.deleted_at or 0):.0f} s later" if known else row.said


def _struck(run: _Run, row: Job) -> bool:
    return any(blow.job_id == row.job_id and blow.what == row.state for blow in run.blows.get(row.name, ()))


def _once(words: Sequence[str], requeues: int) -> bool:
    """Whether a trainer began in one job alone, and again only where that was requeued."""
    restarts = [_restarts(word) for word in words]
    rising = all(earlier < later for earlier, later in itertools.pairwise(restarts))
    return len(words) <= 1 or (len({_job_id(word) for word in words}) == 1 and rising and restarts[-1] <= requeues)


def _by_name(found: Iterable[_Named]) -> dict[str, list[_Named]]:
    named: dict[str, list[_Named]] = {}
    for each in found:
        named.setdefault(each.name, []).append(each)
    return named


def _of(blow: Blow, row: Job) -> bool:
    return (blow.name, blow.job_id, blow.submitted) == (row.name, row.job_id, row.submitted)


def _states(rows: Sequence[Job]) -> str:
    return ", ".join(row.said for row in rows) or "nothing"


def _job_id(word: str) -> str:
    return word.partition("+")[0]


def _restarts(word: str) -> int:
    found = re.search(r"\+([0-9]+)$", word)
    return int(found[1]) if found else 0


def run_of(marker: str) -> str:
    """The key of the run whose attempt a job of this name is."""
    return marker.rpartition("-")[0]


def _number(marker: str) -> int:
    return int(marker.rpartition("-")[2])

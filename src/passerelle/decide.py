"""Wanted x seen -> Action. Pure: one table, read from the top, the first row that fits decides.

The laws behind the rows:

- The intent (attempt, cluster, user) stands in the TrainingJob before the POST; an intent whose answer never came ends
  in adoption, or in a second submit of the *same* attempt once its absence is believed.
- Attempt n + 1 is issued only after n was seen terminal, and exceeds every attempt ever seen.
- An answer from another cluster or user is no evidence.
- A job once seen and then gone everywhere is lost, not absent: nothing is retried by itself.
- A run with checkpoints goes on after its time limit while each attempt comes further than all before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from passerelle.gateways.base import Identity
from passerelle.slurm import ENDING_BY_REASON, STOPPED, Blame, RemoteJob, Stage, id_order

RETRIED = frozenset({Blame.INFRASTRUCTURE, Blame.PREEMPTION})
"""Ends that are nobody's doing: the same attempt made again may succeed."""

CONTINUED = "Continued"
"""Reason of the intent that follows a time limit."""
ABANDONED = "Abandoned"
"""Reason of a release that knows nothing of the run's jobs: they may still wait or run."""
NO_PROGRESS = "NoProgress"
"""Reason of the rest that ends a chain of attempts which come no further."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An attempt as the TrainingJob's status records it. `final`: its end, `""` while it is open."""

    number: int
    identity: Identity
    job_id: str | None = None
    submit_time: int | None = None
    restart_count: int = 0
    final: str = ""
    suspended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the TrainingJob asks for. `hold` is a reason not to submit now; it never ends what runs. `uncounted` is how
    many earlier attempts were suspended. `chain`: a time limit need not end the run. `reached`: the step to which each
    attempt came, where it told one.
    """

    deleting: bool = False
    held_finalizer: bool = False
    abandon: bool = False
    suspend: bool = False
    plannable: bool = True
    hold: bool = False
    retry_requested: bool = False
    max_attempts: int = 1
    uncounted: int = 0
    chain: bool = False
    reached: Mapping[int, int] = field(default_factory=dict)
    recorded: tuple[Recorded, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the site showed.

    `complete`: every attempt of this run that the site knows is in `jobs` (a look-up by marker has succeeded).
    `absent`: attempts whose absence is believed (law 3); `doubtful`: those whose absence is still in question. `fresh`:
    an intent that this process has just written and never sent. `identity` is who answers now, None before the first
    answer.
    """

    jobs: tuple[tuple[int, RemoteJob], ...] = ()
    complete: bool = False
    absent: frozenset[int] = frozenset()
    doubtful: frozenset[int] = frozenset()
    fresh: frozenset[int] = frozenset()
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """What to do in this pass; `reason` is one CamelCase word for the log."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rest(Action):
    """Nothing to do until something changes."""


@dataclass(frozen=True, slots=True)
class LookUp(Action):
    """Ask the site for this run's jobs by marker. `attempt` is an intent whose absence is in question, if one is."""

    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Intend(Action):
    """Write the intent of this attempt into the status."""

    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Submit(Action):
    """POST this attempt, whose intent stands."""

    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Cancel(Action):
    """End this job."""

    job: RemoteJob | None = None


@dataclass(frozen=True, slots=True)
class Release(Action):
    """Let the TrainingJob go: remove the finalizer."""


@dataclass(frozen=True, slots=True)
class Current:
    """The attempt that counts: the highest that is recorded or seen."""

    number: int
    job: RemoteJob | None
    recorded: Recorded | None
    duplicates: tuple[RemoteJob, ...] = field(default=())


def current_attempt(wanted: Wanted, seen: Seen) -> Current | None:
    """The highest attempt, its job, and the surplus jobs under its marker."""
    numbers = [record.number for record in wanted.recorded] + [number for number, _ in seen.jobs]
    if not numbers:
        return None
    number = max(numbers)
    return _attempt(number, wanted, seen)


def earlier_job(number: int, wanted: Wanted, seen: Seen) -> RemoteJob | None:
    """The job of an attempt that others followed."""
    return _attempt(number, wanted, seen).job


def _attempt(number: int, wanted: Wanted, seen: Seen) -> Current:
    record = next((record for record in wanted.recorded if record.number == number), None)
    jobs = [job for attempt, job in seen.jobs if attempt == number and not _turned_away(job, record)]
    chosen = _choose(jobs, record)
    return Current(number, chosen, record, tuple(job for job in jobs if job is not chosen))


def _turned_away(job: RemoteJob, record: Recorded | None) -> bool:
    """Whether a job is no life of the attempt: of another cluster or user, refused at its submit, or by the fence; or
    another one than that whose end is written down. An accepted job may be refused later, when nodes change: then that
    is its end.
    """
    if record is not None and Identity(job.cluster, job.user) != record.identity:
        return True
    if record is not None and record.final and not _is_recorded(job, record):
        return True
    accepted = record is not None and record.job_id == job.job_id
    return job.duplicate or (job.refused and not accepted)


def _is_recorded(job: RemoteJob, record: Recorded) -> bool:
    """Whether it is the recorded job, perhaps in a later life. Its id counts only together with its submit time."""
    if job.job_id != record.job_id:
        return False
    return job.submit_time == record.submit_time or job.restart_count > record.restart_count


def _choose(jobs: list[RemoteJob], record: Recorded | None) -> RemoteJob | None:
    """Of several jobs under one marker the attempt is the one that started first: it took the run directory's claim.

    A recorded job that is still waiting holds no claim yet, so it yields to one that has started.
    """
    if not jobs:
        return None

    def rank(job: RemoteJob) -> tuple[bool, float, bool, int, tuple[int, str]]:
        queued = job.stage is Stage.QUEUED and job.restart_count == 0
        never_ran = job.start_time is None or (job.state.base == "CANCELLED" and not job.node_count)
        recorded = record is not None and record.job_id == job.job_id
        started = float("inf") if queued or job.start_time is None else job.start_time
        return (queued or never_ran, started, not recorded, job.submit_time, id_order(job.job_id))

    return min(jobs, key=rank)


def decide(wanted: Wanted, seen: Seen) -> Action:
    """The one next step of a TrainingJob."""
    if wanted.deleting:
        return _decide_deletion(wanted, seen)
    after = _closed(wanted)
    if after is not None:
        return after
    strange = _strange(wanted, seen)
    if strange is not None:
        return strange
    if not seen.complete:
        return LookUp("NotYetLooked")
    current = current_attempt(wanted, seen)
    unrecorded = _unrecorded(seen, current)
    if unrecorded is not None:
        return unrecorded
    if current is not None:
        surplus = _surplus(current)
        if surplus is not None:
            return Cancel("Duplicate", surplus)
    if current is None:
        return _begin(wanted, 1)
    if current.job is None:
        return _decide_without_job(wanted, seen, current)
    return _decide_with_job(wanted, current, current.job)


def _decide_deletion(wanted: Wanted, seen: Seen) -> Action:
    if not wanted.held_finalizer:
        return Rest("NothingHeld")
    if wanted.abandon:
        return Release(ABANDONED)
    if _closed(wanted) is not None:
        return Release("Ended")
    strange = _strange(wanted, seen)
    if strange is not None:
        return strange
    if not seen.complete:
        return LookUp("NotYetLooked")
    return _end_and_release(wanted, seen)


def _end_and_release(wanted: Wanted, seen: Seen) -> Action:
    """Cancel whatever lives, of every attempt; release when nothing can come to light any more."""
    for _, job in seen.jobs:
        if job.stage in (Stage.QUEUED, Stage.RUNNING):
            return Cancel("Deleted", job)
    if any(job.stage is Stage.ENDING for _, job in seen.jobs):
        return Rest("Ending")
    current = current_attempt(wanted, seen)
    unrecorded = _unrecorded(seen, current)
    if unrecorded is not None:
        return unrecorded
    if current is None or current.job is not None:
        return Release("Ended")
    if current.recorded is None or current.recorded.final:
        return Release("Ended")
    if current.number in seen.absent or current.number in seen.fresh:
        return Release("NeverSubmitted")
    return LookUp("AnswerMissing", current.number)


def _closed(wanted: Wanted) -> Rest | None:
    """How a run rests whose newest attempt has its end on record: while nothing more is wanted, the site isn't asked.
    Attempts are recorded in rising order, and each had ended before the next one was made.
    """
    if not wanted.recorded or not wanted.recorded[-1].final:
        return None
    after = _decide_after_end(wanted, wanted.recorded[-1].number, wanted.recorded[-1])
    return after if isinstance(after, Rest) else None


def _strange(wanted: Wanted, seen: Seen) -> Action | None:
    """Whether the site that answers is not the one that an open attempt was meant for."""
    if seen.identity is None:
        return Rest("SiteSilent")
    newest = wanted.recorded[-1] if wanted.recorded else None
    if newest is not None and not newest.final and newest.identity != seen.identity:
        return Rest("IdentityChanged")
    return None


def _unrecorded(seen: Seen, current: Current | None) -> Action | None:
    """Whether the answer to a later attempt's submit is missing, whose intent the status has lost."""
    number = max(seen.doubtful, default=0)
    if number > (current.number if current is not None else 0):
        return LookUp("AnswerMissing", number)
    return None


def _surplus(current: Current) -> RemoteJob | None:
    """A waiting job beside the attempt's own: it holds no claim, so ending it ends nothing that runs."""
    waiting = [job for job in current.duplicates if job.stage is Stage.QUEUED and job.restart_count == 0]
    return waiting[0] if waiting else None


def _begin(wanted: Wanted, attempt: int, reason: str = "Wanted") -> Action:
    if wanted.suspend:
        return Rest("Suspended")
    if not wanted.plannable:
        return Rest("NotPlannable")
    if wanted.hold:
        return Rest("Held")
    return Intend(reason, attempt)


def _decide_without_job(wanted: Wanted, seen: Seen, current: Current) -> Action:
    record = current.recorded
    if record is None:
        return _begin(wanted, current.number)  # all that is known of it was turned away: it never began
    if record.final:
        return _decide_after_end(wanted, current.number, record)
    if record.job_id is not None:
        return Rest("OutcomeLost") if current.number in seen.absent else LookUp("Vanished", current.number)
    if current.number not in seen.absent and current.number not in seen.fresh:
        return LookUp("AnswerMissing", current.number)
    if not wanted.plannable:
        return Rest("NotPlannable")
    if wanted.suspend or wanted.hold:
        return Rest("Held")
    return Submit("IntentStands", current.number)


def _decide_with_job(wanted: Wanted, current: Current, job: RemoteJob) -> Action:
    if job.stage in (Stage.QUEUED, Stage.RUNNING):
        return Cancel("Suspended", job) if wanted.suspend else Rest("Active")
    if job.stage is Stage.ENDING:
        return Rest("Ending")
    return _decide_after_end(wanted, current.number, current.recorded, job)


def _decide_after_end(wanted: Wanted, number: int, record: Recorded | None, job: RemoteJob | None = None) -> Action:
    ending = job.ending if job is not None else None
    if ending is None and record is not None:
        ending = ENDING_BY_REASON.get(record.final)
    if ending is not None and ending.succeeded:
        return Rest("Succeeded")
    asked = ending is None or ending.blame is Blame.CANCELLATION or ending is STOPPED
    if record is not None and record.suspended and asked:
        return _begin(wanted, number + 1)
    if wanted.retry_requested:
        return _begin(wanted, number + 1)
    if ending is None:
        return Rest("Finished")
    left = number - wanted.uncounted < wanted.max_attempts
    if ending.blame in RETRIED and left:
        return _begin(wanted, number + 1)
    if ending.blame is Blame.TIME_LIMIT and wanted.chain:
        if not advanced(wanted.reached, number):
            return Rest(NO_PROGRESS)
        if left:
            return _begin(wanted, number + 1, CONTINUED)
    return Rest("Finished")


def advanced(reached: Mapping[int, int], number: int) -> bool:
    """Whether an attempt came further than all before it. The first one has none before it; one that told no step is
    not known to have come anywhere.
    """
    if number == 1:
        return True
    return reached.get(number, -1) > furthest(reached, number)


def furthest(reached: Mapping[int, int], number: int) -> int:
    """The step to which the attempts before this one came; -1 where none told one."""
    return max((step for attempt, step in reached.items() if attempt < number), default=-1)

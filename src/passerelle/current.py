"""What is wanted of a run, recorded of it and seen of it; and which job its newest attempt is. Pure.

Several jobs may stand under one marker: a balancer sent a submit twice, or an answer was late. The attempt is the one
that took the run directory's claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from passerelle.gateways.base import Identity
from passerelle.slurm import ENDING_BY_REASON, MAYBE_BEFORE_THE_CLAIM, RemoteJob, Stage, id_order

OUTCOME_LOST = "OutcomeLost"
"""Reason of an attempt that had a job once, of which the site knows neither life nor end."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An attempt as the TrainingJob's status records it. `final`: its end, `""` while it is open. `told_to_stop`: it
    was suspended once, and may stop for that although it was resumed.
    """

    number: int
    identity: Identity
    job_id: str | None = None
    submit_time: int | None = None
    restart_count: int = 0
    final: str = ""
    suspended: bool = False
    told_to_stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the TrainingJob asks for. `hold` is a reason not to submit now; it never ends what runs. `uncounted` is how
    many earlier attempts were suspended. `chain`: a time limit need not end the run. `reached`: the step to which each
    attempt came, where it told one. `retry_requested`: one more attempt, and none that was given already.
    """

    deleting: bool = False
    held_finalizer: bool = True
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
    `quiet`: since a job of it was last submitted, or seen to live, a full live listing has shown none that does.
    `absent`: attempts whose absence is believed (law 3); `lost`: those of them that had a job once, by our own eyes or
    accounting's; `doubtful`: attempts whose absence is still in question. `fresh`: an intent that this process has just
    written and never sent. `identity` is who answers now, None before the first answer.
    """

    jobs: tuple[tuple[int, RemoteJob], ...] = ()
    complete: bool = False
    quiet: bool = False
    absent: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()
    doubtful: frozenset[int] = frozenset()
    fresh: frozenset[int] = frozenset()
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Current:
    """The attempt that counts: the highest that is recorded or seen."""

    number: int
    job: RemoteJob | None
    recorded: Recorded | None
    duplicates: tuple[RemoteJob, ...] = field(default=())


def current_attempt(wanted: Wanted, seen: Seen) -> Current | None:
    """The highest attempt, its job, and the surplus jobs under its marker."""
    numbers = [record.number for record in wanted.recorded] + [number for number, _ in seen.jobs] + [*seen.lost]
    if not numbers:
        return None
    number = max(numbers)
    record = next((record for record in wanted.recorded if record.number == number), None)
    jobs = [job for attempt, job in seen.jobs if attempt == number and not turned_away(job, record)]
    chosen = _choose([job for job in jobs if _may_be(job, record)], record)
    return Current(number, chosen, record, tuple(job for job in jobs if job is not chosen))


def turned_away(job: RemoteJob, record: Recorded | None) -> bool:
    """Whether a job is no life of the attempt: of another cluster or user, refused at its submit, by the fence, or, as
    one too many, while it waited. An accepted job may be refused later, when nodes change: then that is its end.
    """
    if record is not None and Identity(job.cluster, job.user) != record.identity:
        return True
    accepted = record is not None and record.job_id == job.job_id
    surplus = job.cancelled_waiting and record is not None and record.job_id is not None
    return job.duplicate or ((job.refused or surplus) and not accepted)


def _may_be(job: RemoteJob, record: Recorded | None) -> bool:
    """Whether it may be the attempt: of one whose end is written down, the recorded job, perhaps in a later life, and,
    where that may have taken no claim, one that runs. Its id counts only together with its submit time.
    """
    if record is None or record.final in ("", OUTCOME_LOST) or (_open_to_others(record) and _runs(job)):
        return True
    if job.job_id != record.job_id:
        return False
    if record.submit_time is None:
        return job.live and job.stage is not Stage.ENDED  # FirecREST tells neither that nor restarts
    return job.submit_time == record.submit_time or job.restart_count > record.restart_count


def _open_to_others(record: Recorded) -> bool:
    """Whether the end on record may have come before the claim was taken; of a suspended one nobody knows."""
    return record.final in MAYBE_BEFORE_THE_CLAIM or record.final not in ENDING_BY_REASON


def _runs(job: RemoteJob) -> bool:
    return job.live and job.stage is Stage.RUNNING


def _choose(jobs: list[RemoteJob], record: Recorded | None) -> RemoteJob | None:
    """Of several jobs under one marker the attempt is the one that started first: it took the run directory's claim.

    A recorded job that is still waiting holds no claim yet, so it yields to one that has started; one that was
    cancelled, maybe by us as one too many, yields to whatever lives; and one that may have ended without the claim, to
    whatever had it, or runs. Among such ones the recorded one is it: that was seen to run, or nobody knows better.
    """
    if not jobs:
        return None
    lives = any(job.stage in (Stage.QUEUED, Stage.RUNNING) for job in jobs)
    begun = any(_runs(job) or (job.ending is not None and not job.may_have_begun_nothing) for job in jobs)

    def rank(job: RemoteJob) -> tuple[bool, bool, bool, float, bool, int, tuple[int, str]]:
        queued, cancelled = job.never_began, job.state.base == "CANCELLED" and job.state.ending is not None
        never_ran = job.start_time is None or (job.state.base == "CANCELLED" and not job.node_count)
        other = record is None or record.job_id != job.job_id
        started = float("inf") if queued or job.start_time is None else job.start_time
        yields = (lives and cancelled) or (begun and job.may_have_begun_nothing)
        unsure = job.may_have_begun_nothing and other
        return (yields, queued or never_ran, unsure, started, other, job.submit_time, id_order(job.job_id))

    return min(jobs, key=rank)


def lives(recorded: tuple[Recorded, ...], seen: Seen) -> bool:
    """Whether the scheduler has a job of the run that has not ended, of whatever attempt."""
    records = {record.number: record for record in recorded}
    live = ((number, job) for number, job in seen.jobs if job.live and job.stage is not Stage.ENDED)
    return any(not turned_away(job, records.get(number)) for number, job in live)

"""What one pass over a TrainingJob knows: the object, the site's picture, the decision. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from passerelle import decide
from passerelle.batch import Batch
from passerelle.chain import reached
from passerelle.decide import Action, Current, Recorded, Seen, Wanted
from passerelle.errors import Rejected
from passerelle.facts import OUTCOME_LOST, Staged, Word
from passerelle.gateways.base import Identity
from passerelle.objects import TrainingJob
from passerelle.planning import Planned
from passerelle.sites import Service
from passerelle.slurm import JobState, RemoteJob, Stage
from passerelle.status import epoch, is_final, with_job
from passerelle.v1alpha1.trainingjob_status import Attempt


@dataclass(slots=True)
class Memory:
    """What this process knows of one TrainingJob beside its status. Losing it costs a look-up, never a job."""

    fresh: int = 0  # an intent that was written by this process and never sent
    batch: Batch | None = None  # the intent's, where no parcels belong to it: these are made anew
    refused: Rejected | None = None  # the submit, or the delivery before it
    refusals: int = 0  # in a row
    refused_until: float = 0.0
    refused_under: int = 0  # the Site's generation
    anywhere: bool = False  # a submit away from bad nodes was refused: then on any node
    left: int = 0  # how often in a row Secrets of attempts that have ended could not be removed
    left_until: float = 0.0
    leaving: bool = False  # its jobs are looked up once more, for its deletion
    ended_at: float | None = None  # when the newest attempt was first seen to have ended
    cancelled: dict[str, float] = field(default_factory=dict)  # job id -> when its end was asked for
    warned: dict[str, float] = field(default_factory=dict)  # job id -> when it was told to save and stop


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass carries from the decision to the report."""

    job: TrainingJob
    service: Service | None
    memory: Memory
    seen: Seen
    action: Action
    planned: Planned
    hold: Word | None = None
    staged: Staged | None = None
    secrets_left: frozenset[int] | None = None  # attempts whose Secrets lie at the site, though they have ended

    @property
    def current(self) -> Current | None:
        return decide.current_attempt(Wanted(recorded=recorded(self.job)), self.seen)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The recorded attempts, the current one as the site's record tells it; rebuilt where the status lost it."""
        if self.secrets_left is None:
            return self._attempts()
        left = self.secrets_left
        return tuple(each.model_copy(update={"secrets_left": each.number in left or None}) for each in self._attempts())

    def _attempts(self) -> tuple[Attempt, ...]:
        attempts = tuple(self.job.status.attempts)
        current = self.current
        if current is None:
            return attempts
        known = next((attempt for attempt in attempts if attempt.number == current.number), None)
        if current.job is None:
            if known is not None and self.action.reason == OUTCOME_LOST:
                known = known.model_copy(update={"reason": OUTCOME_LOST})
            return attempts if known is None else (*attempts[:-1], known)
        if known is None:
            known = self._adopted(current.number, current.job)
        others = (self._ended(attempt) for attempt in attempts if attempt.number != current.number)
        return (*others, with_job(known, current.job))

    def _ended(self, attempt: Attempt) -> Attempt:
        """An attempt that another one followed has ended, although the status of an older backup may not know it."""
        if is_final(attempt):
            return attempt
        job = decide.earlier_job(attempt.number, Wanted(recorded=recorded(self.job)), self.seen)
        return with_job(attempt, job) if job is not None and job.stage is Stage.ENDED else attempt

    @property
    def run_directory(self) -> str:
        """The run's directory at the site, of its attempts or where they would have it."""
        attempts = self.attempts
        if attempts:
            return run_directory(self.job, self.service, attempts[-1].number)
        spec = self.service.site.spec if self.service is not None else None
        return f"{spec.run_root if spec else ''}/{self.job.run.key}"

    def _adopted(self, number: int, remote: RemoteJob) -> Attempt:
        return Attempt(
            number=number,
            marker=remote.name,
            cluster=remote.cluster,
            user=remote.user,
            run_directory=run_directory(self.job, self.service, number),
            script_digest="",
        )


def run_directory(job: TrainingJob, service: Service | None, attempt: int) -> str:
    """Where an attempt lies at its site: as its intent says, else, where the status has lost it, as one that is made
    now would. A status may be written by others: no directory counts that is not this run's.
    """
    known = next((each.run_directory for each in job.status.attempts if each.number == attempt), "")
    spec = service.site.spec if service is not None else None
    if known.startswith("/") and known.endswith(f"/{job.run.key}") and "/../" not in known:
        return known
    return f"{spec.run_root.rstrip('/') if spec else ''}/{job.run.key}"


def elsewhere(job: TrainingJob, service: Service | None) -> Attempt | None:
    """The open attempt that the Site leads away from, by who answered last: a silent site leads nowhere else."""
    probe = service.watch.probe if service is not None and service.watch is not None else None
    if probe is None:
        return None
    newest = job.status.attempts[-1] if job.status.attempts else None
    if newest is None or is_final(newest) or Identity(newest.cluster, newest.user) == probe.identity:
        return None
    return newest


def recorded(job: TrainingJob) -> tuple[Recorded, ...]:
    """The attempts of a status, for the decision."""
    return tuple(
        Recorded(
            number=attempt.number,
            identity=Identity(attempt.cluster, attempt.user),
            job_id=attempt.job_id,
            submit_time=epoch(attempt.submit_time),
            restart_count=attempt.restart_count,
            final=attempt.reason if is_final(attempt) else "",
            suspended=attempt.suspended,
        )
        for attempt in job.status.attempts
    )


def wanted(job: TrainingJob, seen: Seen, *, plannable: bool = True, hold: bool = False) -> Wanted:
    """What the TrainingJob asks for, for the decision. What its jobs tell is newer than what the status has of it."""
    spec = job.spec
    return Wanted(
        deleting=job.deleting,
        held_finalizer=job.held_finalizer,
        abandon=job.abandon,
        suspend=spec.suspend if spec is not None else False,
        plannable=plannable and job.invalid is None,
        hold=hold,
        retry_requested=job.retry_requested_at is not None,
        max_attempts=spec.retry.max_attempts if spec is not None else 1,
        uncounted=job.status.attempts_suspended,
        chain=spec is not None and spec.checkpoint is not None,
        reached=reached(job.status, seen),
        recorded=recorded(job),
    )


def accepted_job(attempt: Attempt, batch: Batch, job_id: str) -> RemoteJob:
    """A job that was accepted a moment ago and not yet read: submit time 0 says so."""
    return RemoteJob(
        job_id=job_id,
        name=attempt.marker,
        user=attempt.user,
        cluster=attempt.cluster,
        state=JobState("PENDING"),
        submit_time=0,
        account=attempt.account,
        partition=attempt.partition,
        standard_output=batch.options.standard_output,
    )

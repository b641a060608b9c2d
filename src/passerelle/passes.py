"""What one pass over a TrainingJob knows: the object, the site's picture, the decision. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf

from passerelle import decide
from passerelle.actions import Action, LookUp, Rest
from passerelle.attempts import SUSPENDED, epoch, is_final, with_job
from passerelle.batch import Batch
from passerelle.chain import reached
from passerelle.current import OUTCOME_LOST, Current, Recorded, Seen, Wanted, current_attempt
from passerelle.errors import Rejected
from passerelle.facts import Staged, Word
from passerelle.gateways.base import DAY_SECONDS, HORIZON_SECONDS, Identity
from passerelle.objects import TrainingJob
from passerelle.planning import Planned
from passerelle.run_directory import adopted_directory, run_directory
from passerelle.sites import Service
from passerelle.slurm import JobState, RemoteJob, Stage
from passerelle.v1alpha1.trainingjob_status import Attempt
from passerelle.views import Remembered

BATCH_SECONDS = 30.0
"""How long a batch may wait for its submit: then what it was planned from, admission and ConfigMaps, is read again."""

QUICK_SECONDS = 75.0
"""How long after a refusal it may be tried again without a look-up. Later tries find it made, and keep their time."""

LOOK_AGAIN_SECONDS = 300.0
"""How old what is known of a lost attempt may be when another one is made: a site may come back with its job."""

RESUMED_SECONDS = 60.0
"""How long a resumed attempt must be seen to live before no cancel of ours can be on its way any more, of an operator
before this one neither.
"""


@dataclass(slots=True)
class Memory:
    """What this process knows of one TrainingJob beside its status. Losing it costs a look-up, never a job."""

    fresh: int = 0  # an intent that was written by this process and never sent, or was refused
    posted: int = 0  # the attempt that was refused
    posted_at: float = 0.0
    batch: Batch | None = None  # the intent's, where no parcels belong to it: these are made anew
    batch_under: int = 0  # the Site's generation by which it was planned
    batch_until: float = 0.0
    refused: Rejected | None = None  # the submit, or the delivery before it
    refusals: int = 0  # in a row
    refused_until: float = 0.0
    refused_under: int = 0  # the Site's generation
    anywhere: bool = False  # a submit away from bad nodes was refused: then on any node
    left: int = 0  # how often in a row Secrets of attempts that have ended could not be removed
    left_until: float = 0.0
    ask_again_at: float | None = None  # when a lost attempt is to be looked for again
    no_claims: bool = False  # the run directory was asked, and holds nothing of an earlier attempt
    ended_at: float | None = None  # when the newest attempt was first seen to have ended
    cancelled: dict[str, float] = field(default_factory=dict)  # job id -> when its end was asked for
    warned: dict[str, float] = field(default_factory=dict)  # job id -> when it was told to save and stop
    spared_at: float = 0.0  # when it could not be told so, since the site was spared a call; in epoch seconds
    resumed_at: float | None = None  # when it was first seen that a suspended attempt is to go on

    @property
    def was_refused(self) -> bool:
        """Whether the intent was sent, and is fresh only since it was refused."""
        return self.fresh != 0 and self.posted == self.fresh

    def refusal_due(self, now: float) -> list[float]:
        """In how many seconds a refused attempt is to be looked up, and to be tried again."""
        tried = self.refused_until if self.refused is not None else now
        looked_up = self.posted_at + QUICK_SECONDS if self.was_refused else now
        return [each - now for each in (looked_up, tried) if each > now]

    def look_again(self, now: float) -> float:
        """In how many seconds a lost attempt is to be looked for again that another one is to follow; 0: now."""
        due = min(self.ask_again_at or inf, now + LOOK_AGAIN_SECONDS)
        self.ask_again_at = due if due > now else None
        return max(due - now, 0.0)

    def lives_on(self, action: Action, attempt: Attempt | None, job_id: str, seen_at: float, now: float) -> bool:
        """Whether an attempt that was suspended, and is to go on, was seen to live for longer than a cancel takes that
        was asked for before: whoever ends it now is somebody else. `seen_at` is when the site last answered.
        """
        if attempt is None or not attempt.suspended or not isinstance(action, Rest) or action.reason != "Active":
            self.resumed_at = None
            return False
        self.resumed_at = now if self.resumed_at is None else self.resumed_at
        return seen_at - max(self.resumed_at, self.cancelled.get(job_id, 0.0)) >= RESUMED_SECONDS

    def keep(self, batch: Batch, generation: int, now: float) -> None:
        """For the submit that follows."""
        self.batch, self.batch_under, self.batch_until = batch, generation, now + BATCH_SECONDS

    def kept(self, attempt: int, generation: int, now: float) -> Batch | None:
        """The batch of an intent, where it is what would be planned now. A refused one is planned anew."""
        usable = self.fresh == attempt and self.refused is None
        return self.batch if usable and self.batch_under == generation and now < self.batch_until else None


@dataclass(frozen=True)
class Pass:
    """What one pass carries from the decision to the report. What follows from it is worked out once."""

    job: TrainingJob
    service: Service | None
    memory: Memory
    seen: Seen
    action: Action
    planned: Planned
    hold: Word | None = None
    staged: Staged | None = None
    resumed: bool = False  # the current attempt, though suspended once, lives on
    secrets_left: frozenset[int] | None = None  # attempts whose Secrets lie at the site, though they have ended

    @cached_property
    def current(self) -> Current | None:
        return current_attempt(Wanted(recorded=recorded(self.job)), self.seen)

    @cached_property
    def attempts(self) -> tuple[Attempt, ...]:
        """The recorded attempts, the current one as the site's record tells it; rebuilt where the status lost it."""
        if self.secrets_left is None:
            return self._attempts()
        left = self.secrets_left
        return tuple(each.model_copy(update={"secrets_left": each.number in left or None}) for each in self._attempts())

    @property
    def remote(self) -> RemoteJob | None:
        """The current attempt's job, as far as it counts: an end does not while another job may be the attempt's."""
        job = self.current.job if self.current is not None else None
        unsettled = isinstance(self.action, LookUp) and self.action.last
        if self.action.reason in (*decide.NO_WORD, decide.DUPLICATE) and job is not None:
            unsettled = job.may_have_begun_nothing  # nobody has told yet of all the others
        return job if not unsettled else None

    def _attempts(self) -> tuple[Attempt, ...]:
        current = self.current
        last = current.number if current is not None else 0
        attempts = tuple(self._ended(each) if each.number < last else each for each in self.job.status.attempts)
        if current is None:
            return attempts
        known = next((attempt for attempt in attempts if attempt.number == current.number), None)
        remote = self.remote
        if remote is None:
            if self.action.reason == OUTCOME_LOST:
                known = (known or self._unknown(current.number)).model_copy(update={"reason": OUTCOME_LOST})
            others = (attempt for attempt in attempts if attempt.number != current.number)
            return attempts if known is None else (*others, known)
        if known is None:
            known = self._adopted(current.number, remote)
        if self.resumed:
            known = known.model_copy(update={"suspended": False})
        others = (attempt for attempt in attempts if attempt.number != current.number)
        return (*others, with_job(known, remote))

    def _ended(self, attempt: Attempt) -> Attempt:
        """An attempt that another one has followed. A status of an older backup may show it as open, though the site
        has long forgotten how it ended.
        """
        if is_final(attempt):
            return attempt
        mine = tuple(each for each in self.seen.jobs if each[0] == attempt.number)
        record = tuple(each for each in recorded(self.job) if each.number == attempt.number)
        found = current_attempt(Wanted(recorded=record), replace(self.seen, jobs=mine, lost=frozenset()))
        job = found.job if found is not None else None
        if job is None and attempt.number in self.seen.absent:
            return attempt.model_copy(update={"reason": OUTCOME_LOST, "end_time": None})
        return attempt if job is None or job.stage is not Stage.ENDED else with_job(attempt, job)

    @property
    def owes(self) -> bool:
        """Whether another attempt is wanted that something holds back."""
        return isinstance(self.action, Rest) and self.action.reason in ("Held", "NotPlannable")

    @property
    def says_nothing_yet(self) -> bool:
        """Whether a new TrainingJob only waits for its first look-up at a site that answers."""
        new = not self.job.status.attempts and not self.job.status.conditions and not self.job.deleting
        return new and isinstance(self.action, LookUp) and self.planned.invalid is None and self.job.invalid is None

    @property
    def run_directory(self) -> str:
        """The run's directory at the site, of its attempts or where they would have it."""
        attempts = self.attempts
        return run_directory(self.job, self.service, attempts[-1].number if attempts else 1)

    def _unknown(self, number: int) -> Attempt:
        """An attempt that there was, of which no record and no job is left."""
        identity = self.seen.identity or Identity("", "")
        return Attempt(
            number=number,
            marker=self.job.run.marker(number),
            cluster=identity.cluster,
            user=identity.user,
            run_directory=run_directory(self.job, self.service, number),
            script_digest="",
        )

    def _adopted(self, number: int, remote: RemoteJob) -> Attempt:
        return Attempt(
            number=number,
            marker=remote.name,
            cluster=remote.cluster,
            user=remote.user,
            run_directory=adopted_directory(self.job, self.service, number, remote),
            script_digest="",
        )


def unsent(job: TrainingJob, memory: Memory, now: float) -> list[int]:
    """The open attempt, where evidently nothing of it is at the site. Where a balancer sends a request twice, a refusal
    may be of the second, by a limit that the first one's job has filled: so it counts for a quick next try, and not
    for a word that nothing runs.
    """
    if memory.was_refused and not job.deleting:
        suspended = job.spec is not None and job.spec.suspend
        if suspended or now - memory.posted_at >= QUICK_SECONDS:
            return []
    return [memory.fresh] if memory.fresh else []


def sought(memory: Memory, action: Action) -> Rejected | None:
    """Why an attempt was refused that is looked up before it is tried anew. Meanwhile that is told, and it keeps its
    place among those that wait.
    """
    looked_up = memory.was_refused and isinstance(action, LookUp) and action.attempt == memory.fresh
    return memory.refused if looked_up else None


def elsewhere(job: TrainingJob, service: Service | None) -> Attempt | None:
    """The open attempt that the Site leads away from, by who answered last: a silent site leads nowhere else. Or the
    newest one, where that is lost, and deleted or to be made again.
    """
    probe = service.watch.probe if service is not None and service.watch is not None else None
    if probe is None:
        return None
    unsure = [each for each in job.status.attempts if not is_final(each)]
    if (job.deleting or job.retry_requested_at is not None) and not job.abandon:
        unsure += [each for each in job.status.attempts[-1:] if each.reason == OUTCOME_LOST]
    return next((each for each in unsure if Identity(each.cluster, each.user) != probe.identity), None)


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
            suspended=attempt.suspended or attempt.reason == SUSPENDED,
            told_to_stop=attempt.suspend_time is not None,
        )
        for attempt in job.status.attempts
    )


def remembered(job: TrainingJob) -> Remembered | None:
    """The open attempt's job, where the status tells of one that the site has shown: by its submit time."""
    current = job.status.attempts[-1] if job.status.attempts else None
    if current is None or is_final(current) or current.job_id is None or current.submit_time is None:
        return None
    return Remembered(current.number, current.marker, current.job_id, current.state, current.reason)


def age(job: TrainingJob, now: float) -> float:
    """Seconds within which all jobs of the run were submitted, with a day for clocks that differ. A run that has a name
    of its own may be older than its TrainingJob.
    """
    moments = [epoch(job.created or None), *(epoch(attempt.submit_time) for attempt in job.status.attempts)]
    oldest = now - min((each for each in moments if each), default=now - HORIZON_SECONDS)
    return max(oldest + DAY_SECONDS, HORIZON_SECONDS if job.run_id is not None else 0.0)


def retry_taken(job: TrainingJob, seen: Seen) -> str | None:
    """The retry by hand that is taken as given, although no status says so: the site shows an attempt of which the
    status knows nothing, and that may be the one. What a backup or Git has of a run never burns its hours again.
    """
    known = max([job.status.attempts_total, *(attempt.number for attempt in job.status.attempts)])
    return job.retry_requested_at if any(number > known for number, _ in seen.jobs) else None


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
        retry_requested=job.retry_requested_at is not None and retry_taken(job, seen) is None,
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

"""A Slurm in memory: Gateway with every capability, against which all else is tested, and a dry site for a demo.

It behaves as the real ones do where that matters to the laws: a submit whose answer is lost may have been accepted, a
frozen scheduler accepts once it goes on, an ended job leaves the live listing and stays in accounting, a requeue keeps
the id and changes the submit time, a new job may be missing from either listing for a while. Time is the clock's: no
task runs, states follow from it when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from passerelle.batch import Batch
from passerelle.errors import Rejected, Unauthorized, Unavailable
from passerelle.gateways import meter
from passerelle.gateways.base import Credential, Identity, Listing, Probe, Traits, Words
from passerelle.gateways.memory_files import MemoryFiles
from passerelle.gateways.surveys import EVERY_TOPIC, Association, SitePartition, Survey
from passerelle.marker import Run, parse
from passerelle.onsite.codes import CONTINUE
from passerelle.slurm import JobState, RemoteJob, Stage

_EVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCredential(Credential):
    """A word that the site knows or not."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of a job, in seconds of the clock. A run beyond the time limit ends as TIMEOUT."""

    queued: float = 0.0
    running: float = 1.0
    end: str = "COMPLETED"
    exit_code: int | None = 0
    exit_signal: int | None = None
    state_reason: str = "Priority"
    failed_node: str = ""
    comment: str = ""  # what the job writes when it starts
    stops_after: float | None = None  # seconds from a warning until it stops with more to do; None: it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the site has. Anything else is refused, in the words of Slurm's refusals."""

    nodes: int = 4
    gpus_per_node: int = 8
    partitions: frozenset[str] = frozenset({"gpu"})
    accounts: frozenset[str] = frozenset({"startup"})
    qos: frozenset[str] = frozenset({"normal", "gpu"})
    max_jobs: int = 10_000
    max_time_minutes: int | None = 60
    closed: frozenset[str] = frozenset()  # accounts that take no job


@dataclass(slots=True)
class _Job:
    job_id: str
    number: int
    batch: Batch
    fate: Fate
    submitted: float
    restarts: int = 0
    comment: str = ""
    cancelled: float | None = None
    warned: float | None = None
    purged: bool = False
    lost: float | None = None  # when the scheduler lost its state: accounting knows of nothing since

    @property
    def start(self) -> float:
        return self.submitted + self.fate.queued

    @property
    def end(self) -> float:
        run = min(self.fate.running, self.batch.options.time_limit_minutes * 60.0)
        return min(self.start + run, self.stop, _EVER if self.cancelled is None else self.cancelled)

    @property
    def stop(self) -> float:
        """When it stops since it was warned."""
        if self.warned is None or self.fate.stops_after is None:
            return _EVER
        return self.warned + self.fate.stops_after


@dataclass(slots=True)
class Faults:
    """What is wrong at the moment; set by tests."""

    gateway_down: bool = False  # nothing is sent
    scheduler_down: bool = False  # asked, and no answer
    frozen: bool = False  # as scheduler_down, but what was submitted meanwhile is accepted on thaw
    accounting_down: bool = False
    signals_refused: bool = False  # as at a release that can't signal the batch script
    lose_answers: int = 0  # so many submits are accepted, and their answer is lost
    listing_lag: float = 0.0  # seconds until a new job shows in the live listing
    listing_empty: bool = False  # the scheduler answers, and lists nothing: it has just begun
    accounting_lag: float = 0.0  # seconds until a new job shows in accounting
    end_lag: float = 0.0  # seconds until an end shows in accounting


_TRAITS = Traits(listing=Listing.STATES, surveys=EVERY_TOPIC, forecasts=False, by_name=True)


@dataclass(slots=True)
class Memory(MemoryFiles):
    """One site and one client of it. `fates` is asked once a submit; `token` is the only one that is accepted; `ids`
    makes the gateway's id of Slurm's number, where its ids are others.
    """

    clock: Callable[[], float]
    credentials: Callable[[], MemoryCredential] = lambda: MemoryCredential(user="startup", token="valid")  # noqa: S106
    fates: Callable[[Batch], Fate] = lambda _: Fate()
    cluster: str = "memory"
    user: str = "startup"
    token: str = "valid"  # noqa: S105 -- no secret: this site is made up
    shape: Shape = field(default_factory=Shape)
    faults: Faults = field(default_factory=Faults)
    settle_seconds: float = 1.0
    purge_seconds: float = 300.0
    first_job_id: int = 1000
    ids: Callable[[int], str] = str
    calls: list[str] = field(default_factory=list)
    signals: list[tuple[str, str]] = field(default_factory=list)
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _held_back: list[Batch] = field(default_factory=list)
    _former: list[_Job] = field(default_factory=list)  # of before the scheduler lost its state
    traits: Traits = _TRAITS

    async def probe(self) -> Probe:
        self._enter("probe")
        return Probe(Identity(self.cluster, self.user), version="memory", api_version="memory")

    async def submit(self, batch: Batch) -> str:
        self._called("submit")
        if self.faults.frozen and not self.faults.gateway_down:
            self._held_back.append(batch)
        self._refuse_faults()
        self._refuse(batch)
        job_id = self._accept(batch)
        if self.faults.lose_answers:
            self.faults.lose_answers -= 1
            raise Unavailable("The answer was lost.", reason="Unreachable", sent=True)
        return job_id

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        self._enter("states")
        return {job.job_id: self._state(job) for job in self._listed() if job.job_id in job_ids}

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        self._enter("get")
        return [self._record(job) for job in self._listed() if job.job_id in job_ids]

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        self._enter("find")
        named = [(found[0], self._record(job)) for job in self._listed() if (found := parse(job.batch.options.name))]
        return [job for run, job in named if ended_of is None or job.stage is not Stage.ENDED or run in ended_of]

    async def accounted(self, *, names: Words = (), job_ids: Words = (), within: float = _EVER) -> Sequence[RemoteJob]:
        self._called("accounted")
        self._refuse_credential()
        if self.faults.gateway_down or self.faults.accounting_down:
            raise Unavailable("Slurm's accounting does not answer.", reason="AccountingUnavailable")
        since = self.clock() - self.faults.accounting_lag
        found = [
            self._record(job, live=False)
            for job in (*self._former, *self._jobs.values())
            if since - within <= job.submitted <= since and (job.batch.options.name in names or job.job_id in job_ids)
        ]
        return [_alive(job) if (job.end_time or 0) > self.clock() - self.faults.end_lag else job for job in found]

    async def cancel(self, job_id: str) -> None:
        self._enter("cancel")
        job = self._jobs.get(job_id)
        if job is not None and self._state(job).stage is not Stage.ENDED:
            job.cancelled = self.clock()

    async def warn(self, job_id: str, signal: str) -> bool:
        self._enter("warn")
        if self.faults.signals_refused:
            return False
        job = self._jobs.get(job_id)
        if job is not None and job.warned is None and self._state(job).stage is Stage.RUNNING:
            job.warned = self.clock()
            self.signals.append((job_id, signal))
        return True

    async def survey(self) -> Survey:
        """Where accounting is silent, what the scheduler knows alone."""
        self._enter("survey")
        shape, qos = self.shape, tuple(sorted(self.shape.qos))
        default = min(shape.accounts - shape.closed, default="")
        associations = tuple(
            Association(
                account=each, qos=qos, default_qos="normal", default=each == default, closed=each in shape.closed
            )
            for each in sorted(shape.accounts)
        )
        return Survey(
            associations=None if self.faults.accounting_down else associations,
            partitions=tuple(
                SitePartition(
                    name=each,
                    state="UP",
                    nodes=shape.nodes,
                    max_time_minutes=shape.max_time_minutes,
                    gpus_per_node=shape.gpus_per_node,
                )
                for each in sorted(shape.partitions)
            ),
            clock=self.clock(),
        )

    async def close(self) -> None:
        self.calls.append("close")

    # What happens at a site without us

    def thaw(self) -> None:
        """The frozen scheduler goes on, and takes what waits in its queue."""
        self.faults.frozen = False
        while self._held_back:
            self._accept(self._held_back.pop(0))

    def requeue(self, job_id: str, fate: Fate | None = None) -> None:
        """An administrator, or a failed node, sends a job back to the queue."""
        job = self._jobs[job_id]
        job.restarts += 1
        job.submitted = max(self.clock(), job.submitted + 1)
        job.cancelled = job.warned = None
        job.fate = fate or job.fate

    def end(self, job_id: str, state: str) -> None:
        """The site ends a running job as this: a node of it fails, or another takes its place."""
        job = self._jobs[job_id]
        job.fate = replace(job.fate, running=self.clock() - job.start, end=state, exit_code=None)

    def set_comment(self, job_id: str, text: str) -> None:
        """A job, or a person, writes the comment."""
        self._jobs[job_id].comment = text

    def purge(self) -> None:
        """The scheduler forgets every ended job now."""
        for job in self._jobs.values():
            job.purged |= self._state(job).stage is Stage.ENDED

    def forget(self, job_id: str) -> None:
        """The site loses all trace of a job."""
        del self._jobs[job_id]

    def lose_state(self) -> None:
        """The scheduler begins with empty files: it knows no job, and its ids start again. Accounting keeps what it
        has, and so takes for alive for ever what had not ended.
        """
        for job in self._jobs.values():
            job.lost = self.clock()
        self._former += self._jobs.values()
        self._jobs = {}

    @property
    def batches(self) -> dict[str, Batch]:
        """What was accepted, by job id."""
        return {job.job_id: job.batch for job in self._jobs.values()}

    def snapshot(self) -> list[RemoteJob]:
        """Every job the site ever had and still knows of, whoever asks and whatever is wrong."""
        return [self._record(job) for job in self._jobs.values()]

    # How it is done

    def _called(self, call: str) -> None:
        self.calls.append(call)
        meter.called()

    def _enter(self, call: str) -> None:
        self._called(call)
        self._refuse_faults()

    def _enter_files(self, call: str) -> None:
        """Files need no scheduler."""
        self._called(call)
        self._refuse_unreachable()
        self._refuse_credential()

    def _refuse_unreachable(self) -> None:
        if self.faults.gateway_down:
            raise Unavailable("The gateway can't be reached.", reason="Unreachable", sent=False)

    def _refuse_faults(self) -> None:
        self._refuse_unreachable()
        if self.faults.scheduler_down or self.faults.frozen:
            raise Unavailable("Slurm does not answer.", reason="SchedulerUnavailable", sent=True)
        self._refuse_credential()

    def _refuse_credential(self) -> None:
        given = self.credentials()
        if given.expires is not None and given.expires <= self.clock():
            raise Unauthorized("The token expired.", reason="TokenExpired")
        if (given.user, given.token) != (self.user, self.token):
            raise Unauthorized("Slurm refused the token.", reason="TokenRefused")

    def _refuse(self, batch: Batch) -> None:
        asked, shape = batch.options, self.shape
        live = sum(self._state(job).stage is not Stage.ENDED for job in self._jobs.values())
        if asked.partition not in shape.partitions:
            raise Rejected("Slurm refused the job: Invalid partition name specified.", reason="InvalidPartition")
        if asked.account is not None and asked.account not in shape.accounts:
            raise Rejected("Slurm refused the job: Invalid account.", reason="InvalidAccount")
        if asked.qos is not None and asked.qos not in shape.qos:
            raise Rejected("Slurm refused the job: Invalid qos specification.", reason="InvalidQos")
        if asked.account in shape.closed:
            raise Rejected(
                "Slurm refused the job: Job violates accounting policy.", reason="PolicyLimit", transient=True
            )
        if asked.nodes > shape.nodes - len(set(asked.exclude)) or asked.gpus_per_node > shape.gpus_per_node:
            raise Rejected(
                "Slurm refused the job: Requested node configuration is not available.",
                reason="NodeConfigurationUnavailable",
            )
        if live >= shape.max_jobs:
            raise Rejected("Slurm refused the job: too many jobs.", reason="TooManyJobs", transient=True)

    def _accept(self, batch: Batch) -> str:
        number = self.first_job_id + len(self._jobs)
        while (job_id := self.ids(number)) in self._jobs:
            number += 1
        fate = self.fates(batch)
        self._jobs[job_id] = _Job(job_id, number, batch, fate, self.clock(), comment=fate.comment)
        return job_id

    def _listed(self) -> list[_Job]:
        now = self.clock()
        if self.faults.listing_empty:
            return []
        for job in self._jobs.values():
            job.purged |= job.end + self.purge_seconds <= now
        return [job for job in self._jobs.values() if not job.purged and job.submitted <= now - self.faults.listing_lag]

    def _now(self, job: _Job) -> float:
        """The clock, of a job that was lost as it stood then."""
        return self.clock() if job.lost is None else job.lost

    def _state(self, job: _Job) -> JobState:
        now = self._now(job)
        if job.cancelled is not None and job.cancelled <= min(now, job.end):
            return JobState("CANCELLED")
        if now < job.start:
            return JobState("PENDING")
        if now < job.end:
            return JobState("RUNNING")
        if job.stop <= job.end:
            return JobState("FAILED")
        overran = job.fate.running > job.batch.options.time_limit_minutes * 60
        return JobState("TIMEOUT" if overran else job.fate.end)

    def _record(self, job: _Job, *, live: bool = True) -> RemoteJob:
        asked, state = job.batch.options, self._state(job)
        started = self._now(job) >= job.start and (job.cancelled is None or job.cancelled > job.start)
        stopped = state.base == "FAILED" and job.stop <= job.end
        own_end = state.base == job.fate.end and not stopped
        return RemoteJob(
            job_id=job.job_id,
            name=asked.name,
            user=self.user,
            cluster=self.cluster,
            state=state,
            submit_time=int(job.submitted),
            state_reason=job.fate.state_reason if state.base == "PENDING" else "",
            start_time=int(job.start) if started else None,
            end_time=int(job.end) if state.ending else None,
            restart_count=job.restarts,
            partition=asked.partition,
            account=asked.account or "",
            qos=asked.qos or "",
            nodes=f"n[1-{asked.nodes}]" if started else "",
            node_count=asked.nodes,
            gpus=asked.nodes * asked.gpus_per_node,
            time_limit_minutes=asked.time_limit_minutes,
            exit_code=CONTINUE if stopped else job.fate.exit_code if state.ending and own_end else None,
            exit_signal=job.fate.exit_signal if state.ending and own_end else None,
            failed_node=job.fate.failed_node if state.ending and own_end else "",
            comment=job.comment if live else "",
            standard_output=asked.standard_output.replace("%j", str(job.number)),
            cancelled_by=self.user if state.base == "CANCELLED" and not live else "",
            slurm_id="" if job.job_id == str(job.number) else str(job.number),
            live=live,
        )


def _alive(job: RemoteJob) -> RemoteJob:
    """As accounting has it that has not heard of its end."""
    return replace(job, state=JobState("RUNNING"), end_time=None, exit_code=None)

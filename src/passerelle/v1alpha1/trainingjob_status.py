"""A TrainingJob's status: what became of the run. Written by the operator alone, and small; bounds.py keeps it so."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, computed_field

from passerelle.marker import ATTEMPT_LIMIT
from passerelle.slurm import JOB_ID
from passerelle.v1alpha1.meta import Condition, Model, Time, map_list
from passerelle.v1alpha1.staging import TRANSFERS_MOST, Transfer

ATTEMPTS_KEPT = 10
FINDINGS_KEPT = 16
NODES_KEPT = 32
"""Of an attempt's nodes, and of those that the run's later attempts keep away from."""


class Exit(Model):
    """How the trainer ended."""

    code: int | None = Field(default=None, description="code is the exit code.")
    signal: int | None = Field(
        default=None, description="signal is the number of the signal that ended the process, where one did."
    )
    rank: int | None = Field(default=None, description="rank is the first trainer process that failed.")


class Attempt(Model):
    """One Slurm job of this run. Times and names are the site's."""

    number: int = Field(ge=1, le=ATTEMPT_LIMIT, description="number counts the attempts from 1.")
    marker: str = Field(max_length=36, description="marker is the Slurm job's name.")
    cluster: str = Field(max_length=64, description="cluster is the Slurm cluster of the attempt.")
    user: str = Field(max_length=64, description="user is the site's user that submits.")
    run_directory: str = Field(
        max_length=544,
        description="runDirectory is the run's directory at the site; its attempts share it.",
    )
    script_digest: str = Field(max_length=64, description="scriptDigest is the SHA-256 of what was submitted.")
    log_path: str = Field(default="", max_length=1200, description="logPath is the log file at the site.")
    job_id: str | None = Field(
        default=None,
        max_length=64,
        pattern=JOB_ID,
        description="jobId is the job's id, as the site's gateway calls it: Slurm's own number, with slurmrestd. Unset "
        "until the site has answered.",
    )
    submit_time: Time | None = Field(default=None, description="submitTime is the site's submit time.")
    restart_count: int = Field(default=0, ge=0, description="restartCount is how often the site requeued the job.")
    start_time: Time | None = Field(default=None, description="startTime is when the job started.")
    end_time: Time | None = Field(default=None, description="endTime is when the job ended.")
    partition: str = Field(default="", max_length=64, description="partition is the Slurm partition.")
    account: str = Field(default="", max_length=64, description="account is the Slurm account that pays.")
    nodes: list[Annotated[str, Field(max_length=64)]] = Field(
        default_factory=list, max_length=NODES_KEPT, description="nodes are the first 32 nodes of the job."
    )
    node_count: int = Field(default=0, ge=0, description="nodeCount is the number of nodes.")
    state: str = Field(default="", max_length=128, description="state is Slurm's state, flags after a plus sign.")
    reason: str = Field(
        default="",
        max_length=128,
        description="reason is Slurm's reason while the job waits, and the reason of its end once it has ended.",
    )
    exit: Exit | None = Field(default=None, description="exit tells how the trainer ended.")
    secrets_left: bool | None = Field(
        default=None,
        description="secretsLeft tells that the file with the attempt's Secrets, which only the site's user can read, "
        "may still lie at the site: the operator could not yet remove it, and tries again, or the attempt's outcome is "
        "lost, and its job may still begin.",
    )
    suspended: bool = Field(default=False, description="suspended tells that spec.suspend ended this attempt.")
    suspend_time: Time | None = Field(
        default=None, description="suspendTime is when the operator last began to end it for that, on its own clock."
    )
    first_step: int | None = Field(
        default=None, ge=0, description="firstStep is the first step that the trainer reported."
    )
    last_step: int | None = Field(
        default=None, ge=0, description="lastStep is the last step that the trainer reported."
    )
    checkpoint_step: int | None = Field(
        default=None,
        ge=0,
        description="checkpointStep is the step of the newest checkpoint that the trainer reported.",
    )


class Reached(Model):
    """How far attempts came."""

    last_step: int | None = Field(default=None, ge=0, description="lastStep is the furthest step of any of them.")
    checkpoint_step: int | None = Field(
        default=None, ge=0, description="checkpointStep is the furthest step of a checkpoint of any of them."
    )


class Finding(Model):
    """What preflight has to say of the spec."""

    id: str = Field(max_length=64, description="id is the finding's name, one CamelCase word.")
    severity: Literal["error", "warning", "info"] = Field(
        description="severity is error (the job is refused), warning (it costs or risks something) or info."
    )
    field: str = Field(
        max_length=64,
        description="field is the field it speaks of, like spec.env[0]; site.spec is for the Site's administrator.",
    )
    message: str = Field(max_length=512, description="message says what is wrong.")
    fix: str = Field(default="", max_length=512, description="fix says what to write instead.")


class PlanSummary(Model):
    """What the site is asked for."""

    nodes: int = Field(description="nodes is the number of nodes.")
    gpus: int = Field(description="gpus is the number of GPUs in total.")
    gpus_per_node: int = Field(description="gpusPerNode is the number of GPUs of each node.")
    tasks: int = Field(description="tasks is the number of trainer processes.")
    cpus_per_task: int = Field(description="cpusPerTask is the number of cores of each Slurm task.")
    partition: str = Field(max_length=64, description="partition is the Slurm partition.")
    account: str = Field(default="", max_length=64, description="account is the Slurm account that pays.")
    qos: str = Field(default="", max_length=64, description="qos is the quality of service.")
    time_limit_minutes: int = Field(description="timeLimitMinutes is the time limit as Slurm counts it.")


class Metric(Model):
    """One number that the trainer reported."""

    name: str = Field(max_length=64, description="name is the key that the trainer wrote.")
    value: str = Field(
        max_length=32,
        pattern=r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$",
        description="value is a decimal number, written as text: numbers with a point differ between clients.",
    )


class Progress(Model):
    """What the trainer last reported."""

    step: int | None = Field(default=None, ge=0, description="step is the training step.")
    total_steps: int | None = Field(default=None, ge=0, description="totalSteps is the number of steps of the run.")
    checkpoint_step: int | None = Field(
        default=None, ge=0, description="checkpointStep is the step of the newest checkpoint."
    )
    percentage: int | None = Field(default=None, ge=0, le=100, description="percentage is how much of the run is done.")
    eta_seconds: int | None = Field(
        default=None, ge=0, description="etaSeconds is the trainer's estimate of the remaining time."
    )
    metrics: list[Metric] = Field(
        default_factory=list, max_length=8, description="metrics are the other numbers that the trainer reported."
    )
    updated_at: Time | None = Field(default=None, description="updatedAt is when the site wrote the report.")

    @computed_field(  # type: ignore[prop-decorator]  # mypy knows no decorated properties
        description="summary is the progress in a few characters, for people.",
        json_schema_extra={"maxLength": 48},
    )
    @property
    def summary(self) -> str:
        """What the printer column shows. Derived at each write, never read by code."""
        if self.percentage is not None:
            return f"{self.percentage}%"
        if self.step is None:
            return ""
        return f"{self.step}/{self.total_steps}" if self.total_steps else f"step {self.step}"


class TrainingJobStatus(Model):
    """What became of the run."""

    observed_generation: int = Field(
        default=0, ge=0, description="observedGeneration is the metadata.generation that this status speaks of."
    )
    summary: str = Field(
        default="", max_length=32, description="summary is one word for people. Programs read conditions."
    )
    reason: str = Field(
        default="", max_length=128, description="reason says in one word why the summary is what it is."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="conditions are Accepted (the spec can be planned), Submitted (the site knows the job), Running, "
        "Succeeded (Unknown while the run is active), Finished (True on either end), DataStaged and OutputsStaged "
        "where there is something to copy, ProgressAvailable while it is False, and Ready, Reconciling and Stalled for "
        "GitOps tools.",
        json_schema_extra=map_list("type"),
    )
    plan: PlanSummary | None = Field(
        default=None, description="plan is what the site is asked for; it stands before anything is submitted."
    )
    script_digest: str = Field(
        default="", max_length=64, description="scriptDigest is the SHA-256 of what is, or would be, submitted."
    )
    findings: list[Finding] = Field(
        default_factory=list,
        max_length=FINDINGS_KEPT,
        description="findings are what preflight has to say of the spec, the worst first: the first 16.",
        json_schema_extra=map_list("id", "field"),
    )
    attempts: list[Attempt] = Field(
        default_factory=list,
        max_length=ATTEMPTS_KEPT,
        description="attempts are the Slurm jobs of this run: the last ten, the newest at the end.",
        json_schema_extra=map_list("number"),
    )
    earlier_attempts: Reached | None = Field(
        default=None,
        description="earlierAttempts tells how far those came that attempts lists no longer: a run ends that comes no "
        "further than they did.",
    )
    attempts_total: int = Field(default=0, ge=0, description="attemptsTotal is the number of attempts in all.")
    attempts_suspended: int = Field(
        default=0, ge=0, description="attemptsSuspended is how many attempts spec.suspend ended; they are not counted."
    )
    excluded_nodes: list[Annotated[str, Field(max_length=64)]] = Field(
        default_factory=list,
        max_length=NODES_KEPT,
        description="excludedNodes are nodes through which an attempt failed: later attempts keep away from them. The "
        "last 32.",
    )
    transfers: list[Transfer] = Field(
        default_factory=list,
        max_length=TRANSFERS_MOST,
        description="transfers tell how far data and outputs have been copied.",
        json_schema_extra=map_list("name", "direction"),
    )
    progress: Progress | None = Field(default=None, description="progress is what the trainer last reported.")
    last_handled_retry_at: str | None = Field(
        default=None,
        max_length=64,
        description="lastHandledRetryAt echoes the annotation passerelle.dev/retry-requested-at that was honoured "
        "last.",
    )

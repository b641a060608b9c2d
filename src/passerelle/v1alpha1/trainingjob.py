"""TrainingJob: one training run at one site, and what became of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, computed_field

from passerelle.v1alpha1.meta import (
    NO_NUL,
    AbsolutePath,
    Condition,
    DnsLabel,
    DnsSubdomain,
    Duration,
    Matching,
    Model,
    SlurmWord,
    Time,
    map_list,
    rule,
    rules,
)

PLURAL = "trainingjobs"
FINALIZER = "passerelle.dev/cancel-remote-job"
"""Held from before the first intent until the site no longer runs the job."""
RETRY_REQUESTED_AT = "passerelle.dev/retry-requested-at"
"""Annotation: ask for one more attempt after a final failure; any new value counts once."""
RETRY_REQUESTED_AT_LIMIT = 64
"""Characters of it that are kept and compared."""
ABANDON = "passerelle.dev/abandon"
"""Annotation: "true" ends a deletion whose site can't be asked; a job may go on running there."""

ATTEMPTS_KEPT = 10

MUTABLE = ("suspend", "retry", "ttlSecondsAfterFinished")
"""Fields of spec that may change after creation."""
RECORD = (
    "a TrainingJob is the record of one run: only suspend, retry and ttlSecondsAfterFinished may change; "
    "create another TrainingJob under a new name, for example with kustomize's nameSuffix"
)
"""What a person reads who changes anything else."""

VARIABLE_HELP = "write letters, digits and underscores, no digit first"
MEMORY_HELP = "write whole Mi, Gi or Ti, like 480Gi"

_Argument = Annotated[str, Field(max_length=32_768, pattern=NO_NUL)]
_Variable = Annotated[str, Field(max_length=253), Matching(r"^[A-Za-z_][A-Za-z0-9_]*$", VARIABLE_HELP)]
_Memory = Annotated[str, Field(max_length=16), Matching(r"^[1-9][0-9]{0,8}(Mi|Gi|Ti)$", MEMORY_HELP)]


class EnvVar(Model):
    """One environment variable, as in a Pod."""

    name: _Variable = Field(description="name is the variable's name: letters, digits and underscores.")
    value: str = Field(
        default="",
        max_length=8192,
        pattern=NO_NUL,
        description="value reaches the trainer as written; no shell reads it, and $(OTHER) is not expanded.",
    )


class FilesFrom(Model):
    """A ConfigMap whose keys become read-only files in the container."""

    config_map: DnsSubdomain = Field(
        description="configMap is the name of a ConfigMap in the TrainingJob's namespace; each key becomes a file. "
        "An attempt runs with what the ConfigMap holds when the attempt is made.",
    )
    path: AbsolutePath = Field(
        max_length=1024,
        description="path is the directory in the container in which the files appear, read-only. It hides what the "
        "image has there.",
    )


class Retry(Model):
    """How often a run is tried."""

    max_attempts: int = Field(
        default=1,
        ge=1,
        le=100,
        description="maxAttempts is how many attempts in all may be made after ends that are nobody's doing, a "
        "failed node or a preemption; 1 where unset. A trainer that fails is not tried again.",
    )


class TrainingJobSpec(Model):
    """What to run, where, and how large. A TrainingJob is the record of one run: create another under a new name."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.gpus) || has(self.nodes)",
                "write gpus, the number of GPUs in total, or nodes, the number of nodes",
                reason="FieldValueRequired",
                fieldPath=".gpus",
            ),
            rule(
                "!(has(self.gpus) && has(self.nodes))",
                "write either gpus or nodes, not both",
                reason="FieldValueForbidden",
                fieldPath=".nodes",
            ),
        )
    )

    site: DnsLabel = Field(
        description="site is the name of the Site that runs the job. `kubectl get hpcsites` lists them.",
    )
    image: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[^\x00\n\r]+$",
        description="image is the container image: the path of a SIF file at the site, like "
        "/scratch/project_465001234/train.sif.",
    )
    command: list[_Argument] = Field(
        min_length=1,
        max_length=256,
        description="command is the argument vector that each trainer process runs in the container. No shell reads "
        "it: quotes, spaces and dollar signs arrive as written.",
    )
    args: list[_Argument] = Field(
        default_factory=list, max_length=1024, description="args follow command, as in a Pod."
    )
    env: list[EnvVar] = Field(
        default_factory=list,
        max_length=256,
        description="env holds environment variables of the trainer, as in a Pod. No secrets: they would stand in "
        "the job's script.",
        json_schema_extra=map_list("name"),
    )
    working_dir: AbsolutePath | None = Field(
        default=None,
        max_length=1024,
        description="workingDir is the directory in the container in which the command starts; "
        "a new, empty directory of the attempt where unset.",
    )
    launcher: Literal["srun", "torchrun"] = Field(
        default="srun",
        description="launcher is how the trainer processes start. srun (where unset) starts one process a GPU and "
        "sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. torchrun starts one agent a node, which "
        "starts the processes.",
    )
    gpus: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="gpus is the number of GPUs in total. Write either gpus or nodes.",
    )
    nodes: int | None = Field(
        default=None,
        ge=1,
        le=20_000,
        description="nodes is the number of nodes; all GPUs of each are used unless gpusPerNode says less. Write "
        "either nodes or gpus.",
    )
    gpus_per_node: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="gpusPerNode is how many GPUs of each node are used; all of the node's where unset.",
    )
    cpus_per_gpu: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="cpusPerGpu is how many cores go with each GPU; the site's share where unset.",
    )
    memory: _Memory | None = Field(
        default=None,
        description="memory is the memory of each node in whole Mi, Gi or Ti, like 480Gi; the site's share where "
        "unset.",
    )
    time_limit: Duration = Field(
        description="timeLimit is how long the job may run, in hours, minutes and seconds, like 12h or 1h30m. "
        "Slurm rounds it up to whole minutes, and ends the job at its end."
    )
    files: list[FilesFrom] = Field(
        default_factory=list,
        max_length=16,
        description="files brings ConfigMaps to the site as read-only files in the container. They travel inside the "
        "job's script, which holds 64 KiB in all.",
    )
    account: SlurmWord | None = Field(
        default=None,
        description="account is the Slurm account to charge; the first that the Site admits for this namespace where "
        "unset.",
    )
    qos: SlurmWord | None = Field(
        default=None,
        description="qos is the Slurm quality of service; the first that the Site admits for this namespace where "
        "unset.",
    )
    reservation: SlurmWord | None = Field(default=None, description="reservation is a Slurm reservation to run in.")
    run_id: DnsLabel | None = Field(
        default=None,
        description="runId makes this run recognisable across clusters: a TrainingJob created again with the same "
        "namespace, name and runId takes up its running or finished job instead of starting another.",
    )
    suspend: bool = Field(
        default=False,
        description="suspend holds the job back: nothing is submitted, and what was submitted is cancelled. The plan "
        "and the script's digest stand in status all the same, so this is the dry run, too. May change at any time.",
    )
    retry: Retry = Field(
        default_factory=Retry, description="retry tells how often a failed run is tried again. May change at any time."
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="ttlSecondsAfterFinished deletes the TrainingJob so many seconds after its end; never where unset. "
        "With GitOps, leave it unset: Git would create the job again, and it would run again. May change at any time.",
    )


class Exit(Model):
    """How the trainer ended."""

    code: int | None = Field(default=None, description="code is the exit code.")
    signal: int | None = Field(
        default=None, description="signal is the number of the signal that ended the process, where one did."
    )
    rank: int | None = Field(default=None, description="rank is the first trainer process that failed.")


class Attempt(Model):
    """One Slurm job of this run. Times and names are the site's."""

    number: int = Field(ge=1, description="number counts the attempts from 1.")
    marker: str = Field(max_length=36, description="marker is the Slurm job's name.")
    cluster: str = Field(max_length=64, description="cluster is the Slurm cluster of the attempt.")
    user: str = Field(max_length=64, description="user is the site's user that submits.")
    run_directory: str = Field(
        max_length=544,
        description="runDirectory is the run's directory at the site. The attempts of the run share it, and each has "
        "a directory of its own in it.",
    )
    script_digest: str = Field(max_length=64, description="scriptDigest is the SHA-256 of what was submitted.")
    log_path: str = Field(default="", max_length=1200, description="logPath is the log file at the site.")
    job_id: int | None = Field(
        default=None, ge=0, description="jobId is the Slurm job id; unset until the site has answered."
    )
    submit_time: Time | None = Field(default=None, description="submitTime is the site's submit time.")
    restart_count: int = Field(default=0, ge=0, description="restartCount is how often the site requeued the job.")
    start_time: Time | None = Field(default=None, description="startTime is when the job started.")
    end_time: Time | None = Field(default=None, description="endTime is when the job ended.")
    partition: str = Field(default="", max_length=64, description="partition is the Slurm partition.")
    account: str = Field(default="", max_length=64, description="account is the Slurm account that pays.")
    nodes: list[Annotated[str, Field(max_length=64)]] = Field(
        default_factory=list, max_length=32, description="nodes are the first 32 nodes of the job."
    )
    node_count: int = Field(default=0, ge=0, description="nodeCount is the number of nodes.")
    state: str = Field(default="", max_length=128, description="state is Slurm's state, flags after a plus sign.")
    reason: str = Field(
        default="",
        max_length=128,
        description="reason is Slurm's reason while the job waits, and the reason of its end once it has ended.",
    )
    exit: Exit | None = Field(default=None, description="exit tells how the trainer ended.")
    suspended: bool = Field(default=False, description="suspended tells that spec.suspend ended this attempt.")


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
        "Succeeded (Unknown while the run is active), Finished (True on either end), ProgressAvailable while "
        "it is False, and Ready, Reconciling and Stalled for GitOps tools.",
        json_schema_extra=map_list("type"),
    )
    plan: PlanSummary | None = Field(
        default=None, description="plan is what the site is asked for; it stands before anything is submitted."
    )
    script_digest: str = Field(
        default="", max_length=64, description="scriptDigest is the SHA-256 of what is, or would be, submitted."
    )
    attempts: list[Attempt] = Field(
        default_factory=list,
        max_length=ATTEMPTS_KEPT,
        description="attempts are the Slurm jobs of this run: the last ten, the newest at the end.",
        json_schema_extra=map_list("number"),
    )
    attempts_total: int = Field(default=0, ge=0, description="attemptsTotal is the number of attempts in all.")
    attempts_suspended: int = Field(
        default=0,
        ge=0,
        description="attemptsSuspended is how many attempts spec.suspend ended: retry.maxAttempts does not count them. "
        "The newest one is added when the next attempt begins.",
    )
    progress: Progress | None = Field(default=None, description="progress is what the trainer last reported.")
    last_handled_retry_at: str | None = Field(
        default=None,
        max_length=64,
        description="lastHandledRetryAt echoes the annotation passerelle.dev/retry-requested-at that was honoured "
        "last.",
    )

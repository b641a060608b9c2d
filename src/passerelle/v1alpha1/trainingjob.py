"""TrainingJob: one training run at one site. What became of it is in trainingjob_status.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from passerelle.v1alpha1.meta import (
    NO_NUL,
    AbsolutePath,
    DnsLabel,
    Duration,
    Matching,
    Model,
    SlurmWord,
    map_list,
    rule,
    rules,
)
from passerelle.v1alpha1.sources import EnvFrom, EnvVar, FilesFrom, SecretName
from passerelle.v1alpha1.staging import OUTPUTS_MOST, SOURCES_MOST, Data, Output

PLURAL = "trainingjobs"
FINALIZER = "passerelle.dev/cancel-remote-job"
"""Held from before the first intent until the site no longer runs the job."""
RETRY_REQUESTED_AT = "passerelle.dev/retry-requested-at"
"""Annotation: ask for one more attempt after a final failure; any new value counts once."""
RETRY_REQUESTED_AT_LIMIT = 64
"""Characters of it that are kept and compared."""
ABANDON = "passerelle.dev/abandon"
"""Annotation: "true" ends a deletion whose site can't be asked; a job may go on running there."""

MUTABLE = ("suspend", "retry", "ttlSecondsAfterFinished")
"""Fields of spec that may change after creation."""
RECORD = (
    "a TrainingJob is the record of one run: only suspend, retry and ttlSecondsAfterFinished may change; "
    "create another TrainingJob under a new name, for example with kustomize's nameSuffix"
)
"""What a person reads who changes anything else."""

MEMORY_HELP = "write whole Mi, Gi or Ti, like 480Gi"

_Argument = Annotated[str, Field(max_length=32_768, pattern=NO_NUL)]
_Memory = Annotated[str, Field(max_length=16), Matching(r"^[1-9][0-9]{0,8}(Mi|Gi|Ti)$", MEMORY_HELP)]


class Checkpoint(Model):
    """How an attempt is stopped before its time limit, so that the next one can go on from its checkpoint."""

    grace: Duration = Field(
        default="5m",
        description="grace is how long the trainer has to save a checkpoint and exit once it is told to stop, like "
        "10m; 5m where unset. It is told so long before the time limit, and some 90 seconds to 3 minutes more.",
    )


class Retry(Model):
    """How often a run is tried."""

    max_attempts: int = Field(
        default=1,
        ge=1,
        le=100,
        description="maxAttempts is how many attempts in all may be made after ends that are nobody's doing, a "
        "failed node or a preemption, and with checkpoint after time limits; 1 where unset. A trainer that fails is "
        "not tried again.",
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
        description="image is the container image: the path of a file at the site, like "
        "/scratch/project_465001234/train.sif, or a registry's image, like nvcr.io/nvidia/pytorch@sha256:..., where "
        "compute nodes reach the registry.",
    )
    image_pull_secrets: list[SecretName] = Field(
        default_factory=list,
        max_length=8,
        description="imagePullSecrets names Secrets with logins of registries, as in a Pod, for an image that the job "
        "pulls. The Site's gateway must carry files.",
        json_schema_extra=map_list("name"),
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
        description="env holds environment variables of the trainer, as in a Pod. A name that envFrom brings, too, has "
        "the value that stands here.",
        json_schema_extra=map_list("name"),
    )
    env_from: list[EnvFrom] = Field(
        default_factory=list,
        max_length=16,
        description="envFrom makes environment variables of all keys of Secrets and ConfigMaps, as in a Pod: of a name "
        "that comes twice the last counts, and a key that can't be a variable's name is left out. Secrets reach the "
        "site in a file that only the job's user can read, and need a gateway that carries files.",
    )
    working_dir: AbsolutePath | None = Field(
        default=None,
        max_length=1024,
        description="workingDir is the directory in the container in which the command starts; "
        "a new, empty directory of the attempt where unset.",
    )
    launcher: Literal["srun", "torchrun", "accelerate", "deepspeed", "jax", "mpi", "script"] = Field(
        default="srun",
        description="launcher is how the trainer processes start. srun (where unset) starts one process a GPU and "
        "sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; deepspeed, jax and mpi do the same, with what "
        "these read. torchrun and accelerate start one agent a node, which starts the processes. script runs the "
        "command once, on the first node and outside the image, as a batch script whose srun lines start tasks.",
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
        description="files brings ConfigMaps and Secrets to the site as read-only files in the container. ConfigMaps "
        "travel inside the job's script while that holds them, which has 64 KiB in all; beyond it, and for Secrets, "
        "the Site's gateway must carry files.",
    )
    data: list[Data] = Field(
        default_factory=list,
        max_length=SOURCES_MOST,
        description="data names files and directories at the site, beside those that the site's profile shows to every "
        "container. Those with a source are copied there before the job is submitted.",
        json_schema_extra=map_list("name"),
    )
    outputs: list[Output] = Field(
        default_factory=list,
        max_length=OUTPUTS_MOST,
        description="outputs are copied away when the run has succeeded, to an object store; the condition "
        "OutputsStaged tells when they are there.",
        json_schema_extra=map_list("name"),
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
    checkpoint: Checkpoint | None = Field(
        default=None,
        description="checkpoint makes a run of several attempts of one that does not end within its time limit: the "
        "trainer is told to stop, saves a checkpoint, and the next attempt goes on from it, while each comes further "
        "than the one before, up to retry.maxAttempts. Unset, a time limit ends the run.",
    )
    suspend: bool = Field(
        default=False,
        description="suspend holds the job back: nothing is submitted, and what was submitted is ended; with "
        "checkpoint, what runs may save first, within its grace. The plan and the script's digest stand in status all "
        "the same, so this is the dry run, too. May change at any time.",
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

"""The machine as it stands: nodes, GPUs, network, storage, and the ways in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from passerelle.profiles.facts import Count, Environment, Facts, Mib, Path, Seconds, Text

Architecture = Literal["x86_64", "aarch64"]
Vendor = Literal["nvidia", "amd"]


ACTS_PER_SECOND = 10.0
"""Calls that submit or end jobs, where a site says nothing of it."""


class Machine(Facts):
    """Whose it is. `as_of` is the month in which the profile's facts were last read."""

    system: Text
    operator: Text
    place: Text
    country: str = Field(pattern=r"^[A-Z]{2}$")
    as_of: str = Field(pattern=r"^20[0-9]{2}-[0-9]{2}$")


class Node(Facts):
    """A node as jobs see it: `cpus` and `memory_mib` are the most that a job may ask of one, not what is built in."""

    architecture: Architecture
    login_architecture: Architecture | None = None
    """Where it is another than the nodes': what `uname -m` says there is no test."""
    count: Count | None = None
    """Nodes that Slurm hands out."""
    cpus: Count | None = None
    """In Slurm's count."""
    cpus_per_core: Count = 1
    """2 where that counts hardware threads."""
    memory_mib: Mib | None = Field(default=None, alias="memory")
    installed_memory_mib: Mib | None = Field(default=None, alias="installedMemory")
    """What no job can get more of, where the site doesn't tell what a job can get."""
    processor: Text | None = None


class Gpu(Facts):
    """One GPU as Slurm counts them. `per_card` is 2 where Slurm counts dies and the vendor sells cards of two."""

    model: Text
    vendor: Vendor
    memory_gib: Count | None = None
    per_card: Count = 1


class Fabric(Facts):
    """The network between nodes. `environment` holds what its libraries need; a TrainingJob's own variables win."""

    name: Text | None = None
    environment: Environment = Field(default_factory=dict)


class Egress(Facts):
    """Whether a connection to the internet can be opened from there. None: unknown, to be treated as no."""

    compute: bool | None = None
    login: bool | None = None
    rate_limited: bool = False
    """Many nodes share an address: registries refuse anonymous pulls."""


class FileSystem(Facts):
    """Storage. `path` may hold the places {account}, {user} and {project}; `prefix` is what stands before them.

    Quotas are as the site rounds them, whether it writes GB or GiB.
    """

    role: Literal["home", "project", "scratch", "local", "other"]
    path: Path | None = None
    variable: str | None = Field(default=None, pattern=r"^[A-Z_]+$")
    """The variable that the site sets to the path."""
    quota_gib: Count | None = None
    quota_files: Count | None = None
    purge_days: Count | None = None
    """Files untouched for so long are deleted. None: no purge is known of."""
    on_compute: bool | None = None
    """Whether compute nodes mount it; None where the site doesn't tell, and then it is taken for granted."""
    memory_backed: bool = False
    """Files there count as the job's memory."""
    note: Text | None = None

    @property
    def prefix(self) -> str | None:
        """The directory that all such paths share, without its last slash."""
        return None if self.path is None else self.path.partition("{")[0].rstrip("/")


class Runtime(Facts):
    """One way to enter an image: apptainer and singularity (a SIF), pyxis (enroot), edf (CSCS), none (no container).

    `module_paths` are given to `module use`, `modules` are loaded after it, in order. `options` stand in front of the
    image, and `binds` are the site's paths that trainers see.
    """

    kind: Literal["apptainer", "singularity", "pyxis", "edf", "none"]
    binary: str | None = Field(default=None, max_length=256)
    module_paths: list[Path] = Field(default_factory=list, max_length=8)
    modules: list[Annotated[str, Field(max_length=128)]] = Field(default_factory=list, max_length=16)
    options: list[Annotated[str, Field(max_length=256)]] = Field(default_factory=list, max_length=32)
    binds: list[Path] = Field(default_factory=list, max_length=32)
    annotations: Environment = Field(default_factory=dict)
    """Of an environment definition file."""
    note: Text | None = None


class LaunchFacts(Facts):
    """How batch scripts and their steps start here.

    CPU masks hold for whole nodes only. A rendezvous address is that of the first node's name and `host_suffix`.
    """

    login_shell: bool = False
    """The script starts as `bash -l`: modules exist nowhere else."""
    prologue: Environment = Field(default_factory=dict)
    """Variables of the batch shell, before any step."""
    environment: Environment = Field(default_factory=dict)
    """Variables of every trainer that are not the fabric's; a TrainingJob's own win."""
    mpi: str | None = Field(default=None, max_length=32)
    """srun's --mpi for MPI programs."""
    cpu_bind: str | None = Field(default=None, max_length=512)
    """srun's --cpu-bind for one task a GPU on a whole node."""
    gpu_bind: str | None = Field(default=None, max_length=64)
    """srun's --gpu-bind."""
    host_suffix: str = Field(default="", max_length=16, pattern=r"^[a-z0-9.-]*$")
    """What is put after a node's name to get the name that the fabric's network knows."""
    address: Literal["name", "ip"] = "name"
    """MASTER_ADDR is that name, or the IPv4 address behind it."""
    torchrun_rendezvous: Literal["static", "file"] = "static"


class Gateway(Facts):
    """A way in for programs, beside SSH."""

    kind: Literal["slurmrestd", "firecrest", "unicore", "heappe", "lexis", "arc"]
    url: str | None = Field(default=None, max_length=256)
    token_url: str | None = Field(default=None, max_length=256)
    version: str | None = Field(default=None, max_length=32)
    credential_hours: Annotated[float, Field(gt=0)] | None = None
    """How long a credential lives; None: unknown, or it doesn't end."""
    unattended: bool | None = None
    """As Login's."""
    note: Text | None = None


class Login(Facts):
    """How people, and whatever speaks SSH for them, log in."""

    hosts: list[str] = Field(default_factory=list, max_length=16)
    port: int = 22
    authentication: Text | None = None
    second_factor: bool | None = None
    certificate_hours: Count | None = None
    max_sessions: Count | None = None
    """Open at a time on one connection; None: as many as sshd takes by default."""
    unattended: bool | None = None
    """Whether it works for weeks without a person."""
    note: Text | None = None


class Policy(Facts):
    """What the site says of automation; absent where it says nothing."""

    statement: Text


LEAST_PERIOD_SECONDS = 30
"""Between two looks, where a site says nothing of it: an ordinary person's patience, and a scheduler's."""
LEAST_COMMENT_PERIOD_SECONDS = 300
"""Between two comments of a job, likewise: each takes slurmctld's locks for writing, and there may be thousands."""


class Polling(Facts):
    """How often a program may ask; absent where the site says nothing of it."""

    least_period_seconds: Seconds = Field(default=LEAST_PERIOD_SECONDS, alias="leastPeriod")
    """Between two looks of one Site, however many its jobs are."""
    least_comment_period_seconds: Seconds = Field(default=LEAST_COMMENT_PERIOD_SECONDS, alias="leastCommentPeriod")
    """Between two comments that a running job writes into its own record."""
    acts_per_second: float = Field(default=ACTS_PER_SECOND, gt=0, le=100)
    """Calls that submit or end jobs, of all Sites together that lead to one gateway. Only a machine of one's own says
    more than the default.
    """


class Gotcha(Facts):
    """What surprises a newcomer, in a sentence."""

    text: Text

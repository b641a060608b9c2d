"""TrainingJob x Site x attempt -> Plan: every choice made, no text. Pure.

What the user left open comes from the site's profile; nothing of it is ever written into spec. What can't be planned is
refused here, with what to write instead, so a Plan that exists can be rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from passerelle import admission, sizing
from passerelle.errors import Invalid
from passerelle.launch import LAUNCHERS, Launch
from passerelle.marker import Run
from passerelle.mounts import SAFE_PATH, Mounts, mounts
from passerelle.profiles import Partition, Profile
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

_OURS = frozenset(
    {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "HOME"}
)
_OUR_PREFIXES = ("PASSERELLE_", "SLURM_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """How the image is entered: options in front of it, and the site's paths that are seen in it."""

    options: tuple[str, ...]
    binds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One attempt, decided. Paths are the site's, sizes are MiB, times are as named."""

    run: Run
    attempt: int
    namespace: str
    name: str
    partition: str
    account: str | None
    qos: str | None
    reservation: str | None
    nodes: int
    gpus_per_node: int
    gpu_type: str | None
    tasks_per_node: int
    processes_per_task: int
    cpus_per_task: int
    memory_per_node_mib: int | None
    time_limit_minutes: int
    launcher: str
    agent: tuple[str, ...]
    image: str
    container: Container | None
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_dir: str | None
    mounts: Mounts
    run_root: str
    progress_period_seconds: int

    @property
    def marker(self) -> str:
        return self.run.marker(self.attempt)

    @property
    def run_directory(self) -> str:
        """Shared by the attempts of the run: the fence stands here."""
        return f"{self.run_root}/{self.run.key}"

    @property
    def log_path(self) -> str:
        """The job's log; flat in the run root, since older releases let a job die whose log directory is missing."""
        return f"{self.run_root}/{self.marker}-%j.log"

    @property
    def tasks(self) -> int:
        """Slurm tasks in all."""
        return self.nodes * self.tasks_per_node

    @property
    def world_size(self) -> int:
        """Trainer processes in all."""
        return self.tasks * self.processes_per_task


def plan(  # noqa: PLR0913 -- the whole of what an attempt depends on, by name
    job: TrainingJobSpec,
    site: SiteSpec,
    profile: Profile,
    *,
    run: Run,
    attempt: int,
    namespace: str,
    name: str,
    namespace_labels: Mapping[str, str],
    files: Sequence[tuple[str, bytes]],
) -> Plan:
    """Decide one attempt. Raises Invalid, whose message says what to write instead."""
    entry = admission.admitted(site, job.site, namespace, namespace_labels)
    partition = _partition(site, profile)
    size = sizing.size(job, partition)
    launch = LAUNCHERS[job.launcher](size, profile)
    cpus_per_gpu = job.cpus_per_gpu or partition.cpus_per_gpu
    return Plan(
        run=run,
        attempt=attempt,
        namespace=namespace,
        name=name,
        partition=partition.name,
        account=admission.account(entry, job.account),
        qos=admission.qos(entry, job.qos),
        reservation=job.reservation,
        nodes=size.nodes,
        gpus_per_node=size.gpus_per_node,
        gpu_type=partition.gpu_type,
        tasks_per_node=launch.tasks_per_node,
        processes_per_task=launch.processes_per_task,
        cpus_per_task=cpus_per_gpu * launch.processes_per_task,
        memory_per_node_mib=sizing.memory_mib(job, partition, size.gpus_per_node),
        time_limit_minutes=sizing.time_limit_minutes(job, partition),
        launcher=job.launcher,
        agent=launch.agent,
        image=_image(job.image),
        container=_container(profile),
        command=(*job.command, *job.args),
        environment=_environment(job, profile, launch, cpus_per_gpu),
        working_dir=job.working_dir,
        mounts=_mounts(profile, files),
        run_root=_run_root(site),
        progress_period_seconds=seconds(site.progress_period),
    )


def _partition(site: SiteSpec, profile: Profile) -> Partition:
    name = site.partition or profile.default_partition
    found = profile.partition(name)
    if found is None:
        known = ", ".join(each.name for each in profile.partitions)
        text = f"The Site's partition {name!r} is not in profile {site.profile}; its administrator can write {known}."
        raise Invalid(text, reason="PartitionNotFound")
    return found


def _image(image: str) -> str:
    if not image.startswith("/"):
        text = (
            f"image {image!r} is no path, and images from registries are not supported yet; write the absolute path "
            "of a SIF file at the site, like /scratch/images/train.sif."
        )
        raise Invalid(text, reason="ImageNotSupported")
    return image


def _container(profile: Profile) -> Container | None:
    if profile.apptainer is None:
        return None
    return Container(options=tuple(profile.apptainer.options), binds=tuple(profile.apptainer.binds))


def _environment(
    job: TrainingJobSpec, profile: Profile, launch: Launch, cpus_per_gpu: int
) -> tuple[tuple[str, str], ...]:
    """The trainer's variables, the user's last: what the operator only proposes, a user may change."""
    proposed = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(cpus_per_gpu)}
    for each in job.env:
        if each.name in _OURS or each.name.startswith(_OUR_PREFIXES):
            text = f"env: {each.name} is set for every trainer process; leave it out, or give yours another name."
            raise Invalid(text, reason="VariableReserved")
    own = {each.name: each.value for each in job.env}
    return tuple(sorted((proposed | profile.environment | dict(launch.environment) | own).items()))


def _mounts(profile: Profile, files: Sequence[tuple[str, bytes]]) -> Mounts:
    found = mounts(files)
    if found.files and profile.apptainer is None:
        text = (
            "files need a container, and this Site has no container runtime; put them at the site, and leave files out."
        )
        raise Invalid(text, reason="FilesNotSupported")
    return found


def _run_root(site: SiteSpec) -> str:
    root = site.run_root.rstrip("/")
    if not SAFE_PATH.fullmatch(root):
        text = f"The Site's runRoot {root!r} may hold only letters, digits and . _ + @ = ~ - between slashes."
        raise Invalid(text, reason="RunRootInvalid")
    return root

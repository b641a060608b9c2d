"""TrainingJob x Site x attempt -> Plan: every choice made, no text. Pure.

What the user left open comes from the site's profile; nothing of it is ever written into spec. What can't be planned is
refused here, with what to write instead, so a Plan that exists can be rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from passerelle import admission, body, grace, sizing
from passerelle.batch import GpuRequest
from passerelle.brought import Brought
from passerelle.container import Container, container
from passerelle.errors import Invalid
from passerelle.launch import LAUNCHERS, Launch, Step, step
from passerelle.marker import Run
from passerelle.mounts import SAFE_PATH, Mounts, mounts
from passerelle.onsite import places
from passerelle.periods import periods
from passerelle.profiles import Profile
from passerelle.routing import route, time_limit_minutes
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

_OURS = frozenset(
    {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "HOME"}
)
_OUR_PREFIXES = ("PASSERELLE_", "SLURM_")
_OFFLINE = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "WANDB_MODE": "offline",
}
"""Where nodes reach no internet, or nobody knows: libraries fail at once instead of waiting for it."""

PULL_SECONDS = 1800
"""What an image of a registry may take: the whole allocation waits for it."""
_LAST_WORDS_SECONDS = 120
"""Of a shorter time limit, what must be left to say that none came."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt lies at the site, before there is a Plan to say so."""

    run_directory: str
    marker: str


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
    gpu_request: GpuRequest
    gpu_type: str | None
    tasks_per_node: int
    processes_per_task: int
    cpus_per_task: int
    threads_per_core: int | None
    memory_per_node_mib: int | None
    time_limit_minutes: int
    grace_seconds: int | None
    """How long the trainer has to save a checkpoint before the time limit; None: the limit ends the run."""
    exclude: tuple[str, ...]
    """Nodes through which earlier attempts failed."""
    launcher: str
    is_body: bool
    """The command is a script of the user's, which starts its own tasks."""
    agent: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    step: Step
    image: str
    container: Container | None
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_dir: str | None
    mounts: Mounts
    is_sealed: bool
    """Secrets travel with it, in a file of their own."""
    run_root: str
    progress_period_seconds: int
    comment_period_seconds: int | None
    """None: nobody could read a comment of the job."""
    contact: str = ""
    """By whom a site's administrator is answered who asks about the job."""

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
    def report_path(self) -> str:
        """Where the attempt writes how it goes on."""
        return places.report(self.run_directory, self.attempt)

    @property
    def sealed_path(self) -> str:
        """Where the file with the Secrets is written, for the attempt to take."""
        return sealed_path(self.run_directory, self.marker)

    @property
    def warning_seconds(self) -> int | None:
        """How long before the time limit Slurm is asked to warn the batch script."""
        return None if self.grace_seconds is None else grace.warning_seconds(self.grace_seconds)

    @property
    def pull_seconds(self) -> int:
        """How long the job waits for an image of a registry: its time limit never ends it without a word."""
        limit = self.time_limit_minutes * 60
        return min(PULL_SECONDS, max(limit - _LAST_WORDS_SECONDS, limit // 2))

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
    brought: Brought,
    exclude: Sequence[str] = (),
    run_root: str = "",
) -> Plan:
    """Decide one attempt. Raises Invalid, whose message says what to write instead. `run_root` is what the run began
    in; `""`: it has not begun, and the Site's counts.
    """
    entry = admission.admitted(site, job.site, namespace, namespace_labels)
    script = body.body(job, brought.files)
    job = body.filled(job, script)
    account = admission.account(entry, job.account)
    chosen = route(job, profile, partition=site.partition, qos=admission.qos(entry, job.qos), account=account)
    partition, size = chosen.partition, chosen.size
    launch = LAUNCHERS[job.launcher](size, profile)
    cpus_per_gpu = job.cpus_per_gpu or partition.cpus_per_gpu
    tasks_per_node = body.tasks_per_node(script, partition.name, size) or launch.tasks_per_node
    minutes = time_limit_minutes(job, profile, chosen)
    often = periods(site, profile)
    root = run_root or _run_root(site)
    place = Place(f"{root}/{run.key}", run.marker(attempt))
    return Plan(
        run=run,
        attempt=attempt,
        namespace=namespace,
        name=name,
        partition=partition.name,
        account=account,
        qos=chosen.qos,
        reservation=job.reservation,
        nodes=size.nodes,
        gpus_per_node=size.gpus_per_node,
        gpu_request=partition.gpu_request,
        gpu_type=partition.gpu_type,
        tasks_per_node=tasks_per_node,
        processes_per_task=launch.processes_per_task,
        cpus_per_task=body.cpus_per_task(script) or max(1, cpus_per_gpu * size.gpus_per_node // tasks_per_node),
        threads_per_core=partition.threads_per_core,
        memory_per_node_mib=sizing.memory_mib(job, partition, size.gpus_per_node),
        time_limit_minutes=minutes,
        grace_seconds=grace.grace_seconds(job.checkpoint, minutes) if job.checkpoint is not None else None,
        exclude=tuple(exclude),
        launcher=job.launcher,
        is_body=launch.is_body,
        agent=launch.agent,
        variables=launch.variables,
        step=step(launch, size, partition, profile, cpus_per_gpu=cpus_per_gpu),
        image=job.image,
        container=_container(job, profile, root, place),
        command=(*job.command, *job.args),
        environment=_environment(job, profile, launch, cpus_per_gpu, place, brought),
        working_dir=job.working_dir,
        mounts=_mounts(job, profile, brought),
        is_sealed=brought.sealed is not None,
        run_root=root,
        progress_period_seconds=often.progress,
        comment_period_seconds=often.comment,
        contact=site.contact or "",
    )


def sealed_path(run_directory: str, marker: str) -> str:
    """Where the file with an attempt's Secrets is written."""
    return f"{run_directory}/{marker}.sealed"


def check_variable(name: str, origin: str = "env") -> None:
    """Raises Invalid for a variable that is the launch's own; `origin` is the field, and what brings it there."""
    if name in _OURS or name.startswith(_OUR_PREFIXES):
        text = f"{origin}: {name} is set for every trainer process; leave it out, or give yours another name."
        raise Invalid(text, reason="VariableReserved")


def _container(job: TrainingJobSpec, profile: Profile, root: str, place: Place) -> Container | None:
    """The way into the image; it shows what the site shows to all, and the job's data."""
    own = f"{place.run_directory}/{place.marker}.sif"
    shared = place.run_directory if job.image_pull_secrets else root
    found = container(job.image, profile, images=f"{shared}/images", attempt_image=own)
    if found is None:
        return None
    if job.image_pull_secrets and not job.image.startswith("/") and found.pull is None:
        text = f"imagePullSecrets: {found.kind} fetches images by itself, with logins that lie at the site; leave"
        raise Invalid(f"{text} imagePullSecrets out, and put yours there.", reason="LoginNotSupported")
    data = (each.path.rstrip("/") for each in job.data if each.path != job.image)
    return replace(found, binds=tuple(dict.fromkeys((*found.binds, *data))))


def _environment(
    job: TrainingJobSpec, profile: Profile, launch: Launch, cpus_per_gpu: int, place: Place, brought: Brought
) -> tuple[tuple[str, str], ...]:
    """The trainer's variables, the user's last: what the operator only proposes, a user may change."""
    proposed = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(cpus_per_gpu), **_caches(profile, place)}
    if not profile.egress.compute:
        proposed |= _OFFLINE
    for each in job.env:
        check_variable(each.name)
    for name, origin in brought.origins:
        check_variable(name, origin)
    own = dict(brought.environment) | {each.name: each.value for each in job.env if each.value_from is None}
    site = profile.fabric.environment | profile.launch.environment
    return tuple(sorted((proposed | site | dict(launch.environment) | own).items()))


def _caches(profile: Profile, place: Place) -> dict[str, str]:
    """Where libraries keep what they fetch and compile. Images name places of their own, which can't be written.

    MIOpen's databases break on Lustre: they are each node's own.
    """
    home = f"{place.run_directory}/home/.cache"
    found = {
        "HF_HOME": f"{home}/huggingface",
        "TORCH_HOME": f"{home}/torch",
        "TRITON_CACHE_DIR": f"{home}/triton",
        "XDG_CACHE_HOME": home,
    }
    if profile.gpu.vendor == "amd":
        local = next((each.path for each in profile.file_systems if each.role == "local" and each.path), "/tmp")  # noqa: S108 -- the nodes'
        found |= dict.fromkeys(("MIOPEN_USER_DB_PATH", "MIOPEN_CUSTOM_CACHE_DIR"), f"{local}/{place.marker}-miopen")
    return found


def _mounts(job: TrainingJobSpec, profile: Profile, brought: Brought) -> Mounts:
    sealed = [path for path, _ in brought.sealed.files] if brought.sealed is not None else []
    found = mounts(brought.files, sealed, brought.sealed_folders)
    if found.sealed and job.launcher == "script":
        text = "files: a Secret's files are seen in the image, and launcher script runs outside of it; bring it by env."
        raise Invalid(text, reason="FilesNotSupported")
    if found.folders and profile.runtimes[0].kind == "none" and job.launcher != "script":
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

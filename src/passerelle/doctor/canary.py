"""The canary: a job of one minute that is planned like any other, and what it tells of its node. Pure.

It comes home in its comment, as the metrics of a progress record: `arch/x86_64: 1`. So whatever a TrainingJob needs to
report is proven with it, and it needs no files of the site's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from passerelle.batch import Batch
from passerelle.brought import Brought
from passerelle.doctor.check import Check, ok
from passerelle.errors import Invalid
from passerelle.marker import Run
from passerelle.onsite.codes import SITE_FAULT
from passerelle.plan import Plan, plan
from passerelle.profiles import Profile
from passerelle.progress import parse_comment
from passerelle.render import render
from passerelle.slurm import RemoteJob
from passerelle.v1alpha1.site import Admission, SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

HOST = "example.org"
"""To which a connection is tried: it is there for such uses, and asks for nothing."""

_PROBE = "/canary/probe.sh"


@dataclass(frozen=True, slots=True)
class Canary:
    """A job that may be submitted, and the sentence that says what it costs."""

    plan: Plan
    batch: Batch
    price: str


def canary(name: str, site: SiteSpec, profile: Profile, run: Run) -> Canary:
    """For the Site's first admission. Raises Invalid where none could be planned."""
    if not site.admission:
        text = "spec.admission is empty, so nobody's account can be charged for a canary; write one entry first."
        raise Invalid(text, reason="NobodyAdmitted")
    namespace, labels = _namespace(site.admission[0])
    refusals: list[Invalid] = []
    partition = profile.partition(site.partition or profile.default_partition)
    least = partition.min_nodes if partition is not None else 1
    for size in ({"gpus": 1}, {"nodes": 1}, {"nodes": least}):
        spec = TrainingJobSpec.model_validate(
            {
                "site": name,
                "image": "/",  # any path that is there: the probe runs outside of it
                "launcher": "script",
                "command": ["bash", _PROBE, HOST],
                "timeLimit": "1m",
                **size,
            }
        )
        try:
            made = plan(
                spec,
                site,
                profile,
                run=run,
                attempt=1,
                namespace=namespace,
                name="canary",
                namespace_labels=labels,
                brought=Brought(files=((_PROBE, _probe()),)),
            )
        except Invalid as error:
            refusals.append(error)
            continue
        return Canary(made, render(made), _price(made, profile))
    raise refusals[-1]


def landed(job: RemoteJob, profile: Profile, made: Plan) -> Iterator[Check]:
    """What a canary that has ended tells; `job` is its last record."""
    report = parse_comment(job.comment)
    ending = job.ending
    told = {each.name: each.value for each in report.progress.metrics} if report.progress is not None else {}
    if ending is None or not ending.succeeded:
        yield _failed(job, report.stderr, made)
        return
    yield ok("canary", f"Job {job.job_id} ran, and ended well, on {job.nodes or 'its node'}.")
    if not told:
        text = f"Job {job.job_id} ended well, and its report came not home: TrainingJobs would show no progress."
        fix = "Ask the site whether a plugin of its own takes jobs' comments away, or keeps scontrol from nodes."
        yield Check("canary", "warning", text, fix, "CommentMissing")
        return
    yield from facts(told, profile, made)


def facts(told: Mapping[str, str], profile: Profile, made: Plan) -> Iterator[Check]:
    """Each fact of the node, held against the profile where that says something of it."""
    found = dict(name.split("/", 1) for name in told if "/" in name)
    count = {name.partition("/")[0]: int(float(value)) for name, value in told.items()}
    architecture = found.get("arch", "unknown")
    if architecture != profile.node.architecture:
        text = f"Its node is {architecture}, and profile {profile.name} says {profile.node.architecture}."
        fix = "Images for the wrong one fail at once: name another partition, or another profile."
        yield Check("canary", "wrong", text, fix, "ArchitectureDrift")
    else:
        yield ok("canary", f"Node {found.get('node', '?')} is {architecture}, as the profile says.")
    yield _gpus(found, count, profile, made)
    fabric = found.get("fabric", "none").replace("/", ", ")
    yield ok(
        "canary", f"Fabric: {fabric}." if count.get("fabric") else "Fabric: no InfiniBand or Slingshot device was seen."
    )
    runtimes = found.get("runtime", "none").replace("-", " ").replace("/", ", ")
    yield ok("canary", f"Container runtimes on the node: {runtimes}.")
    yield _egress(found.get("egress", HOST), profile, reached=bool(count.get("egress")))
    yield ok(
        "run root",
        f"{made.run_root} is writable on the node: {found.get('root', '?')}, {count.get('root', 0)} GiB free.",
    )


def _egress(host: str, profile: Profile, *, reached: bool) -> Check:
    if profile.egress.compute and not reached:
        text = f"{host} was not reached from the node within 5 s, and profile {profile.name} says that nodes reach the "
        fix = "Have images and data at the site, or ask the site for the way out."
        return Check("canary", "warning", f"{text}internet.", fix, "EgressDrift")
    known = {True: "yes", False: "no", None: "unknown"}[profile.egress.compute]
    was = "reached" if reached else "not reached within 5 s"
    return ok("canary", f"Internet from the node: {host} was {was}; the profile says {known}.")


def _gpus(found: Mapping[str, str], count: Mapping[str, int], profile: Profile, made: Plan) -> Check:
    seen, given, model = count.get("gpu", 0), count.get("gres", 0), found.get("gpu", "none").replace("-", " ")
    if seen:
        vendor = "amd" if model.startswith("AMD") else "nvidia"
        if vendor != profile.gpu.vendor:
            text = f"Its node has GPUs of {vendor} ({model}), and profile {profile.name} says {profile.gpu.vendor}."
            return Check("canary", "wrong", text, "Name another partition, or another profile.", "GpusDrift")
        return ok("canary", f"GPU: {model}, {seen} of them seen, {given} given by Slurm.")
    if given:
        return ok("canary", f"GPU: Slurm gave {given}; the node has no nvidia-smi or rocm-smi to name it.")
    if made.gpu_request == "none":
        return Check("canary", "warning", "GPU: none was seen.", "Ask the site where they are.", "GpuMissing")
    text = "GPU: one was asked for; Slurm gave none, and none was seen."
    return Check("canary", "wrong", text, "Name a partition with GPUs in spec.partition.", "GpuMissing")


def _failed(job: RemoteJob, said: str, made: Plan) -> Check:
    log = made.log_path.replace("%j", job.slurm_number or job.job_id)
    if job.log_refused:
        text = f"Job {job.job_id} could not open its log in {made.run_root}."
        fix = f"Make the directory at the site, for the Site's user to write in: mkdir -p {made.run_root}"
        return Check("run root", "wrong", text, fix, "RunRootRefused")
    if job.exit_code == SITE_FAULT and not said:
        text = f"Job {job.job_id} ended before it could tell why: most often {made.run_root} is missing at the site."
        fix = f"Make it, for the Site's user to write in: mkdir -p {made.run_root}; where it is, read {log} there."
        return Check("run root", "wrong", text, fix, "RunRootRefused")
    reason = job.ending.reason if job.ending is not None else str(job.state)
    text = f"Job {job.job_id} failed ({reason})" + (f": {said.rstrip('.')}." if said else ".")
    return Check("canary", "wrong", text, f"Its log is {log} at the site.", "CanaryFailed")


def _namespace(first: Admission) -> tuple[str, dict[str, str]]:
    return (first.namespaces[0], {}) if first.namespaces else ("default", dict(first.selector))


def _price(made: Plan, profile: Profile) -> str:
    partition = profile.partition(made.partition)
    gpus = made.gpus_per_node * made.nodes
    asked = f"{made.nodes} node{'' if made.nodes == 1 else 's'} with {gpus} GPU{'' if gpus == 1 else 's'}"
    charged = f"account {made.account}" if made.account else "your default account"
    cost = partition and profile.cost(
        partition,
        made.qos,
        nodes=made.nodes,
        gpus_per_node=made.gpus_per_node,
        cpus_per_node=made.cpus_per_task * made.tasks_per_node,
        memory_per_node_mib=made.memory_per_node_mib,
        minutes=made.time_limit_minutes,
    )
    price = f"at most {cost}" if cost else "a cost that the profile doesn't know"
    quality = f", QoS {made.qos}" if made.qos else ""
    return (
        f"The canary asks for {asked} for at most {made.time_limit_minutes} min in partition {made.partition}{quality}"
        f": {price}, charged to {charged}."
    )


def _probe() -> bytes:
    return resources.files("passerelle.doctor").joinpath("probe.sh").read_bytes()

"""Request: a TrainingJob, the Site that it goes to, and as much of a plan as there can be. Pure.

Each step of planning is taken by itself, so that one refusal hides nothing that does not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from passerelle import admission, grace
from passerelle.container import Container, container
from passerelle.errors import Invalid
from passerelle.plan import check_variable
from passerelle.preflight.words import Words, read
from passerelle.profiles import Cost, Partition, Profile
from passerelle.routing import Route, route, time_limit_minutes
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.site import Admission, SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

Refusals = tuple[tuple[str | None, Invalid], ...]


@dataclass(frozen=True)
class Request:
    """`entry` is the Site's that admits the namespace; None where nobody knows it, and then anyone may charge all."""

    job: TrainingJobSpec
    site: SiteSpec
    profile: Profile
    entry: Admission | None

    @cached_property
    def account(self) -> str | Invalid | None:
        return self._admitted("account")

    @cached_property
    def qos(self) -> str | Invalid | None:
        """As the job or its admission names it."""
        return self._admitted("qos")

    @property
    def account_name(self) -> str | None:
        """The account, where it isn't refused."""
        return None if isinstance(self.account, Invalid) else self.account

    @property
    def qos_name(self) -> str | None:
        """The QoS that is named, where it isn't refused."""
        return None if isinstance(self.qos, Invalid) else self.qos

    @cached_property
    def route(self) -> Route | Invalid | None:
        """None: what it depends on was refused."""
        account, qos = self.account, self.qos
        if isinstance(account, Invalid) or isinstance(qos, Invalid):
            return None
        return self.routed(self.job, qos, account)

    @cached_property
    def minutes(self) -> int | Invalid | None:
        """The time limit as Slurm counts it; None: what it depends on was refused."""
        return time_limit(self.job, self.profile, self.route) if isinstance(self.route, Route) else None

    @cached_property
    def container(self) -> Container | Invalid | None:
        """How the image is entered; None where trainers run on the nodes as they are."""
        try:
            return container(self.job.image, self.profile, images="", attempt_image="")
        except Invalid as error:
            return error

    @property
    def image(self) -> Invalid | None:
        """Why the site can't enter the image."""
        return self.container if isinstance(self.container, Invalid) else None

    @cached_property
    def grace(self) -> int | Invalid | None:
        """Seconds; None: there is no checkpoint, or what it depends on was refused."""
        if self.job.checkpoint is None or not isinstance(self.minutes, int):
            return None
        try:
            return grace.grace_seconds(self.job.checkpoint, self.minutes)
        except Invalid as error:
            return error

    @cached_property
    def refusals(self) -> Refusals:
        """What planning refuses, with the field where it isn't the reason's own."""
        steps = (self.account, self.qos, self.route, self.minutes, self.grace, self.image)
        found: list[tuple[str | None, Invalid]] = [(None, step) for step in steps if isinstance(step, Invalid)]
        for place, variable in enumerate(self.job.env):
            try:
                check_variable(variable.name)
            except Invalid as error:
                found.append((f"spec.env[{place}]", error))
        return tuple(found)

    @cached_property
    def placed(self) -> Route | None:
        """The route, where there is one."""
        return self.route if isinstance(self.route, Route) else None

    @cached_property
    def partition(self) -> Partition | None:
        """Where the job goes or, where that can't be told, where the Site's jobs go."""
        if self.placed is not None:
            return self.placed.partition
        return self.profile.partition(self.site.partition or self.profile.default_partition)

    @cached_property
    def words(self) -> Words:
        return read(self.job.command, self.job.args)

    @cached_property
    def asked_minutes(self) -> int:
        """timeLimit, rounded up, whatever is taken."""
        return -(-seconds(self.job.time_limit) // 60)

    @property
    def is_script(self) -> bool:
        """Whether command runs once and starts the trainers itself."""
        launcher: str = self.job.launcher
        return launcher == "script"

    @property
    def processes(self) -> int | None:
        """Trainer processes that the launch starts in all, one for each GPU; None: nobody knows."""
        if self.is_script or self.placed is None:
            return None
        return self.placed.size.nodes * self.placed.size.gpus_per_node

    @property
    def takes_whole_nodes(self) -> bool:
        """Whether nobody else is on the job's nodes; False where that can't be told."""
        placed = self.placed
        return placed is not None and (
            placed.limits.whole_nodes or placed.size.gpus_per_node == placed.partition.gpus_per_node
        )

    @property
    def cpus_per_process(self) -> int | None:
        """Slurm's CPUs of one trainer process; None: nobody knows."""
        if self.is_script or self.partition is None:
            return None
        if self.job.cpus_per_gpu is not None:
            return self.job.cpus_per_gpu
        return None if self.partition.confidence == "low" else self.partition.cpus_per_gpu

    @cached_property
    def sharing(self) -> Partition | None:
        """Another partition, where a job of less than a node shares it and pays its part; None: it fits none, or more
        than an account is needed there. The one that takes the longest jobs.
        """
        here, found = self.partition, []
        for each in self.profile.partitions:
            if each == here or each.whole_nodes or each.needs_reservation or each.right is not None:
                continue
            there = self.routed(self.job, self.qos_name, self.account_name, partition=each.name)
            if isinstance(there, Route) and isinstance(time_limit(self.job, self.profile, there), int):
                found += [each] if there.size.nodes * there.size.gpus_per_node < each.gpus_per_node else []
        return max(found, key=lambda each: each.max_time_minutes or 0, default=None)

    def routed(
        self, job: TrainingJobSpec, qos: str | None, account: str | None, partition: str | None = None
    ) -> Route | Invalid:
        try:
            return route(job, self.profile, partition=partition or self.site.partition, qos=qos, account=account)
        except Invalid as error:
            return error

    def takes(self, job: TrainingJobSpec, qos: str | None) -> bool:
        """Whether a job, changed perhaps, would be planned under this QoS."""
        found = self.routed(job, qos, self.account_name)
        return isinstance(found, Route) and isinstance(time_limit(job, self.profile, found), int)

    def cost(self, *, gpus: int | None = None, cpus: int | None = None, memory_mib: int | None = None) -> Cost | None:
        """Of one attempt that runs for its whole timeLimit; GPUs and CPUs of a node, the plan's where None."""
        placed = self.placed
        if placed is None:
            return None
        held = gpus or placed.size.gpus_per_node
        each = self.job.cpus_per_gpu or placed.partition.cpus_per_gpu
        return self.profile.cost(
            placed.partition,
            placed.qos,
            nodes=placed.size.nodes,
            gpus_per_node=held,
            cpus_per_node=held * each if cpus is None else cpus,
            memory_per_node_mib=memory_mib,
            minutes=self.asked_minutes,
        )

    def _admitted(self, field: str) -> str | Invalid | None:
        asked: str | None = getattr(self.job, field)
        if self.entry is None:
            return asked
        try:
            return (admission.account if field == "account" else admission.qos)(self.entry, asked)
        except Invalid as error:
            return error


def time_limit(job: TrainingJobSpec, profile: Profile, chosen: Route) -> int | Invalid:
    """Minutes, or why not."""
    try:
        return time_limit_minutes(job, profile, chosen)
    except Invalid as error:
        return error

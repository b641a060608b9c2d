"""Where a job of its size goes: partition and QoS. Pure.

What a Site, its admission or a TrainingJob names is kept. What nobody names follows the profile: the default partition,
a larger one where the job has more nodes than that takes, and the first QoS that is meant to be taken by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from passerelle import sizing
from passerelle.errors import Invalid
from passerelle.launch import Size
from passerelle.profiles import Limits, Partition, Profile
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

_SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Route:
    """A partition, a QoS (None: the site's default), and the job's size there."""

    partition: Partition
    qos: str | None
    limits: Limits
    size: Size

    @property
    def longest_minutes(self) -> int | None:
        """The longest time limit that is taken; None: unknown."""
        together = self.limits.max_node_minutes
        bounds = [self.limits.max_time_minutes, together and together // self.size.nodes]
        return min((each for each in bounds if each is not None), default=None)

    @property
    def where(self) -> str:
        """For a sentence."""
        return f"partition {self.partition.name}" + (f" with qos {self.qos}" if self.qos else "")


def route(
    job: TrainingJobSpec, profile: Profile, *, partition: str | None, qos: str | None, account: str | None
) -> Route:
    """The first that takes so many nodes; `partition` and `qos` as named, if at all. Raises Invalid where none does."""
    tried: list[Route] = []
    for each in _partitions(profile, partition, reserved=job.reservation is not None):
        for quality in _qualities(profile, each, qos, account):
            limits = profile.limits(each, quality)
            found = Route(each, quality, limits, sizing.size(job, each, whole_nodes=limits.whole_nodes))
            if limits.min_nodes <= found.size.nodes <= (_most(profile, found) or found.size.nodes):
                _check_whole(found)
                return found
            tried.append(found)
    raise _refusal(job, profile, tried)


def time_limit_minutes(job: TrainingJobSpec, profile: Profile, chosen: Route) -> int:
    """The job's time limit as Slurm counts it, rounded up. Raises Invalid with the longest that is taken there."""
    minutes, longest = -(-seconds(job.time_limit) // _SECONDS_PER_MINUTE), chosen.longest_minutes
    if longest is None or minutes <= longest:
        return minutes
    text = f"timeLimit {job.time_limit} is longer than {chosen.where} allows; write at most {sizing.duration(longest)}"
    longer = [
        each.name
        for each in profile.qos
        if chosen.partition.name in each.partitions
        and (each.max_time_minutes or 0) >= minutes
        and (each.min_nodes or 1) <= chosen.size.nodes <= (each.max_nodes or chosen.size.nodes)
    ]
    also = f", or qos: {longer[0]}, where the Site admits it" if longer else ""
    raise Invalid(f"{text}{also}.", reason="TimeLimitTooLong")


def _partitions(profile: Profile, named: str | None, *, reserved: bool) -> Iterator[Partition]:
    found = profile.partition(named or profile.default_partition)
    if found is None:
        known = ", ".join(each.name for each in profile.partitions)
        text = f"The Site's partition {named!r} is not in profile {profile.name}; its administrator can write {known}."
        raise Invalid(text, reason="PartitionNotFound")
    yield found
    while named is None and found.larger is not None and (found := profile.partition(found.larger)) is not None:
        if reserved or not found.needs_reservation:
            yield found


def _qualities(profile: Profile, partition: Partition, named: str | None, account: str | None) -> list[str | None]:
    if named is not None:
        return [named]
    if profile.qos_rule.is_account:
        return [account]
    own = [each for each in profile.qos if partition.name in each.partitions]
    found: list[str | None] = [each.name for each in own if each.automatic]
    return found if profile.qos_rule.required and found else [None, *found]


def _most(profile: Profile, route: Route) -> int | None:
    """The most nodes of the job's kind that are taken; where the limit is unknown, those that exist."""
    limits = route.limits
    by_gpus = limits.max_gpus and max(limits.max_gpus // route.size.gpus_per_node, 1)
    return min((each for each in (limits.max_nodes or profile.node.count, by_gpus) if each is not None), default=None)


def _check_whole(route: Route) -> None:
    """A partition of whole nodes gives them to any job; a QoS of whole nodes wants the job to ask for them."""
    partition = route.partition
    if route.limits.whole_nodes and not partition.whole_nodes and route.size.gpus_per_node < partition.gpus_per_node:
        text = f"gpusPerNode: {route.where} takes whole nodes only; leave gpusPerNode out."
        raise Invalid(text, reason="WholeNodesOnly")


def _refusal(job: TrainingJobSpec, profile: Profile, tried: list[Route]) -> Invalid:
    asked = f"nodes: {job.nodes}" if job.nodes is not None else f"gpus: {job.gpus}"
    most, largest = max(((_most(profile, each) or 0, each) for each in tried), key=lambda pair: pair[0])
    if largest.size.nodes > most:
        text = f"{asked} is more than {largest.where} takes; write at most {_amount(job, largest, most)}."
        return Invalid(text, reason="NodesTooMany")
    least, smallest = min(((each.limits.min_nodes, each) for each in tried), key=lambda pair: pair[0])
    text = f"{asked} is less than {smallest.where} takes; write at least {_amount(job, smallest, least)}."
    return Invalid(text, reason="NodesTooFew")


def _amount(job: TrainingJobSpec, route: Route, nodes: int) -> str:
    """So many nodes, as the job counts its size."""
    if job.nodes is not None:
        return f"nodes: {nodes}"
    return f"gpus: {nodes * (job.gpus_per_node or route.partition.gpus_per_node)}"

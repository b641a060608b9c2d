"""Profile: facts about one supercomputer, in groups, each with where it was read and how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pydantic import Field, model_validator

from passerelle.profiles.billing import Billing, Cost, cost
from passerelle.profiles.facts import Facts, Text, Word
from passerelle.profiles.machine import (
    ACTS_PER_SECOND,
    LEAST_COMMENT_PERIOD_SECONDS,
    LEAST_PERIOD_SECONDS,
    Egress,
    Fabric,
    FileSystem,
    Gateway,
    Gotcha,
    Gpu,
    LaunchFacts,
    Login,
    Machine,
    Node,
    Policy,
    Polling,
    Runtime,
)
from passerelle.profiles.partition import Accounts, Limits, Partition, Qos, QosRule, limits
from passerelle.v1alpha1.meta import Model


class Profile(Model):
    """One supercomputer's GPU side. The order of fields is the order of the files, and of `sites show`."""

    name: Word
    """The file's name; it isn't written in the file."""
    description: Text
    sources: dict[Word, Text] = Field(min_length=1, max_length=32)
    """What was read: a short key, and an address or a title."""
    machine: Machine
    node: Node
    gpu: Gpu
    default_partition: Word
    """Of a Site that names none; never the site's own default, which may have no GPUs."""
    partitions: list[Partition] = Field(min_length=1, max_length=64)
    qos_rule: QosRule
    qos: list[Qos] = Field(default_factory=list, max_length=64)
    accounts: Accounts
    billing: Billing
    fabric: Fabric
    launch: LaunchFacts
    runtimes: list[Runtime] = Field(min_length=1, max_length=8)
    """In order of preference."""
    egress: Egress
    file_systems: list[FileSystem] = Field(default_factory=list, max_length=32)
    gateways: list[Gateway] = Field(default_factory=list, max_length=16)
    login: Login
    policy: Policy | None = None
    polling: Polling | None = None
    gotchas: list[Gotcha] = Field(default_factory=list, max_length=64)

    @property
    def least_period_seconds(self) -> int:
        """How often the machine may be looked at, at most."""
        return self.polling.least_period_seconds if self.polling is not None else LEAST_PERIOD_SECONDS

    @property
    def least_comment_period_seconds(self) -> int:
        """How often a running job of the machine may write its comment, at most."""
        return self.polling.least_comment_period_seconds if self.polling is not None else LEAST_COMMENT_PERIOD_SECONDS

    @property
    def acts_per_second(self) -> float:
        """How many calls may submit or end jobs there in a second, at most."""
        return self.polling.acts_per_second if self.polling is not None else ACTS_PER_SECOND

    def partition(self, name: str) -> Partition | None:
        return next((each for each in self.partitions if each.name == name), None)

    def qos_of(self, partition: Partition, name: str | None) -> Qos | None:
        """The facts about a QoS in a partition; None where none is named, or nothing is known of it."""
        return next((each for each in self.qos if each.name == name and partition.name in each.partitions), None)

    def limits(self, partition: Partition, qos: str | None) -> Limits:
        """What the partition takes under a QoS, of which nothing need be known."""
        return limits(partition, self.qos_of(partition, qos))

    def cost(
        self,
        partition: Partition,
        qos: str | None,
        *,
        nodes: int,
        gpus_per_node: int,
        cpus_per_node: int,
        memory_per_node_mib: int | None,
        minutes: int,
    ) -> Cost | None:
        """What a job costs that runs for so many minutes; None where the formula is unknown."""
        return cost(
            self.billing,
            partition,
            whole_nodes=self.limits(partition, qos).whole_nodes,
            nodes=nodes,
            gpus_per_node=gpus_per_node,
            cpus_per_node=cpus_per_node,
            memory_per_node_mib=memory_per_node_mib,
            minutes=minutes,
        )

    def groups(self) -> Iterator[tuple[str, Facts]]:
        """Every group of facts, with its place, like `node`, `partitions.standard-g` or `file_systems.scratch.2`."""
        for field in type(self).model_fields:
            value = getattr(self, field)
            if isinstance(value, Facts):
                yield field, value
            elif isinstance(value, list):
                seen: Counter[str] = Counter()
                for each in value:
                    place = ".".join([field, *_identity(each)])
                    seen[place] += 1
                    yield place if seen[place] == 1 else f"{place}.{seen[place]}", each

    @model_validator(mode="after")
    def _names_exist(self) -> Profile:
        names = {each.name for each in self.partitions}
        larger = {each.larger for each in self.partitions if each.larger is not None}
        missing = ({self.default_partition} | larger | {name for each in self.qos for name in each.partitions}) - names
        if missing:
            raise ValueError(f"there is no partition {', '.join(sorted(missing))}")
        unread = {key for _, group in self.groups() for key in group.source} - set(self.sources)
        if unread:
            raise ValueError(f"there is no source {', '.join(sorted(unread))}")
        return self


def _identity(group: Facts) -> list[str]:
    """What tells a group of a list from the others."""
    known = (getattr(group, name, None) for name in ("name", "kind", "role"))
    return [each for each in known if each is not None]

"""Partitions and QoS: what may be asked of each, and the limits of the two together.

As in Slurm, a partition's limits hold for every QoS, but for those that the QoS itself states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import Field

from passerelle.batch import GpuRequest
from passerelle.profiles.facts import Count, Facts, Mib, Minutes, Text, Word


class Partition(Facts):
    """One partition. Nodes are inclusive bounds; a bound that is None is unknown."""

    name: Word
    purpose: Text | None = None
    right: Text | None = None
    """What a user needs before the partition takes a job, where that is more than an account."""
    needs_reservation: bool = False
    min_nodes: Count = 1
    max_nodes: Count | None = None
    max_gpus: Count | None = None
    """Of one job; set where that is less than `max_nodes` hold."""
    default_time_minutes: Minutes | None = Field(default=None, alias="defaultTime")
    max_time_minutes: Minutes | None = Field(default=None, alias="maxTime")
    max_node_minutes: Minutes | None = Field(default=None, alias="maxNodeTime")
    """Nodes times minutes; None: no such limit."""
    larger: Word | None = None
    """The partition for jobs of more than `max_nodes`."""
    whole_nodes: bool
    """Jobs get, and pay, nodes with all their GPUs."""
    preempts: bool = False
    """The site may requeue a running job."""
    max_running: Count | None = None
    max_submitted: Count | None = None

    gpus_per_node: int = Field(ge=1, le=64)
    gpu_request: GpuRequest = "gpus-per-node"
    """Slurm's option that asks for GPUs. none: a node comes with all of them."""
    gpu_type: Word | None = None
    gpu_memory_gib: Count | None = None
    """Where it differs from the profile's `gpu`."""
    cpus_per_gpu: int = Field(ge=1, le=1024)
    """The share that goes with a GPU, in Slurm's CPUs."""
    cpus_per_gpu_exact: bool = False
    """The site takes the share alone, no more and no less."""
    included_cpus_per_gpu: Count | None = None
    """The most that a GPU's price covers; more cost more. None: nothing more is known to be billed."""
    threads_per_core: Count | None = None
    """Asked for where set; 1 is Slurm's --hint=nomultithread."""
    memory_allowed: bool = True
    """Whether a job may ask for memory at all."""
    memory_per_gpu_mib: Mib | None = Field(default=None, alias="memoryPerGpu")
    """What is asked for by default. None: the site's own default counts, and none is asked for."""
    included_memory_per_gpu_mib: Mib | None = Field(default=None, alias="includedMemoryPerGpu")
    """As `included_cpus_per_gpu`."""


class Qos(Facts):
    """One quality of service. What it leaves unset is the partition's."""

    name: Word
    purpose: Text | None = None
    right: Text | None = None
    """What a user needs before it may be named; None where everyone may."""
    needs_reservation: bool = False
    reservation: Word | None = None
    """The name of that reservation, where it is one for all."""
    partitions: list[Word] = Field(min_length=1, max_length=16)
    automatic: bool = False
    """Taken where nobody names a QoS and the job's nodes fit it; the first that fits."""
    min_nodes: Count | None = None
    max_nodes: Count | None = None
    max_time_minutes: Minutes | None = Field(default=None, alias="maxTime")
    whole_nodes: bool = False
    """Jobs must ask for whole nodes, though the partition shares them."""
    preempts: bool = False
    max_running: Count | None = None


class QosRule(Facts):
    """Whether a job must name a QoS, and whether that is its account's name."""

    required: bool
    is_account: bool = False


class Accounts(Facts):
    """Slurm accounts. `pattern` is how those of EuroHPC projects look: good for a warning, never for a refusal."""

    required: bool | None = None
    pattern: str | None = Field(default=None, max_length=128)
    suffix: str | None = Field(default=None, max_length=16)
    """What an account for this partition ends with."""
    example: Word | None = None
    command: Text | None = None
    """What lists a user's own at the site."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a partition takes under a QoS. None: unknown."""

    min_nodes: int
    max_nodes: int | None
    max_gpus: int | None
    max_time_minutes: int | None
    max_node_minutes: int | None
    whole_nodes: bool
    preempts: bool


def limits(partition: Partition, qos: Qos | None) -> Limits:
    """The partition's, with those that the QoS states in their place."""
    own = Limits(
        min_nodes=partition.min_nodes,
        max_nodes=partition.max_nodes,
        max_gpus=partition.max_gpus,
        max_time_minutes=partition.max_time_minutes,
        max_node_minutes=partition.max_node_minutes,
        whole_nodes=partition.whole_nodes,
        preempts=partition.preempts,
    )
    if qos is None:
        return own
    return replace(
        own,
        min_nodes=qos.min_nodes or own.min_nodes,
        max_nodes=qos.max_nodes or own.max_nodes,
        max_time_minutes=qos.max_time_minutes or own.max_time_minutes,
        whole_nodes=qos.whole_nodes or own.whole_nodes,
        preempts=qos.preempts or own.preempts,
    )

"""What a job costs: the site's formula as data, and the sum. Pure.

Every formula known has one form: so many units an hour for each GPU that the job holds. On whole nodes it holds all of
them; on shared ones, as many as the largest of its shares (GPUs, CPUs, memory) amounts to.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

from pydantic import Field

from passerelle.profiles.facts import Facts, Text
from passerelle.profiles.partition import Partition

_MINUTES_PER_HOUR = 60

Unit = Literal["GPU-hour", "core-hour", "node-hour"]


class Billing(Facts):
    """How the site bills. `per_gpu_hour` None: the formula is unknown, and so is every cost."""

    unit: Unit | None = None
    per_gpu_hour: float | None = Field(default=None, gt=0)
    """Units for one hour of one GPU, as Slurm counts GPUs, with the CPUs and memory that its price includes."""
    whole_gpus: bool = False
    """Shares are rounded up to whole GPUs."""
    command: Text | None = None
    """What shows the balance at the site."""
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount in the site's unit."""

    amount: float
    unit: Unit

    def __str__(self) -> str:
        return f"{round(self.amount, 3):,.10g} {self.unit}{'' if self.amount == 1 else 's'}"


def cost(
    billing: Billing,
    partition: Partition,
    *,
    whole_nodes: bool,
    nodes: int,
    gpus_per_node: int,
    cpus_per_node: int,
    memory_per_node_mib: int | None,
    minutes: int,
) -> Cost | None:
    """The cost of a job that runs for so many minutes; None where the formula is unknown.

    Memory None is the site's default, which no site bills beyond the GPUs.
    """
    if billing.unit is None or billing.per_gpu_hour is None:
        return None
    held: float = partition.gpus_per_node
    if not whole_nodes:
        held = _held(billing, partition, gpus_per_node, cpus_per_node, memory_per_node_mib)
    return Cost(billing.per_gpu_hour * held * nodes * minutes / _MINUTES_PER_HOUR, billing.unit)


def _held(billing: Billing, partition: Partition, gpus: int, cpus: int, memory_mib: int | None) -> float:
    """GPUs of a node that the job's largest share amounts to."""
    shares: list[float] = [gpus]
    if partition.included_cpus_per_gpu is not None:
        shares.append(cpus / partition.included_cpus_per_gpu)
    if partition.included_memory_per_gpu_mib is not None and memory_mib is not None:
        shares.append(memory_mib / partition.included_memory_per_gpu_mib)
    return ceil(max(shares)) if billing.whole_gpus else max(shares)

"""How large a training is: `gpus` in total or `nodes`, and what the partition's nodes hold. Pure.

On shared nodes a total takes the fewest nodes that can hold it, with equally many GPUs on each; on whole nodes, or with
gpusPerNode, it is a multiple of a node. A total that can't be had so is refused with the two nearest that can.
"""

from __future__ import annotations

from passerelle.errors import Invalid
from passerelle.launch import Size
from passerelle.profiles import Partition, mib
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

_MINUTES_PER_HOUR = 60


def size(job: TrainingJobSpec, partition: Partition, *, whole_nodes: bool) -> Size:
    """Nodes, and GPUs of each. Raises Invalid with what to write instead."""
    if job.gpus is not None and job.nodes is not None:
        raise Invalid("Write either gpus or nodes, not both.", reason="SizeInvalid")
    most = partition.gpus_per_node
    if job.gpus_per_node is not None and job.gpus_per_node > most:
        text = (
            f"gpusPerNode is {job.gpus_per_node}; nodes of partition {partition.name} have {most} GPUs: write at most"
        )
        raise Invalid(f"{text} {most}.", reason="TooManyGpusPerNode")
    if job.nodes is not None:
        return Size(job.nodes, job.gpus_per_node or most)
    if job.gpus is None:
        raise Invalid("Write gpus, the number of GPUs in total, or nodes, the number of nodes.", reason="SizeInvalid")
    fixed = job.gpus_per_node or (most if whole_nodes else None)
    found = _split(job.gpus, fixed, most)
    if found is None:
        below = next((total for total in range(job.gpus - 1, 0, -1) if _split(total, fixed, most)), None)
        above = next(total for total in range(job.gpus + 1, 2 * job.gpus + most + 1) if _split(total, fixed, most))
        each = f"{fixed} GPUs each" if fixed else f"equally many of their {most} GPUs"
        near = f"gpus: {above}" if below is None else f"gpus: {below} or gpus: {above}"
        text = f"gpus: {job.gpus} can't be had from nodes of partition {partition.name} with {each}; write {near}."
        raise Invalid(text, reason="TotalNotPossible")
    return found


def _split(total: int, fixed: int | None, most: int) -> Size | None:
    """The total on equal nodes, or None: on nodes of `fixed` GPUs, else on the fewest nodes of at most `most`."""
    nodes = -(-total // (fixed or most))
    per_node = fixed or total // nodes
    return Size(nodes, per_node) if nodes * per_node == total else None


def memory_mib(job: TrainingJobSpec, partition: Partition, gpus_per_node: int) -> int | None:
    """Memory of each node; None leaves it to the site."""
    if job.memory is not None:
        return mib(job.memory)
    share = partition.memory_per_gpu_mib
    return None if share is None else share * gpus_per_node


def duration(minutes: int) -> str:
    """Minutes as a Duration: 90 is `1h30m`."""
    hours, rest = divmod(minutes, _MINUTES_PER_HOUR)
    return (f"{hours}h" if hours else "") + (f"{rest}m" if rest or not hours else "")

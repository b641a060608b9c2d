"""How the batch script and its step begin at a site: its shell, names of nodes, and srun's options. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Partition, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The site's way. `prologue` are variables of the batch shell; None leaves an option of srun out."""

    login_shell: bool
    prologue: tuple[tuple[str, str], ...]
    host_suffix: str
    address: Literal["name", "ip"]
    mpi: str | None
    cpu_bind: str | None
    gpu_bind: str | None


def step(launch: Launch, size: Size, partition: Partition, profile: Profile, *, cpus_per_gpu: int) -> Step:
    """The profile's masks name a whole node's cores, one after the other for each GPU: they hold for one task a GPU
    that has its whole share of a node with all its GPUs, and for nothing else.
    """
    facts = profile.launch
    is_whole = size.gpus_per_node == partition.gpus_per_node and cpus_per_gpu == partition.cpus_per_gpu
    is_masked = is_whole and launch.tasks_per_node == size.gpus_per_node and not launch.is_body
    return Step(
        login_shell=facts.login_shell,
        prologue=tuple(sorted(facts.prologue.items())),
        host_suffix=facts.host_suffix,
        address=facts.address,
        mpi=launch.mpi,
        cpu_bind=facts.cpu_bind if is_masked else None,
        gpu_bind=facts.gpu_bind,
    )

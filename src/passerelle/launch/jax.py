"""jax: one Slurm task a GPU, each a trainer process that calls jax.distributed.initialize() without arguments.

JAX reads number, rank and local device from Slurm's variables of the step, which reach the container. Where the
coordinator listens it would guess from the list of nodes; it is told instead, so that the fabric's name of the node and
a port of this job's own count.
"""

from __future__ import annotations

from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Profile


def launch(size: Size, _profile: Profile) -> Launch:
    return Launch(
        tasks_per_node=size.gpus_per_node,
        processes_per_task=1,
        variables=(("JAX_COORDINATOR_ADDRESS", "{MASTER_ADDR}:{MASTER_PORT}"),),
    )

"""srun: one Slurm task a GPU, and each task is a trainer process.

The default: Slurm binds cores to GPUs, tells every process its rank, and sees each of them end. RANK, LOCAL_RANK,
WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set, as torch.distributed's env:// reads them. Every task sees all GPUs of
its job on the node and picks its own by LOCAL_RANK: hiding the peers breaks peer-to-peer copies.
"""

from __future__ import annotations

from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Profile


def launch(size: Size, _profile: Profile) -> Launch:
    return Launch(tasks_per_node=size.gpus_per_node, processes_per_task=1)

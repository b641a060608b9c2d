"""srun and torchrun: four ranks of torch.distributed add their numbers."""

import os

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
number = torch.tensor([float(dist.get_rank())])
dist.all_reduce(number)
local = os.environ["LOCAL_RANK"]
print(
    f"rank {dist.get_rank()} of {dist.get_world_size()} ({local}) on {os.environ['SLURMD_NODENAME']}: {int(number)}",
    flush=True,
)
dist.destroy_process_group()

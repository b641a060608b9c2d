"""DeepSpeed: four ranks train a model under ZeRO 1, and add their numbers."""

import os

import deepspeed
import torch

deepspeed.init_distributed(dist_backend="gloo")
model = torch.nn.Linear(4, 1)
engine, *_ = deepspeed.initialize(
    model=model,
    optimizer=torch.optim.AdamW(model.parameters(), lr=0.1),
    config={
        "train_micro_batch_size_per_gpu": 2,
        "zero_optimization": {"stage": 1},
        "zero_allow_untested_optimizer": True,
    },
)
for _ in range(2):
    loss = engine(torch.ones(2, 4)).pow(2).mean()
    engine.backward(loss)
    engine.step()
rank, world = deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()
number = torch.tensor([float(rank)])
deepspeed.comm.all_reduce(number)
print(
    f"rank {rank} of {world} ({os.environ['LOCAL_RANK']}) on {os.environ['SLURMD_NODENAME']}: {int(number)}", flush=True
)
deepspeed.comm.destroy_process_group()

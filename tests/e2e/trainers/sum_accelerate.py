"""Accelerate: four ranks prepare a model, take a step on it, and add their numbers."""

import os

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

# by itself it would take MPI, which Debian's PyTorch has, too
accelerator = Accelerator(cpu=True, kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])
model = torch.nn.Linear(4, 1)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
loss = model(torch.ones(2, 4)).pow(2).mean()
accelerator.backward(loss)
optimizer.step()
rank = accelerator.process_index
total = accelerator.reduce(torch.tensor([float(rank)]), reduction="sum")
where = f"({accelerator.local_process_index}) on {os.environ['SLURMD_NODENAME']}"
print(f"rank {rank} of {accelerator.num_processes} {where}: {int(total)}", flush=True)
accelerator.end_training()

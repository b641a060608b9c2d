"""A distributed training to copy from: PyTorch DDP, on GPUs with NCCL, on CPUs with gloo.

Passerelle starts one such process a GPU and sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Lines of
JSON that rank 0 appends to $PASSERELLE_PROGRESS_FILE show up in `kubectl get tj`: step, totalSteps, percentage and
etaSeconds are understood, every other number is a metric.
"""

import argparse
import json
import os
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def report(**values: float) -> None:
    """Append one line of progress; nothing where nobody reads it."""
    path = os.environ.get("PASSERELLE_PROGRESS_FILE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds-per-step", type=float, default=0.0, help="pretend to compute")
    parser.add_argument("--fail-rank", type=int, default=-1, help="this rank fails ...")
    parser.add_argument("--fail-at", type=int, default=1, help="... at this step")
    options = parser.parse_args()

    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    assert world == int(os.environ["WORLD_SIZE"]), "the processes did not all meet"
    node = os.environ.get("SLURMD_NODENAME", os.uname().nodename)
    print(f"rank {rank} of {world} on {node}", flush=True)

    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    torch.manual_seed(rank)  # every rank sees data of its own
    model = DistributedDataParallel(torch.nn.Linear(16, 1).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    truth = torch.linspace(-1, 1, 16, device=device)[:, None]
    start = time.monotonic()

    for step in range(1, options.steps + 1):
        inputs = torch.randn(64, 16, device=device)
        wanted = inputs @ truth + 0.3 * torch.randn(64, 1, device=device)
        loss = torch.nn.functional.mse_loss(model(inputs), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(options.seconds_per_step)
        if rank == options.fail_rank and step == options.fail_at:
            sys.exit(f"rank {rank} fails at step {step}, as it was asked to")
        if rank == 0:
            speed = step / (time.monotonic() - start)
            print(f"step {step}/{options.steps} loss {loss.item():.6f}", flush=True)
            eta = (options.steps - step) / speed
            report(step=step, totalSteps=options.steps, etaSeconds=eta, loss=loss.item(), steps_per_second=speed)

    dist.barrier()
    print(f"rank {rank} is done: all {world} ranks took {options.steps} steps", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

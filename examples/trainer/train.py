"""A distributed training to copy from: PyTorch DDP, NCCL on GPUs, gloo on CPUs, over as many time limits as it takes.

Passerelle starts one such process a GPU and sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Lines of
JSON that rank 0 appends to $PASSERELLE_PROGRESS_FILE show up in `kubectl get tj`: step, totalSteps, checkpointStep,
percentage and etaSeconds are understood, every other number is a metric. When $PASSERELLE_STOP_FILE appears, all ranks
save and exit with 215: the next attempt finds the checkpoint in $PASSERELLE_CHECKPOINT_DIR and goes on.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

CONTINUE = 215  # "saved, and there is more to do"
SAMPLES, BATCH = 4096, 64
CHECKPOINT = Path(os.environ.get("PASSERELLE_CHECKPOINT_DIR", ".")) / "latest.pt"
STOP = Path(os.environ.get("PASSERELLE_STOP_FILE", "stop"))


def report(**values: float) -> None:
    """Append one line of progress; nothing where nobody reads it."""
    path = os.environ.get("PASSERELLE_PROGRESS_FILE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def told_to_stop(device: torch.device) -> bool:
    """All ranks must stop after the same step: rank 0 looks, and tells the others."""
    told = torch.tensor(int(dist.get_rank() == 0 and STOP.exists()), device=device)
    dist.broadcast(told, 0)
    return bool(told.item())


def save(step: int, model: DistributedDataParallel, optimizer: torch.optim.Optimizer) -> None:
    """Write one file for all ranks, under its name only once it is whole. Every rank has random numbers of its own."""
    states = [None] * dist.get_world_size()
    dist.all_gather_object(states, torch.get_rng_state())
    if dist.get_rank() == 0:
        whole = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": states}
        new = CHECKPOINT.with_suffix(".new")
        torch.save(whole, new)
        new.replace(CHECKPOINT)
        report(checkpointStep=step)
    dist.barrier()


def load(model: DistributedDataParallel, optimizer: torch.optim.Optimizer) -> int:
    """The step to go on from; 0 where this is the beginning."""
    if not CHECKPOINT.exists():
        return 0
    whole = torch.load(CHECKPOINT, map_location="cpu", weights_only=True)
    model.load_state_dict(whole["model"])
    optimizer.load_state_dict(whole["optimizer"])
    torch.set_rng_state(whole["random"][dist.get_rank()])
    return int(whole["step"])


def indices(step: int, rank: int, world: int) -> torch.Tensor:
    """Which samples this rank sees: the order depends on epoch and step alone, so a later attempt needs no history."""
    epoch, place = divmod((step - 1) * world + rank, SAMPLES // BATCH)
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(epoch))
    return order[place * BATCH : (place + 1) * BATCH]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save-every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--seconds-per-step", type=float, default=0.0, help="pretend to compute")
    parser.add_argument("--fail-rank", type=int, default=-1, help="this rank fails ...")
    parser.add_argument("--fail-at", type=int, default=1, help="... at this step")
    options = parser.parse_args()

    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    rank, world = dist.get_rank(), dist.get_world_size()
    assert world == int(os.environ["WORLD_SIZE"]), "the processes did not all meet"
    node = os.environ.get("SLURMD_NODENAME", os.uname().nodename)
    print(f"rank {rank} of {world} on {node}", flush=True)

    data = torch.randn(SAMPLES, 16, generator=torch.Generator().manual_seed(0))
    truth = torch.linspace(-1, 1, 16)[:, None]
    torch.manual_seed(rank)  # every rank draws numbers of its own
    model = DistributedDataParallel(torch.nn.Linear(16, 1).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.7)
    first = load(model, optimizer)
    print(f"rank {rank} starts after step {first}", flush=True)
    start = time.monotonic()

    for step in range(first + 1, options.steps + 1):
        inputs = data[indices(step, rank, world)]
        wanted = inputs @ truth + 0.3 * torch.randn(BATCH, 1)
        loss = torch.nn.functional.mse_loss(model(inputs.to(device)), wanted.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(options.seconds_per_step)
        if rank == options.fail_rank and step == options.fail_at:
            sys.exit(f"rank {rank} fails at step {step}, as it was asked to")
        if rank == 0:
            speed = (step - first) / (time.monotonic() - start)
            print(f"step {step}/{options.steps} loss {loss.item():.8f}", flush=True)
            eta = (options.steps - step) / speed
            report(step=step, totalSteps=options.steps, etaSeconds=eta, loss=loss.item(), steps_per_second=speed)
        stop = step < options.steps and told_to_stop(device)
        if stop or step % options.save_every == 0:
            save(step, model, optimizer)
        if stop:
            print(f"rank {rank} has saved step {step} and stops", flush=True)
            dist.barrier()  # the first rank that exits has the others ended
            dist.destroy_process_group()
            sys.exit(CONTINUE)

    dist.barrier()
    print(f"rank {rank} is done: all {world} ranks took {options.steps} steps", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

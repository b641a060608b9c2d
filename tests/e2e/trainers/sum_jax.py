"""JAX: four processes find each other from Slurm's variables, and add their numbers."""

import os

import jax
from jax.experimental import multihost_utils

jax.distributed.initialize()
rank, world = jax.process_index(), jax.process_count()
numbers = multihost_utils.process_allgather(jax.numpy.array([rank]))
print(
    f"rank {rank} of {world} ({os.environ['LOCAL_RANK']}) on {os.environ['SLURMD_NODENAME']}: {int(numbers.sum())}",
    flush=True,
)
jax.distributed.shutdown()

"""MPI: four processes that srun started as one world add their numbers."""

import os

from mpi4py import MPI

world = MPI.COMM_WORLD
total = world.allreduce(world.Get_rank())
local = os.environ["LOCAL_RANK"]
print(
    f"rank {world.Get_rank()} of {world.Get_size()} ({local}) on {os.environ['SLURMD_NODENAME']}: {total}", flush=True
)

"""Launchers: how the trainer processes start and find each other. One file a launcher, each a pure function.

A launcher says how many Slurm tasks a node gets, how many trainer processes each of them becomes, and which agent
stands between the two, if any. What every launcher needs (the address and port of the rendezvous, who a task is, the
container) is computed on the site by the batch script, onsite/step.py and onsite/rank.py.
"""

from __future__ import annotations

from collections.abc import Callable

from passerelle.launch import accelerate, deepspeed, jax, mpi, script, srun, torchrun
from passerelle.launch.shape import Launch, Size
from passerelle.launch.step import Step, step
from passerelle.profiles import Profile

__all__ = ["LAUNCHERS", "Launch", "Size", "Step", "step"]

LAUNCHERS: dict[str, Callable[[Size, Profile], Launch]] = {
    "srun": srun.launch,
    "torchrun": torchrun.launch,
    "accelerate": accelerate.launch,
    "deepspeed": deepspeed.launch,
    "jax": jax.launch,
    "mpi": mpi.launch,
    "script": script.launch,
}
"""Keyed by what `spec.launcher` may say."""

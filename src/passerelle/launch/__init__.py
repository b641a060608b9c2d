"""Launchers: how the trainer processes start and find each other. One file a launcher, each a pure function.

A launcher says how many Slurm tasks a node gets, how many trainer processes each of them becomes, and which agent
stands between the two, if any. What every launcher needs (the address and port of the rendezvous, who a task is, the
container) is computed on the site by the batch script and by onsite/rank.py.
"""

from __future__ import annotations

from collections.abc import Callable

from passerelle.launch import srun, torchrun
from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Profile

__all__ = ["LAUNCHERS", "Launch", "Size"]

LAUNCHERS: dict[str, Callable[[Size, Profile], Launch]] = {"srun": srun.launch, "torchrun": torchrun.launch}
"""Keyed by what `spec.launcher` may say."""

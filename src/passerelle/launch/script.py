"""script: the command is a batch script of the user's. It runs once, on the first node, and its srun lines start tasks.

It runs outside the image, where srun is; PASSERELLE_IMAGE names the image to its own lines. The job is the same as
every other: marker, claim, log, progress, the warning before the time limit and the chain of attempts. The allocation
has a task for each GPU, unless the script's #SBATCH lines ask for another number.
"""

from __future__ import annotations

from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Profile


def launch(size: Size, profile: Profile) -> Launch:
    return Launch(tasks_per_node=size.gpus_per_node, processes_per_task=1, mpi=profile.launch.mpi, is_body=True)

"""mpi: one Slurm task a GPU, each an MPI process. srun starts them and is their process manager: no mpiexec.

Which of srun's --mpi that is, the profile says: pmi2 for MPICH and its kin, pmix for Open MPI, cray_shasta for Cray's.
Where it doesn't know, the site's default counts. The image's MPI must speak the same. RANK and the others are set, too,
as for `srun`.
"""

from __future__ import annotations

from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Profile


def launch(size: Size, profile: Profile) -> Launch:
    return Launch(tasks_per_node=size.gpus_per_node, processes_per_task=1, mpi=profile.launch.mpi)

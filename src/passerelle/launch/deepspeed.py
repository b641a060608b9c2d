"""deepspeed: one Slurm task a GPU, each a trainer process with what deepspeed.init_distributed reads.

That is what `srun` sets, and LOCAL_SIZE, which DeepSpeed's own launcher sets beside it. That launcher is never used:
it enters the other nodes by ssh, past Slurm's account of the job. Operators that DeepSpeed compiles when it starts
belong to the attempt: PyTorch's lock on them outlives whoever is killed while he holds it, and would stop the next
attempt for ever.
"""

from __future__ import annotations

from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Profile


def launch(size: Size, _profile: Profile) -> Launch:
    return Launch(
        tasks_per_node=size.gpus_per_node,
        processes_per_task=1,
        variables=(
            ("LOCAL_SIZE", "{LOCAL_WORLD_SIZE}"),
            ("TORCH_EXTENSIONS_DIR", "{PASSERELLE_ATTEMPT_DIR}/torch-extensions"),
        ),
    )

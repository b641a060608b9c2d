"""torchrun: one Slurm task a node, an agent that starts a trainer process for each GPU.

The agents meet in a TCP store of the first node, under static ranks: a node's rank is Slurm's, not the order of
arrival. A PyTorch without libuv can't open that store under torchrun (USE_LIBUV is not heard there); where the profile
says so, the agents meet in a file of the attempt's directory instead, and the trainers then open a store of their own.
"""

from __future__ import annotations

from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Profile


def launch(size: Size, profile: Profile) -> Launch:
    agent = ["torchrun", f"--nnodes={size.nodes}", f"--nproc-per-node={size.gpus_per_node}", "--max-restarts=0"]
    environment: tuple[tuple[str, str], ...] = ()
    if profile.launch.torchrun_rendezvous == "file":
        agent += [
            "--rdzv-backend=c10d",
            "--rdzv-conf=store_type=file,is_host=1",
            "--rdzv-endpoint={PASSERELLE_ATTEMPT_DIR}/rendezvous",
            "--rdzv-id={PASSERELLE_JOB}",
        ]
        environment = (("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1"),)
    else:
        agent += ["--node-rank={NODE_RANK}", "--master-addr={MASTER_ADDR}", "--master-port={MASTER_PORT}"]
    return Launch(tasks_per_node=1, processes_per_task=size.gpus_per_node, agent=tuple(agent), environment=environment)

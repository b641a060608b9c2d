"""accelerate: one Slurm task a node, an agent of Hugging Face Accelerate that starts a trainer process for each GPU.

The agent is torchrun's under another name, and meets the others as torchrun's does. Every choice is an option here: a
configuration file of the image or of the user's home has no say in sizes and addresses. Accelerate refuses --multi_gpu
for one process, and needs it for more, since without a configuration it starts one.
"""

from __future__ import annotations

from passerelle.launch.shape import Launch, Size
from passerelle.profiles import Profile


def launch(size: Size, profile: Profile) -> Launch:
    world = size.nodes * size.gpus_per_node
    agent = ["accelerate", "launch", f"--num_processes={world}", f"--num_machines={size.nodes}"]
    agent += ["--machine_rank={NODE_RANK}", "--mixed_precision=no", "--dynamo_backend=no", "--max_restarts=0"]
    environment: tuple[tuple[str, str], ...] = ()
    if world > 1:
        agent.append("--multi_gpu")
    if profile.launch.torchrun_rendezvous == "file":
        # Accelerate's endpoint is address and port: a file of that name is as good as another
        agent += ["--main_process_ip={PASSERELLE_ATTEMPT_DIR}/rendezvous", "--main_process_port={MASTER_PORT}"]
        agent += ["--rdzv_backend=c10d", "--rdzv_conf=store_type=file,is_host=1"]
        environment = (("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1"),)
    else:
        agent += ["--main_process_ip={MASTER_ADDR}", "--main_process_port={MASTER_PORT}", "--rdzv_backend=static"]
        agent.append("--same_network")
    return Launch(tasks_per_node=1, processes_per_task=size.gpus_per_node, agent=tuple(agent), environment=environment)

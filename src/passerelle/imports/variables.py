"""Environment variables: which of them a trainer brings along, and which it finds. Pure.

A secret's value is never carried over. What a launcher, the profile or Slurm sets is dropped: the old value would lead
to the old cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from passerelle import confidential

READ_IT = "make a Secret of it, and name that by valueFrom in env, or by envFrom"
"""What to do with a secret."""

GIVEN = frozenset(
    {
        "GROUP_RANK",
        "HOME",
        "HOSTNAME",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "NODE_RANK",
        "RANK",
        "SRUN_CPUS_PER_TASK",
        "WORLD_SIZE",
    }
)
"""Who a trainer process is, and where it meets the others."""
_GIVEN_PREFIXES = (
    "PET_",
    "PASSERELLE_",
    "SLURM_",
    "SBATCH_",
    "SKYPILOT_",
    "KUBERNETES_",
    "OMPI_COMM_WORLD_",
    "TORCHELASTIC_",
)
_NETWORK = frozenset(
    {
        "GLOO_SOCKET_IFNAME",
        "NCCL_IB_DISABLE",
        "NCCL_IB_GID_INDEX",
        "NCCL_IB_HCA",
        "NCCL_NET",
        "NCCL_NET_PLUGIN",
        "NCCL_SOCKET_IFNAME",
        "NCCL_TOPO_FILE",
        "FI_EFA_USE_DEVICE_RDMA",
        "FI_PROVIDER",
        "UCX_NET_DEVICES",
    }
)
"""The cards and the topology of one cluster."""
_DEVICES = frozenset(
    {
        "CUDA_DEVICE_ORDER",
        "CUDA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "NVIDIA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
    }
)
_MACHINE = frozenset({"LD_LIBRARY_PATH", "PATH", "PYTHONUNBUFFERED", "PWD", "SHELL", "TMPDIR", "USER"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 8192


_ABSENT = re.compile(r"\b(?:SKYPILOT|PET|TORCHELASTIC|JOB_COMPLETION|OMPI_COMM_WORLD)_[A-Z0-9_]+")


def absent(text: str) -> list[str]:
    """Variables in a text that another system sets, and nobody here: what stands in for them is RANK and its kin."""
    return list(dict.fromkeys(_ABSENT.findall(text)))


def given(name: str) -> bool:
    """Whether every trainer process finds a variable of this name, set for its place and its job."""
    return name in GIVEN or name.startswith(_GIVEN_PREFIXES)


def carried(pairs: Iterable[tuple[str, str]]) -> tuple[list[dict[str, str]], list[str]]:
    """spec.env of these variables, the last of a name, and notes on those that stay behind."""
    env, behind = [], _Behind()
    for name, value in dict(pairs).items():
        if given(name):
            continue
        if confidential.name_promises(name) or confidential.value_shows(value):
            behind.secret.append(name)
        elif name in _NETWORK:
            behind.network.append(name)
        elif name in _DEVICES:
            behind.devices.append(name)
        elif name in _MACHINE:
            behind.machine.append(name)
        elif not _NAME.fullmatch(name) or len(value) > _LONGEST or "\0" in value:
            behind.unfit.append(name)
        else:
            env.append({"name": name, "value": value})
    return env, behind.notes()


class _Behind:
    """What stays behind, by reason."""

    def __init__(self) -> None:
        self.secret: list[str] = []
        self.network: list[str] = []
        self.devices: list[str] = []
        self.machine: list[str] = []
        self.unfit: list[str] = []

    def notes(self) -> list[str]:
        told = {
            f"looks like a secret, and its value is not carried over: {READ_IT}.": self.secret,
            "names the old cluster's network: the Site's profile sets what fits.": self.network,
            "chooses GPUs: Slurm and the launcher do that.": self.devices,
            "belongs to the old machine: the image and the site set it.": self.machine,
            "can't be given to a trainer: write letters, digits and underscores, at most 8192 characters.": self.unfit,
        }
        return [f"env {', '.join(names)}: {text}" for text, names in told.items() if names]

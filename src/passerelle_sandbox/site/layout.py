"""What a site finds when it starts: folders, configuration, keys, an empty database, the user's scratch.

All of it lies in the site's directory and belongs to the users of its root file system, by number.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import cache, ports
from passerelle_sandbox.site import config, rootfs, ssh_server
from passerelle_sandbox.site.config import Ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passerelle_sandbox.site.config import Shape

IMAGE = "/scratch/images/torch.sif"
RUN_ROOT = f"/scratch/{rootfs.USER}/passerelle"

_FOLDERS = ("etc", "log", "state", "spool", "database", "scratch", "root", ssh_server.FOLDER)


def lay_out(directory: Path, root: Path, shape: Shape, files: Mapping[str, str], *, with_image: bool) -> None:
    """What the site finds when it starts: configuration, keys, an empty database, the user's scratch.

    `files` stand in /etc/slurm for everybody to read.
    """
    for folder in _FOLDERS:
        cache.remove(directory / folder)
        (directory / folder).mkdir(parents=True, mode=0o755)
    owner = _users(root)
    etc = directory / "etc"
    for name, text in {**files, "../hosts": config.hosts_file(shape)}.items():
        (etc / name).write_text(text, encoding="utf-8")
    _secret(etc / "slurmdbd.conf", config.slurmdbd_conf(shape).encode(), owner["slurm"])
    _secret(etc / "jwt.key", secrets.token_bytes(32), owner["slurm"])
    _secret(directory / "munge.key", secrets.token_bytes(128), owner["munge"])
    for folder in ("state", "log"):
        os.chown(directory / folder, *owner["slurm"])
    for node in shape.nodes:
        (directory / "spool" / node).mkdir(mode=0o755)
    for daemon in ("slurmctld", "slurmdbd"):  # they open the log that a shell of root began
        (directory / "log" / f"{daemon}.log").touch()
        os.chown(directory / "log" / f"{daemon}.log", *owner["slurm"])
    (directory / "database").rmdir()
    copy = ["cp", "--archive", "--reflink=auto", str(root / rootfs.DATABASE), str(directory / "database")]
    subprocess.run(copy, check=True, timeout=60)
    (directory / "scratch" / "images").mkdir()
    if with_image:
        (directory / "scratch" / "images" / Path(IMAGE).name).touch()
    home = directory / "scratch" / rootfs.USER
    for own in (home, home / Path(RUN_ROOT).name):
        own.mkdir(mode=0o700)
        os.chown(own, *owner[rootfs.USER])


def _secret(file: Path, content: bytes, owner: tuple[int, int]) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)
    os.chown(file, *owner)


def _users(root: Path) -> dict[str, tuple[int, int]]:
    """The uid and gid of every user of a root file system."""
    lines = (line.split(":") for line in (root / "etc/passwd").read_text(encoding="utf-8").splitlines())
    return {each[0]: (int(each[2]), int(each[3])) for each in lines}


def free_ports(nodes: int) -> Ports:
    """Ports on which nobody listens, for every daemon that needs one."""
    slurmctld, slurmdbd, slurmrestd, sshd, *slurmd = ports.free(4 + nodes)
    return Ports(slurmctld, slurmdbd, slurmrestd, sshd, tuple(slurmd))

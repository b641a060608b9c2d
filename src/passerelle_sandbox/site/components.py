"""The daemons of a site: how each is started, how one sees that it serves, how it is stopped and held.

A daemon is named by its command. It serves when it takes connections; whether Slurm as a whole works, others ask.
"""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import processes, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import config, share
from passerelle_sandbox.site.namespace import wait_until
from passerelle_sandbox.site.rootfs import REST_USER

if TYPE_CHECKING:
    from passerelle_sandbox.site.namespace import Namespace

LOGS = "/var/log/slurm"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
PROBE_TIMEOUT = 1.0
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Component:
    """One kind of daemon; `argvs` holds one command for each process of it, `addresses` what they listen on."""

    name: str
    argvs: tuple[tuple[str, ...], ...]
    addresses: tuple[int | str, ...]
    user: str | None = None
    environment: tuple[str, ...] = field(default=())
    of_nodes: bool = False
    """Whether it, and what it starts, has only the nodes' share of this machine."""

    def launch(self, site: Namespace) -> None:
        """Start it, and return at once."""
        for argv in self.argvs:
            command = ("env", *self.environment, *argv) if self.environment else argv
            site.spawn(command, f"{LOGS}/{self.name}.log", self.user)

    def wait(self, site: Namespace) -> None:
        """Return when it serves."""
        try:
            site.wait_until(lambda: self.serves(site), START_TIMEOUT, f"{self.name} to serve")
        except SandboxError as error:
            logs = sorted(site.path(LOGS).glob(f"{self.name}*.log")) if site.alive() else []
            said = [say.last_words(log, 3) for log in logs]
            last = "\n".join(each for each in said if each)
            raise SandboxError(f"{error} It said last:\n{last}" if last else str(error)) from error
        if self.of_nodes:
            share.give(site.pids(self.name))

    def stop(self, site: Namespace) -> None:
        """End it as its administrator would, and return when it is gone."""
        site.signal(self.name, signal.SIGTERM)
        site.signal(self.name, signal.SIGCONT)
        try:
            wait_until(lambda: not site.pids(self.name), STOP_TIMEOUT, f"{self.name} to end")
        except SandboxError:
            site.signal(self.name, signal.SIGKILL)
            wait_until(lambda: not site.pids(self.name), STOP_TIMEOUT, f"{self.name} to be gone")

    def pause(self, site: Namespace) -> None:
        """Freeze it: the kernel still takes its connections, nobody answers."""
        processes.freeze(site.pids(self.name))

    def resume(self, site: Namespace) -> None:
        site.signal(self.name, signal.SIGCONT)
        site.wait_until(lambda: self.health(site) != "paused", STOP_TIMEOUT, f"{self.name} to go on")

    def serves(self, site: Namespace) -> bool:
        return all(_takes_connections(site, address) for address in self.addresses)

    def health(self, site: Namespace) -> str:
        """`ok`, or what is wrong: paused, starting, 2 of 3, down."""
        pids = site.pids(self.name)
        if not pids:
            return "down"
        if any(processes.is_frozen(pid) for pid in pids):
            return "paused"
        if len(pids) < len(self.argvs):
            return f"{len(pids)} of {len(self.argvs)}"
        return "ok" if self.serves(site) else "starting"


def components(shape: config.Shape) -> dict[str, Component]:
    """All daemons of a site by name, in the order in which they can be started; a site without nodes has no slurmd."""
    ports = shape.ports
    slurmd = tuple(("nice", "-n", "19", "slurmd", "-N", node) for node in shape.nodes)
    found = (
        Component("munged", (("munged", "--force"),), ("/run/munge/munge.socket.2",), "munge"),
        Component("mariadbd", (("mariadbd", *config.mariadb_options()),), (config.DATABASE_SOCKET,)),
        Component("slurmdbd", (("slurmdbd",),), (ports.slurmdbd,), "slurm"),
        Component("slurmctld", (("slurmctld",),), (ports.slurmctld,), "slurm"),
        Component("slurmd", slurmd, ports.slurmd, of_nodes=True),
        Component(
            "slurmrestd",
            (("slurmrestd", "-a", "rest_auth/jwt", f"{_LOOPBACK}:{ports.slurmrestd}"),),
            (ports.slurmrestd,),
            REST_USER,
            ("SLURM_JWT=daemon",),
        ),
        Component("sshd", (("/usr/sbin/sshd", "-D", "-e"),), (ports.sshd,)),
    )
    return {each.name: each for each in found if each.argvs}


def _takes_connections(site: Namespace, address: int | str) -> bool:
    """A port is looked up, not tried: Slurm logs every connection that says nothing as an error."""
    if isinstance(address, int):
        return address in _listening()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(str(site.path(address)))
        except OSError:
            return False
    return True


def _listening() -> set[int]:
    """The TCP ports on which somebody of this network namespace listens: proc_net_tcp(5), state 0A."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:])
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}

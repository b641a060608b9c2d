"""The configuration of a site, as text: what Slurm, MariaDB and the name resolution of a site read.

Pure. The paths are Debian's own, as the site sees them; ports are given, since several sites share one loopback.
Differences between Slurm releases stand here, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

CLUSTER = "sandbox"
ACCOUNT = "startup"
QOS = ("normal", "debug")
PARTITION = "gpu"
JWT_KEY = "/etc/slurm/jwt.key"
DATABASE_SOCKET = "/run/mysqld/mysqld.sock"

_LOG = "/var/log/slurm"
_LEAST_CPUS = 8
_CPUS_PER_GPU = 2


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports, all free when they were chosen; one for each slurmd."""

    slurmctld: int
    slurmdbd: int
    slurmrestd: int
    sshd: int
    slurmd: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a site can be chosen."""

    slurm: str
    """Slurm's version: 24.11.5."""
    ports: Ports
    gpus: int
    first_job_id: int
    min_job_age: int

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(f"n{number}" for number in range(1, len(self.ports.slurmd) + 1))

    @property
    def cpus(self) -> int:
        """CPUs of a node; the machine may have fewer."""
        return max(_LEAST_CPUS, _CPUS_PER_GPU * self.gpus)


def slurm_conf(shape: Shape) -> str:
    """slurm.conf(5)."""
    node_range = f"n[1-{len(shape.nodes)}]"
    gpus = f" Gres=gpu:{shape.gpus}" if shape.gpus else ""
    slurmd_ports = ",".join(str(each) for each in shape.ports.slurmd)
    return f"""\
{controller(shape)}
SlurmdSpoolDir=/var/spool/slurm/%n
SlurmdPidFile=/run/slurm/slurmd-%n.pid
SlurmdLogFile={_LOG}/slurmd-%n.log

# Nodes are pretended: several slurmd share this machine, which has fewer CPUs, less memory and no GPU.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
PropagateResourceLimits=NONE
GresTypes=gpu
NodeName={node_range} NodeHostname=site NodeAddr=127.0.0.1 Port={slurmd_ports} \
CPUs={shape.cpus} RealMemory=256000{gpus} State=UNKNOWN

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
PartitionName={PARTITION} Nodes={node_range} Default=YES DefaultTime=10 MaxTime=60 State=UP OverSubscribe=NO
EnforcePartLimits=ALL
SchedulerParameters=sched_interval=5,bf_interval=5
MaxJobCount=20000
KillWait=5
OverTimeLimit=0

{accounting(shape)}
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=10

PreemptType=preempt/qos
PreemptMode=CANCEL
"""


def controller(shape: Shape) -> str:
    """The lines of slurm.conf(5) by which slurmctld is found, believed and remembered, of every kind of site."""
    return f"""\
ClusterName={CLUSTER}
SlurmctldHost=site(127.0.0.1)
SlurmUser=slurm
SlurmctldPort={shape.ports.slurmctld}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny

AuthType=auth/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={JWT_KEY}

StateSaveLocation=/var/lib/slurm
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmctldLogFile={_LOG}/slurmctld.log
MailProg=/bin/true
FirstJobId={shape.first_job_id}
MinJobAge={shape.min_job_age}
"""


def accounting(shape: Shape) -> str:
    """The lines of slurm.conf(5) by which accounts and QoS count, of every kind of site."""
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={shape.ports.slurmdbd}
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
"""


def files(shape: Shape) -> dict[str, str]:
    """What stands in /etc/slurm for everybody to read, by name."""
    return {"slurm.conf": slurm_conf(shape), "gres.conf": gres_conf(shape), "cgroup.conf": cgroup_conf(shape)}


def slurmdbd_conf(shape: Shape) -> str:
    """slurmdbd.conf(5). No password exists: see database_sql."""
    return f"""\
AuthType=auth/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={JWT_KEY}
DbdHost=localhost
DbdPort={shape.ports.slurmdbd}
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
LogFile={_LOG}/slurmdbd.log
PidFile=/run/slurm/slurmdbd.pid
"""


def gres_conf(shape: Shape) -> str:
    """gres.conf(5): pretended GPUs, which Slurm counts, hands out and numbers like real ones."""
    range_ = f"[0-{shape.gpus - 1}]" if shape.gpus > 1 else "0"
    node_line = f"NodeName=n[1-{len(shape.nodes)}] Name=gpu File=/dev/gpu{range_}\n"
    return "AutoDetect=off\n" + (node_line if shape.gpus else "")


def cgroup_conf(shape: Shape) -> str:
    """cgroup.conf(5): Slurm touches nothing of this machine's cgroups.

    Slurm before 23.02 can't do without a plugin; that of version 1 is loaded, and asked for nothing.
    """
    disabled = numbers(shape.slurm) >= (23, 2)
    return "CgroupPlugin=disabled\n" if disabled else "CgroupPlugin=cgroup/v1\nConstrainCores=no\n"


def hosts_file(shape: Shape) -> str:
    """All nodes are this machine, as hosts(5) says it."""
    return f"127.0.0.1 localhost site {' '.join(shape.nodes)}\n"


def database_sql() -> str:
    """The database, and a user who is known by the socket's peer."""
    return (
        "CREATE DATABASE slurm_acct_db;"
        "CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;"
        "GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
    )


def mariadb_options() -> tuple[str, ...]:
    """Small, quick and reachable through its socket alone; a crash of the machine may lose the last second."""
    return (
        "--user=mysql",
        f"--socket={DATABASE_SOCKET}",
        "--skip-networking",
        "--skip-log-bin",
        "--log-warnings=1",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=16M",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-lock-wait-timeout=900",
        "--loose-innodb-snapshot-isolation=OFF",  # slurmdbd's transactions fail with it; unknown before 10.6.18
    )


def numbers(version: str) -> tuple[int, ...]:
    """A version that can be compared: 22.05.8 is (22, 5, 8)."""
    return tuple(int(each) for each in version.split("."))

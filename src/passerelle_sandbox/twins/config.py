"""A twin -> what its Slurm reads: slurm.conf, gres.conf, job_submit.lua, and what sacctmgr is told. Pure.

The nodes are `State=CLOUD` and powered down: slurmctld knows all of them, waits for none, and answers `--test-only` as
if it could start each. GPUs are counts without device files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources

from passerelle_sandbox.site import config
from passerelle_sandbox.site.config import Shape
from passerelle_sandbox.twins.model import Twin, Word

NOBODYS = "default_no_jobs"
"""The user's default account where a machine wants one to be named: every partition denies it. A limit of no jobs would
not do, since Slurm lets the limits of a partition's QoS take the place of an account's."""
_GPU = re.compile(r"gpu:(?:(?P<type>[a-z]\w*):)?(?P<count>\d+)")


def files(twin: Twin, shape: Shape) -> dict[str, str]:
    """What stands in /etc/slurm, by name."""
    found = {
        "slurm.conf": slurm_conf(twin, shape),
        "gres.conf": gres_conf(twin),
        "cgroup.conf": config.cgroup_conf(shape),
    }
    if twin.rule is not None:
        frame = resources.files(__package__).joinpath("job_submit.lua").read_text(encoding="utf-8")
        found["job_submit.lua"] = f"{twin.rule}\n{frame}"
    return found


def slurm_conf(twin: Twin, shape: Shape) -> str:
    """slurm.conf(5)."""
    lines = [_words(twin.settings, "\n")] if twin.settings else []
    lines += ["JobSubmitPlugins=lua"] if twin.rule is not None else []
    lines += [_words(node | {"State": "CLOUD"}) for node in twin.nodes]
    denied = {"DenyAccounts": NOBODYS} if twin.account_required else {}
    for partition in twin.partitions:
        own = {} if "AllowAccounts" in partition else denied
        lines.append(_words({**partition, **own, "State": partition.get("State", "UP")}))
    machine = "\n".join(lines)
    return f"""\
{config.controller(shape)}
# No node ever answers, and none is waited for.
SuspendProgram=/bin/true
ResumeProgram=/bin/true
SuspendTime=60
ResumeTimeout=600
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
GresTypes=gpu

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
EnforcePartLimits=ALL
{machine}

{config.accounting(shape)}"""


def gres_conf(twin: Twin) -> str:
    """gres.conf(5)."""
    lines = ["AutoDetect=off"]
    for node in twin.nodes:
        gpu = _GPU.fullmatch(str(node.get("Gres", "")))
        if gpu:
            typed = f" Type={gpu['type']}" if gpu["type"] else ""
            lines.append(f"NodeName={node['NodeName']} Name=gpu{typed} Count={gpu['count']}")
    return "\n".join(lines) + "\n"


def accounts(twin: Twin, user: str) -> Iterator[str]:
    """What sacctmgr(1) is told before slurmctld starts, one command each: the names that its partitions ask for."""
    own = [qos.name for qos in twin.qos if qos.name != "normal"]  # Slurm brings that one
    if own:
        yield f"add qos {','.join(own)}"
    if twin.account_required:
        yield f"add account {NOBODYS} cluster={config.CLUSTER}"
        yield f"add user {user} account={NOBODYS} defaultaccount={NOBODYS}"
    for account in twin.accounts:
        qos = f"qos={','.join(account.qos)}" + (f" defaultqos={account.qos[0]}" if account.default_qos else "")
        default = "" if twin.account_required else f" defaultaccount={account.name}"
        yield f"add account {account.name} cluster={config.CLUSTER} {qos}"
        yield f"add user {user} account={account.name} {qos}{default}"


def limits(twin: Twin) -> Iterator[str]:
    """What sacctmgr(1) is told when slurmctld runs, for by it slurmdbd learns that GPUs can be counted."""
    for qos in twin.qos:
        if qos.limits:
            yield f"modify qos {qos.name} set {_words(qos.limits)}"
    for account in twin.accounts:
        if account.limits:
            yield f"modify account {account.name} set {_words(account.limits)}"


def _words(told: Mapping[str, Word], between: str = " ") -> str:
    return between.join(f"{name}={value}" for name, value in told.items())

"""What scontrol and sacctmgr print of partitions and associations -> a Survey. Pure.

| value                          | where it stands                                                    |
|--------------------------------|--------------------------------------------------------------------|
| a partition                    | one line of `scontrol show partitions --oneliner`, NAME=VALUE words |
| what it admits                 | AllowAccounts or DenyAccounts, AllowQos or DenyQos; ALL is no bound |
| an association of our user     | a row of `sacctmgr show user … withassoc`, a bar behind each field  |
| a limit that lets no job in    | 0 in MaxJobs, MaxSubmit, GrpJobs or GrpSubmit                       |

A user's association inherits its account's Max limits but not its Grp limits: so the accounts' own rows, which name no
user, are read, too. sacctmgr knows no other delimiter than the bar, which no name of an account or a QoS has.
"""

from __future__ import annotations

from collections.abc import Iterable

from passerelle.gateways.ssh.commands import ASSOCIATED
from passerelle.gateways.ssh.decode import NotUnderstood, minutes, tres_gpus
from passerelle.gateways.surveys import Association, SitePartition

Row = dict[str, str]

_LIMITS = ("MaxJobs", "MaxSubmit", "GrpJobs", "GrpSubmit")


def partitions(text: str) -> tuple[SitePartition, ...]:
    """Of `scontrol show partitions --oneliner`."""
    return tuple(_partition(line) for line in text.splitlines() if line.startswith("PartitionName="))


def rows(text: str) -> list[Row]:
    """Of sacctmgr. Raises NotUnderstood for a row that has other fields than were asked for."""
    found = []
    for line in filter(None, text.splitlines()):
        values = line.removesuffix("|").split("|")
        if len(values) != len(ASSOCIATED):
            raise NotUnderstood("a row of sacctmgr has other fields than were asked for")
        found.append(dict(zip(ASSOCIATED, (value.strip() for value in values), strict=True)))
    return found


def accounts_of(own: Iterable[Row], cluster: str) -> list[str]:
    """The accounts of the user's rows at this cluster, each once."""
    return sorted({row["Account"] for row in own if row["Cluster"] == cluster})


def associations(own: Iterable[Row], others: Iterable[Row], cluster: str) -> tuple[Association, ...]:
    """The user's associations at this cluster; `others` are rows among which the accounts' own ones are."""
    shut = {row["Account"] for row in others if row["Cluster"] == cluster and not row["User"] and _closed(row)}
    found = [
        Association(
            account=row["Account"],
            partition=row["Partition"],
            qos=tuple(sorted(filter(None, row["QOS"].split(",")))),
            default_qos=row["DefaultQOS"],
            default=row["Account"] == row["DefaultAccount"],
            closed=_closed(row) or row["Account"] in shut,
        )
        for row in own
        if row["Cluster"] == cluster
    ]
    return tuple(sorted(found, key=lambda each: (each.account, each.partition)))


def clock(text: str) -> float:
    """Of `date +%s`."""
    word = text.strip()
    if not (word.isascii() and word.isdigit()):
        raise NotUnderstood("date printed no number of seconds")
    return float(word)


def _partition(line: str) -> SitePartition:
    told = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
    nodes = told.get("TotalNodes", "")
    total = int(nodes) if nodes.isdecimal() else 0
    tres = told.get("TRES", "")
    gpus = tres_gpus(tres)
    largest = told.get("MaxNodes", "")
    return SitePartition(
        name=told["PartitionName"],
        state=told.get("State", "UNKNOWN"),
        nodes=total,
        max_nodes=int(largest) if largest.isdecimal() else None,
        max_time_minutes=minutes(told.get("MaxTime", "")),
        gpus_per_node=gpus // total if total and gpus and gpus % total == 0 else None,
        allowed_accounts=_names(told.get("AllowAccounts", "")),
        denied_accounts=_names(told.get("DenyAccounts", "")),
        allowed_qos=_names(told.get("AllowQos", "")),
        denied_qos=_names(told.get("DenyQos", "")),
    )


def _closed(row: Row) -> bool:
    return "0" in (row[name] for name in _LIMITS)


def _names(value: str) -> frozenset[str]:
    return frozenset(value.split(",")) - {"", "ALL", "(null)"}

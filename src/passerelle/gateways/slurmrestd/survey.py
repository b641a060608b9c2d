"""slurmrestd's associations, partitions and statistics -> a Survey. Pure.

| value               | v0.0.38                    | v0.0.40 and later              |
|---------------------|----------------------------|--------------------------------|
| a partition's state | `"UP"`                     | `partition.state: ["UP"]`      |
| its limits          | `max_time_limit`, null; -1 | `maximums`, structs            |
| its lists           | `allowed_qos: "a,b"`       | `qos: {"allowed", "deny"}`     |
| its GPUs            | `tres: "…gres/gpu=12"`     | `tres.configured`              |

All versions take `user` and, since v0.0.38, several accounts in one `account`, joined by a comma. What Slurm calls
MaxSubmitJobs stands in `max.jobs.total`, MaxJobs in `active`, GrpSubmitJobs and GrpJobs in `per.submitted` and
`per.count`. A user's association inherits its account's Max limits but not its Grp limits: so the accounts' own rows,
which name no user, are read, too.

The clock is slurmctld's: the time at which it took the request for its statistics. slurmrestd sends no Date.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from passerelle.gateways.slurmrestd.decode import gpus_in_words, number
from passerelle.gateways.surveys import Association, SitePartition

Record = dict[str, Any]


def accounts_of(rows: Iterable[Record], user: str, cluster: str) -> list[str]:
    """The accounts that the user's associations at this cluster name, each once."""
    return sorted({str(row.get("account")) for row in _of(rows, user, cluster)})


def associations(rows: Iterable[Record], accounts: Iterable[Record], user: str, cluster: str) -> list[Association]:
    """The user's associations at this cluster; `accounts` are rows among which the accounts' own ones are."""
    shut = {str(row.get("account")) for row in _of(accounts, "", cluster) if _closed(row)}
    found = [
        Association(
            account=(account := str(row.get("account"))),
            partition=_text(row.get("partition")),
            qos=tuple(sorted(each for each in row.get("qos") or [] if isinstance(each, str))),
            default_qos=_text(_object(row.get("default")).get("qos")),
            default=bool(row.get("is_default")),
            closed=_closed(row) or account in shut,
        )
        for row in _of(rows, user, cluster)
    ]
    return sorted(found, key=lambda each: (each.account, each.partition))


def partition(row: Record) -> SitePartition:
    """A row of `partitions`."""
    nodes, most, state = row.get("nodes"), row.get("maximums"), row.get("state")
    if isinstance(nodes, dict):
        state = _object(row.get("partition")).get("state")
        count, tres = nodes.get("total"), _object(row.get("tres")).get("configured")
        longest, largest = _object(most).get("time"), _object(most).get("nodes")
        lists = [_object(row.get(kind)).get(word) for kind in ("accounts", "qos") for word in ("allowed", "deny")]
    else:
        count, tres = row.get("total_nodes"), row.get("tres")
        longest, largest = row.get("max_time_limit"), row.get("maximum_nodes_per_job")
        lists = [row.get(f"{word}_{kind}") for kind in ("accounts", "qos") for word in ("allowed", "denied")]
    total = number(count) or 0
    gpus = gpus_in_words(_text(tres))
    words = state if isinstance(state, list) else [state]
    allowed_accounts, denied_accounts, allowed_qos, denied_qos = map(_names, lists)
    return SitePartition(
        name=_text(row.get("name")),
        state=str(words[0]) if words and words[0] else "UNKNOWN",
        nodes=total,
        max_nodes=_limit(largest),
        max_time_minutes=_limit(longest),
        gpus_per_node=gpus // total if total and gpus % total == 0 and "gres/gpu" in _text(tres) else None,
        allowed_accounts=allowed_accounts,
        denied_accounts=denied_accounts,
        allowed_qos=allowed_qos,
        denied_qos=denied_qos,
    )


def clock(body: Record) -> float | None:
    """Of an answer to `diag`."""
    found = number(_object(body.get("statistics")).get("req_time"))
    return float(found) if found else None


def _of(rows: Iterable[Record], user: str, cluster: str) -> list[Record]:
    return [row for row in rows if _text(row.get("user")) == user and row.get("cluster") == cluster]


def _closed(row: Record) -> bool:
    jobs = _object(_object(row.get("max")).get("jobs"))
    together = _object(jobs.get("per"))
    return 0 in map(number, (jobs.get("total"), jobs.get("active"), together.get("submitted"), together.get("count")))


def _limit(value: object) -> int | None:
    found = number(value)
    return None if found is None or found < 0 else found


def _names(value: object) -> frozenset[str]:
    """A list as Slurm prints it; ALL is no restriction."""
    return frozenset(_text(value).split(",")) - {"", "ALL"}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Record:
    return value if isinstance(value, dict) else {}

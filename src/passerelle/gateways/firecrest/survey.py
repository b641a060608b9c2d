"""FirecREST's partitions and userinfo -> parts of a Survey. Pure.

A partition is a name, its number of nodes, and in `partition` its state: a word, or a list of one in rest mode.
userinfo names the accounts since 2.5, without their QoS and limits; before, and where it knows of none, no list is
there.
"""

from __future__ import annotations

from typing import Any

from passerelle.gateways.surveys import Association, SitePartition


def partitions(body: dict[str, Any]) -> tuple[SitePartition, ...]:
    """Of `status/{system}/partitions`."""
    found = body.get("partitions")
    rows = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return tuple(_partition(row) for row in rows if row.get("name"))


def associations(body: dict[str, Any]) -> tuple[Association, ...] | None:
    """Of `status/{system}/userinfo`."""
    found = body.get("accounts")
    if not isinstance(found, list):
        return None
    rows = {str(each["name"]): each for each in found if isinstance(each, dict) and each.get("name")}
    return tuple(Association(account=name, qos=None, default=bool(rows[name].get("default"))) for name in sorted(rows))


def _partition(row: dict[str, Any]) -> SitePartition:
    state, nodes = row.get("partition"), row.get("totalNodes")
    words = state if isinstance(state, list) else [state]
    return SitePartition(
        name=str(row["name"]),
        state=str(words[0]).upper() if words and words[0] else "",
        nodes=nodes if isinstance(nodes, int) else None,
    )

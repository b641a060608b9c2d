"""UNICORE's target system factories -> parts of a Survey. Pure.

A factory names the queues of its site, each with ranges of resources, as an administrator wrote them. A raw job, which
is what this driver submits, is not held against those ranges: so the names alone are told. Whose group may charge what,
UNICORE doesn't know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from passerelle.gateways.surveys import SitePartition
from passerelle.gateways.unicore.decode import instant


def partitions(factories: Iterable[Mapping[str, Any]]) -> tuple[SitePartition, ...]:
    """The queues of all factories, each once, in the order of their names."""
    names: set[str] = set()
    for each in factories:
        resources = each.get("resources")
        names |= {str(name) for name in resources} if isinstance(resources, dict) else set()
    return tuple(SitePartition(name=name) for name in sorted(names))


def clock(server: Mapping[str, Any]) -> float | None:
    """Of what the server says of itself."""
    found = instant(server.get("currentTime"))
    return None if found is None else float(found)

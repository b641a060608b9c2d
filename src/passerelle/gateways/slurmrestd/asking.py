"""What of many jobs goes into one call."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from passerelle.gateways.slurmrestd.decode import is_job_id
from passerelle.gateways.slurmrestd.versions import Query, Version
from passerelle.slurm import id_order

NAMES_PER_CALL = 50
"""Markers in one accounting search: 2 KB of URL, within every proxy's limit (nginx: 8 KB)."""

_T = TypeVar("_T")


def numbers(job_ids: Collection[str]) -> list[str]:
    """Those that can be jobs of Slurm's, each once, in the order of their numbers."""
    return sorted(filter(is_job_id, set(job_ids)), key=id_order)


def pieces(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """As many as go into one call, one after the other."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def searches(
    version: Version, user: str, cluster: str, names: Collection[str], job_ids: Collection[str]
) -> Iterator[Query]:
    """The accounting searches for these, each but for its window."""
    common: Query = [("skip_steps", "true"), ("cluster", cluster)]
    if version.filters_users:
        common.append(("users", user))
    for piece in pieces(sorted(set(names)), NAMES_PER_CALL):
        yield [*common, ("job_name", ",".join(piece))]
    for ids in pieces(numbers(job_ids), NAMES_PER_CALL):
        steps = [("step", each) for each in ids] if version.filters_users else [("step", ",".join(ids))]
        yield [*common, *steps]

"""What of many jobs goes into one call."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from passerelle.gateways.slurmrestd.decode import is_job_id
from passerelle.slurm import id_order

_T = TypeVar("_T")


def numbers(job_ids: Collection[str]) -> list[str]:
    """Those that can be jobs of Slurm's, each once, in the order of their numbers."""
    return sorted(filter(is_job_id, set(job_ids)), key=id_order)


def pieces(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """As many as go into one call, one after the other."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

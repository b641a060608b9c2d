"""Which markers accounting is asked for where a run is looked up, and how many at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from passerelle.marker import ATTEMPT_LIMIT, Run, parse
from passerelle.slurm import RemoteJob

LOOK_AHEAD = 2
"""Attempts beyond the highest known one that a look-up asks for; it goes on while it finds more."""

NAMES_OF_A_RUN = 200
"""Attempts of a run that a look-up asks for at first, the newest: a number that others made up must not cost a hundred
thousand names.
"""

NAMES_AT_ONCE = 100
"""Markers that accounting is asked for at once: two calls of slurmrestd's. What it answers counts, whatever becomes of
the others.
"""


def beyond(names: dict[Run, tuple[int, int]], found: Sequence[RemoteJob]) -> dict[Run, tuple[int, int]]:
    """The next round, where the highest attempts that were asked for exist, and others can be named."""
    highest: dict[Run, int] = {}
    for job in found:
        named = parse(job.name)
        if named is not None:
            highest[named[0]] = max(highest.get(named[0], 0), named[1])
    return {
        run: (last, min(last + 10, ATTEMPT_LIMIT + 1))
        for run, (_, last) in names.items()
        if highest.get(run, 0) >= last - LOOK_AHEAD + 1 and last <= ATTEMPT_LIMIT
    }


def pieces(names: dict[Run, tuple[int, int]]) -> list[dict[Run, tuple[int, int]]]:
    """These, in pieces of not many more than NAMES_AT_ONCE."""
    found: list[dict[Run, tuple[int, int]]] = []
    size = NAMES_AT_ONCE
    for run, (first, last) in names.items():
        if size >= NAMES_AT_ONCE:
            found.append({})
            size = 0
        found[-1][run] = (first, last)
        size += last - first
    return found

"""Whose reason is read again: the light listing does not tell why a job waits, and a full record is some 8 KiB. So
those that wait take turns, by a bound that grows neither with their number nor with how often the site is looked at.
Pure; the clock is the caller's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from passerelle.slurm import NO_REASON, RemoteJob, Stage, id_order

QUEUED_PER_TURN = 4
"""Full records."""
TURN_SECONDS = 20.0
"""At least, from one turn to the next: at a period of 5 s they were two fifths of what a Site at rest costs."""


class Reasons:
    """Of the waiting jobs of one site. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = ""
        self._next = 0.0

    def turn(self, unchanged: Iterable[RemoteJob]) -> list[str]:
        """Of jobs whose state is the one that is known: those that wait and whose turn it is. Those without a reason
        come first, the rest take turns.
        """
        if self._clock() < self._next:
            return []
        last = id_order(self._last)
        turns = (
            (job.state_reason not in NO_REASON, place <= last, place, job.job_id)
            for job in unchanged
            if job.stage is Stage.QUEUED and (place := id_order(job.job_id))
        )
        chosen = heapq.nsmallest(QUEUED_PER_TURN, turns)
        if chosen:
            self._next = self._clock() + TURN_SECONDS
        self._last = max((job_id for told, *_, job_id in chosen if told), key=id_order, default="")
        return [job_id for *_, job_id in chosen]

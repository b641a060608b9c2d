"""How an operator that starts anew finds the jobs that it left: by the ids that their TrainingJobs' statuses tell.

To look ten thousand runs up by their markers takes hundreds of accounting searches and the full live listing, 8 KiB a
job of everybody's. But an attempt's job that lives is the highest attempt's, for the next one is made only after it was
seen to end. So the light listing is asked which of the ids live, and whose they are is proven by their names: of those
that wait by accounting, which tells of hundreds in one answer, of the others by their full records, which are news
anyway. Whatever the site does not confirm is looked up by its marker, and so is a run whose job has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from passerelle.gateways.base import Accounting, Gateway, Listing
from passerelle.picture import Picture
from passerelle.slurm import JobState, RemoteJob, Stage
from passerelle.views import Remembered

MOST = 2_000
"""Jobs that a look finds again: one call of the light listing."""

LEAST = 16
"""Likewise, where the hour's calls have no room for more."""

Read = Callable[[Collection[str]], Awaitable[tuple[list[RemoteJob], set[str]]]]
"""Full records of these ids, and the ids for which this look has no time."""

Accounted = Callable[[Collection[str]], Awaitable[list[RemoteJob] | None]]
"""Accounting's rows of these ids; None where it can't be asked."""


async def recall(
    door: Gateway, picture: Picture, accounted: Accounted, read: Read, most: int = MOST
) -> tuple[list[RemoteJob], bool]:
    """The records of remembered jobs that live, of so many at `most`, as far as the site confirms them; and whether
    there was no time for all of these. They come after the others, of which most may only wait.
    """
    turn = picture.remembered(most if by_ids(door) else MOST)
    if not turn:
        return [], False
    found, unread = await _confirmed(door, {job.job_id: job for job in turn.values()}, accounted, read)
    for run, job in turn.items():
        if job.job_id in unread:
            picture.later(run)
        elif (view := picture.views.get(run)) is not None:
            view.remembered = None  # it was asked for once; what was not found is looked up by its marker
    return found, bool(unread)


async def _confirmed(
    door: Gateway, jobs: dict[str, Remembered], accounted: Accounted, read: Read
) -> tuple[list[RemoteJob], set[str]]:
    if not by_ids(door):
        return [], set()
    states = await door.states(jobs.keys())
    live = {job_id for job_id, state in states.items() if state.stage is not Stage.ENDED}
    waiting = {job_id for job_id in live if _waits_as_before(jobs[job_id], states[job_id])}
    rows = await accounted(waiting) if waiting else []
    rows = [row for row in rows or [] if row.job_id in waiting and row.name == jobs[row.job_id].marker]
    found = [_as_before(row, jobs[row.job_id], states[row.job_id]) for row in rows]
    others = live - {row.job_id for row in rows}
    records, unread = await read(others)
    alive = (job for job in records if job.job_id in jobs and job.stage is not Stage.ENDED)
    return [*found, *(job for job in alive if job.name == jobs[job.job_id].marker)], unread


def by_ids(door: Gateway) -> bool:
    """Whether jobs can be asked for by their ids, many in a call. Other gateways list whole records of ours, and those
    alone.
    """
    return door.traits.listing is Listing.STATES and isinstance(door, Accounting)


def _waits_as_before(remembered: Remembered, state: JobState) -> bool:
    return state.stage is Stage.QUEUED and str(state) == remembered.state


def _as_before(row: RemoteJob, remembered: Remembered, state: JobState) -> RemoteJob:
    """A waiting job: accounting tells whose it is and when it was submitted, and nothing of why it waits."""
    why = remembered.reason
    return replace(row, state=state, state_reason=why, nodes="", node_count=0, standard_output="", live=True)

"""A transfer job of the site, as its note knows it: looked at, waited for, ended, and what is said when it failed.

A number is believed only with the cluster and the user in its note, and while the job of that number has the name of a
transfer job: after months, or elsewhere, it is another job's.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable
from typing import Protocol

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import Files, Gateway, Handover, Upload
from passerelle.slurm import RemoteJob
from passerelle.staging import handed
from passerelle.staging.door import Door
from passerelle.staging.handed import Note

LOOK_SECONDS, LOOKS_SLACKEN = 10.0, 1.5
"""Between two looks at a transfer job: each is two commands on a login node. They slacken while it waits or runs."""
LONGEST_LOOK = 12
"""So many times as long as at first they may become."""
GONE_LOOKS = 3
"""Looks in a row in which a job is nowhere, until it counts as ended: accounting is seconds behind."""
REFUSED_SECONDS = 1800.0
"""How long what a transfer job refused is not sent again: to find a quota used up, all has to be sent."""
MOST_IN_A_ROW = 3
"""Transfer jobs of one object that come to nothing, whatever for: after that all is not sent again at once."""
FAILED = "TransferJobFailed"

Waits = Callable[[str, str], None]
"""Told of a reason and a sentence, why nothing moves; both "" as soon as something does."""


class HandoverDoor(Gateway, Files, Upload, Handover, Protocol):
    """What a transfer job needs."""


async def read_note(gate: HandoverDoor, run_root: str, path: str, direction: str) -> Note | None:
    """None where there is none, or one of another cluster or user, whose jobs are not ours. What stands there half
    written names no job: there may be one all the same.
    """
    try:
        content = await whole(gate, handed.note_place(run_root, path, direction))
    except Missing:
        return None
    whose = await gate.whose()
    note = handed.note(content, path)
    if note is None:
        return Note(path=path, size=0, cluster=whose.cluster, user=whose.user)
    return note if (note.cluster, note.user) == (whose.cluster, whose.user) else None


async def whole(site: Files, place: str) -> bytes:
    """All of a note: a gateway may give less at a time. Raises Missing."""
    content = b""
    while not content.endswith(handed.END) and len(content) < handed.MOST_BYTES:
        piece = await site.read(place, len(content), handed.MOST_BYTES)
        if not piece:
            break
        content += piece
    return content


async def keep_note(site: Door, run_root: str, note: Note, direction: str) -> None:
    """Of the URLs in it each is a right: nobody else may read it."""
    place = handed.note_place(run_root, note.path, direction)
    await site.make_directory(posixpath.dirname(place))
    await site.write(place, note.written(), mode=0o600)


async def look(gate: HandoverDoor, job_id: str) -> RemoteJob | None:
    """A transfer job as the site has it; None where it is nowhere. A job of that number and another name is none."""
    found = await gate.get([job_id])
    return next((job for job in found if job.job_id == job_id and job.name in gate.transfer_names), None)


async def end(gate: HandoverDoor, job_id: str) -> None:
    """Cancel a transfer job that a note names. The number alone is no right to: it may be another job's by now."""
    job = await look(gate, job_id)
    if job is not None and job.state.ending is None:
        await gate.cancel(job_id)


async def ended(gate: HandoverDoor, job_id: str, waits: Waits, seconds: float) -> RemoteJob | None:
    """Wait for the end of a transfer job, and tell what it waits for. None where it is gone without one."""
    gone, pause = 0, seconds
    while True:
        job = await look(gate, job_id)
        gone = gone + 1 if job is None else 0
        if gone >= GONE_LOOKS or (job is not None and job.state.ending is not None):
            waits("", "")
            return job
        if job is not None and job.state.base == "PENDING":
            why = f": {job.state_reason}" if job.state_reason else ""
            waits("TransferJobWaits", f"The site's transfer job {job_id} waits in the queue{why}.")
        elif job is not None:
            waits("TransferJobRuns", f"The site's transfer job {job_id} runs.")
        await asyncio.sleep(pause)
        pause = min(pause * LOOKS_SLACKEN, seconds * LONGEST_LOOK) if job is not None else seconds


async def failure(gate: HandoverDoor, note: Note, job: RemoteJob | None, what: str) -> PasserelleError:
    """Why a transfer job has not done what it was there for."""
    complaint = await gate.complaint(note.error_log) if note.error_log else None
    if complaint is not None:
        return complaint
    how = f"ended as {job.state.base}" if job is not None else "is gone"
    text = f"The site's transfer job {note.job} {how} and has not carried {what}; it is begun anew."
    return Unavailable(text, reason=FAILED, retry_after=60.0)


def another_failure(note: Note, error: PasserelleError, now: float) -> tuple[PasserelleError, Note]:
    """What is to be raised after a job that came to nothing, and the note that stays of it: for a while no other job is
    asked for where somebody must act.
    """
    failed = note.failed + 1
    if not isinstance(error, Invalid | Rejected) and failed >= MOST_IN_A_ROW:
        text = (
            f"{failed} transfer jobs in a row came to nothing, the last one so: {error.message} "
            "Ask the site why; it is tried again half an hour later."
        )
        error = Rejected(text, reason=FAILED)
    when = now if isinstance(error, Invalid | Rejected) else 0.0
    refused = (error.reason, error.message)
    after = Note(
        path=note.path,
        size=note.size,
        cluster=note.cluster,
        user=note.user,
        stamp=note.stamp,
        refused=refused,
        when=when,
        failed=failed,
    )
    return error, after

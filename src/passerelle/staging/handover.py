"""One object to one path at a site whose gateway takes large files whole: CopyIn, but for how the part file grows.

What was sent lies in the gateway's object store; a job of the site brings it to the part file as soon as it is whole.
A note at the site names the job and holds the way to the store, so another operator goes on with both. A job that ended
without the file has left nothing to go on from: then all is sent again, but not at once where somebody must act.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import Gateway, Handover
from passerelle.slurm import RemoteJob
from passerelle.staging import handed, receipt
from passerelle.staging.copy_in import CopyIn, Count
from passerelle.staging.copy_out import LARGEST_FILE_BYTES, LARGEST_PART_BYTES, part_bytes
from passerelle.staging.door import Door
from passerelle.staging.handed import Note, Sent
from passerelle.staging.hashing import Hashed
from passerelle.staging.s3.allowed import ALLOWED
from passerelle.staging.s3.presigned import EXPIRED, OpenPresigned, Presigned
from passerelle.staging.store import Changed, Stored
from passerelle.staging.turns import SLICE_SECONDS

LOOK_SECONDS = 10.0
"""Between two looks at a transfer job: each is two commands on a login node."""
GONE_LOOKS = 3
"""Looks in a row in which a job is nowhere, until it counts as ended: accounting is seconds behind."""
REFUSED_SECONDS = 1800.0
"""How long what a transfer job refused is not sent again: to find a quota used up, all has to be sent."""
FAILED = "TransferJobFailed"

_MEBIBYTE = 1024 * 1024
_SEAM_BYTES = 32 * 1024

Waits = Callable[[str, str], None]
"""Told of a reason and a sentence, why nothing moves; both "" as soon as something does."""


class HandoverDoor(Gateway, Handover, Protocol):
    """What a transfer job needs, beside Files and Upload, which every Door has."""


@dataclass(frozen=True, slots=True)
class Remembered(Hashed):
    """The whole of what was sent, by an operator that told its SHA-256: there is nothing behind it."""

    sha256: str = ""

    @property
    def hexdigest(self) -> str:
        return self.sha256


@dataclass
class HandIn(CopyIn):
    """`account` is what a transfer job is charged to, "" where the site decides."""

    account: str = ""
    presigned: OpenPresigned = ALLOWED.presigned
    waits: Waits = lambda _reason, _text: None
    now: Callable[[], float] = time.time
    look_seconds: float = LOOK_SECONDS
    parts: dict[str, Sent] = field(default_factory=dict)

    @property
    def gate(self) -> HandoverDoor:
        return cast("HandoverDoor", self.site)

    async def copy(self, stored: Stored, path: str) -> None:
        """Notes go last, and with them what an operator left that died when the file had its name already."""
        await super().copy(stored, path)
        part = receipt.part_place(path, stored.version)
        small = stored.size <= self.gate.small_bytes
        if await self.site.size(part if small else handed.note_place(self.run_root, part, "in")) is not None:
            await self._clean(part)
            await self._forget(part)

    async def _fill(self, stored: Stored, part: str, count: Count) -> Hashed:
        if stored.size <= self.gate.small_bytes:
            return await self._small(stored, part, count)
        if stored.size > LARGEST_FILE_BYTES:
            text = f"{stored.key} has {stored.size} bytes, and at most {LARGEST_FILE_BYTES} are copied: split it."
            raise Invalid(text, reason="ObjectTooLarge")
        note = await self._begun(stored, part)
        sent = await self._sent(part, note)
        if sent.sha256 and await self.site.size(part) == stored.size:  # an operator before us has waited, too
            await ended(self.gate, note.job, self.waits, self.look_seconds)
            count.add(stored.size)
            return Remembered(stored.size, sha256=sent.sha256)
        store = self.presigned(note.urls[-1], self.gate.store_authority)
        try:
            done = await self._send(stored, part, note, sent, store, count)
        except Unavailable as error:
            if error.reason == EXPIRED:
                await self._give_up(part, note)
            raise
        except Changed:
            await self._give_up(part, note)
            raise
        finally:
            await store.close()
        await self._arrived(stored, part, note)
        return done

    async def _small(self, stored: Stored, part: str, count: Count) -> Hashed:
        async with self.turns.turn(self.owner):
            content = await self.store.read(stored, 0, stored.size)
            await self.site.write(part, content, mode=0o640)
        count.add(stored.size)
        self.moved(stored.size)
        return await Hashed().after(content)

    async def _begun(self, stored: Stored, part: str) -> Note:
        """The transfer that is under way, or a new one. Of one whose answer was lost the job is ended: nobody has the
        URLs that it waits for.
        """
        kept = await read_note(self.site, self.run_root, part, "in")
        if kept is not None and kept.refused[0] and self.now() - kept.when < REFUSED_SECONDS:
            raise Rejected(kept.refused[1], reason=kept.refused[0])
        if kept is not None and kept.job and kept.size == stored.size:
            return kept
        if kept is not None and not kept.refused[0]:
            await asyncio.sleep(self.gate.settle_seconds)
            for job in await self.gate.waiting_for(part):
                await self.gate.cancel(job)
        bare = Note(path=part, size=stored.size)
        await self._keep_note(bare)
        try:
            found = await self.gate.hand_in(part, stored.size, -(-stored.size // part_bytes(stored.size)), self.account)
        except PasserelleError as error:
            if not isinstance(error, Unavailable) or not error.sent:
                await self._forget(part)
            raise
        size = _part_bytes(stored.size, len(found.parts), found.most_bytes)
        urls = (*found.parts[: -(-stored.size // size)], found.complete)
        note = Note(
            path=part,
            size=stored.size,
            job=found.job,
            urls=urls,
            part_bytes=size,
            piece_bytes=found.most_bytes,
            error_log=found.error_log,
        )
        if size > LARGEST_PART_BYTES or len(urls) - 1 != -(-stored.size // size):
            await self._give_up(part, note)
            text = f"The gateway takes {stored.key} in too few parts: {len(found.parts)}; copy it by hand."
            raise Rejected(text, reason="TooFewParts")
        await self._keep_note(note)
        return note

    async def _send(self, stored: Stored, part: str, note: Note, sent: Sent, store: Presigned, count: Count) -> Hashed:
        """All parts that the store doesn't have, and their completion, which may be asked for again."""
        if sent.sha256:
            count.add(stored.size)
            done: Hashed = Remembered(stored.size, sha256=sent.sha256)
        else:
            there = min(len(sent.etags) * note.part_bytes, stored.size)
            begun = self.hashes.get(part)
            done = await self._hashed(stored, there, begun)
            count.add(there)
            while done.offset < stored.size:
                async with self.turns.turn(self.owner):
                    await self._lives(stored, part, note)
                    done, sent = await self._parts(stored, part, note, store, count, done, sent)
                    await self._keep_sent(part, sent)
            self.hashes[part] = done
            sent = Sent(job=note.job, etags=sent.etags, sha256=done.hexdigest)
            await self._keep_sent(part, sent)
        await store.complete(note.urls[-1], sent.etags)
        return done

    async def _parts(
        self, stored: Stored, part: str, note: Note, store: Presigned, count: Count, done: Hashed, sent: Sent
    ) -> tuple[Hashed, Sent]:
        """Some parts more: while one is sent, the next is read."""
        clock = asyncio.get_running_loop().time
        until = clock() + SLICE_SECONDS
        ahead = self._piece(stored, note, done.offset)
        try:
            while True:
                content = await ahead
                following = done.offset + len(content)
                more = following < stored.size and clock() < until
                if more:
                    ahead = self._piece(stored, note, following)
                after = await done.after(content)
                etag = await store.put(note.urls[len(sent.etags)], content)
                done = self.hashes[part] = after
                sent = self.parts[part] = Sent(job=note.job, etags=(*sent.etags, etag))
                count.add(len(content))
                self.moved(len(content))
                if not more:
                    return done, sent
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    def _piece(self, stored: Stored, note: Note, offset: int) -> asyncio.Task[bytes]:
        length = min(note.part_bytes, stored.size - offset)
        return asyncio.create_task(self.store.read(stored, offset, length))

    async def _lives(self, stored: Stored, part: str, note: Note) -> None:
        """Nothing is sent for a job that has ended."""
        job = await look(self.gate, note.job)
        if job is not None and job.state.ending is not None:
            await self._failed(stored, part, note, job)

    async def _arrived(self, stored: Stored, part: str, note: Note) -> None:
        """Wait until the job has brought what was sent."""
        job = await ended(self.gate, note.job, self.waits, self.look_seconds)
        if await self.site.size(part) != stored.size:
            await self._failed(stored, part, note, job)

    async def _failed(self, stored: Stored, part: str, note: Note, job: RemoteJob | None) -> None:
        error = await failure(self.gate, note, job, stored.key)
        await self._give_up(part, note)
        if isinstance(error, Rejected):
            refused = (error.reason, error.message)
            await self._keep_note(Note(path=part, size=stored.size, refused=refused, when=self.now()))
        raise error

    async def _compare(self, stored: Stored, part: str, done: Hashed) -> None:
        """By the site's own hash where it answers in time; else by looks at the places where a piece that the job
        fetched ends and the next begins, which is where it would lose one.
        """
        try:
            there = await self.site.digest(part)
            same = there == done.hexdigest if there is not None else await self._looks(stored, part)
        except Missing:
            same = False
        if not same:
            await self._clean(part)
            await self._forget(part)
            text = f"What arrived at the site of {stored.key} is not what was sent; it is copied anew."
            raise Unavailable(text, reason="DigestDiffers")

    async def _looks(self, stored: Stored, part: str) -> bool:
        if await self.site.size(part) != stored.size:
            return False
        note = await read_note(self.site, self.run_root, part, "in")
        piece = note.piece_bytes if note is not None and note.piece_bytes else part_bytes(stored.size)
        for seam in (*range(0, stored.size, piece), stored.size):
            offset = max(min(seam - _SEAM_BYTES // 2, stored.size - _SEAM_BYTES), 0)
            async with self.turns.turn(self.owner):
                ours = await self.store.read(stored, offset, min(_SEAM_BYTES, stored.size - offset))
                if not await self.gate.resembles(part, offset, ours):
                    return False
        return True

    async def drop(self, stored: Stored, path: str) -> None:
        part = receipt.part_place(path, stored.version)
        self.hashes.pop(part, None)
        with contextlib.suppress(PasserelleError):
            note = await read_note(self.site, self.run_root, part, "in")
            if note is not None and not note.job and not note.refused[0]:
                for job in await self.gate.waiting_for(part):
                    await self.gate.cancel(job)
            await self._give_up(part, note or Note(path=part, size=0))

    async def _give_up(self, part: str, note: Note) -> None:
        """End the job, and leave nothing of what it has begun."""
        if note.job:
            await self.gate.cancel(note.job)
        await self._clean(part)
        await self._forget(part)

    async def _clean(self, part: str) -> None:
        """The part file, and the pieces of it that a job has beside it until they are in it."""
        directory, name = posixpath.split(part)
        for each in await self.site.entries(directory) or ():
            if not each.is_directory and re.fullmatch(re.escape(name) + r"(\.[0-9]+)?", each.name):
                await self.site.remove(f"{directory}/{each.name}")

    async def _forget(self, part: str) -> None:
        self.parts.pop(part, None)
        await self.site.remove(handed.sent_place(self.run_root, part))
        await self.site.remove(handed.note_place(self.run_root, part, "in"))

    async def _keep_note(self, note: Note) -> None:
        await keep_note(self.site, self.run_root, note, "in")

    async def _sent(self, part: str, note: Note) -> Sent:
        known = self.parts.get(part)
        if known is not None and known.job == note.job:
            return known
        try:
            content = await self.site.read(handed.sent_place(self.run_root, part), 0, handed.MOST_BYTES)
        except Missing:
            return Sent(job=note.job)
        return handed.sent(content, note.job)

    async def _keep_sent(self, part: str, sent: Sent) -> None:
        self.parts[part] = sent
        await self.site.write(handed.sent_place(self.run_root, part), sent.written(), mode=0o640)


async def read_note(site: Door, run_root: str, path: str, direction: str) -> Note | None:
    try:
        content = await site.read(handed.note_place(run_root, path, direction), 0, handed.MOST_BYTES)
    except Missing:
        return None
    return handed.note(content, path)


async def keep_note(site: Door, run_root: str, note: Note, direction: str) -> None:
    """Of the URLs in it each is a right: nobody else may read it."""
    place = handed.note_place(run_root, note.path, direction)
    await site.make_directory(posixpath.dirname(place))
    await site.write(place, note.written(), mode=0o600)


async def look(gate: HandoverDoor, job_id: str) -> RemoteJob | None:
    """A transfer job as the site has it; None where it is nowhere."""
    return next((job for job in await gate.get([job_id]) if job.job_id == job_id), None)


async def ended(gate: HandoverDoor, job_id: str, waits: Waits, seconds: float) -> RemoteJob | None:
    """Wait for the end of a transfer job, and tell what it waits for. None where it is gone without one."""
    gone = 0
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
        await asyncio.sleep(seconds)


async def failure(gate: HandoverDoor, note: Note, job: RemoteJob | None, what: str) -> PasserelleError:
    """Why a transfer job has not done what it was there for."""
    complaint = await gate.complaint(note.error_log) if note.error_log else None
    if complaint is not None:
        return complaint
    how = f"ended as {job.state.base}" if job is not None else "is gone"
    text = f"The site's transfer job {note.job} {how} and has not carried {what}; it is begun anew."
    return Unavailable(text, reason=FAILED, retry_after=60.0)


def _part_bytes(size: int, urls: int, most: int) -> int:
    """How far apart parts are: as far as we want, as far as the number of URLs asks, no more than the store takes."""
    least = -(-size // urls)
    return min(max(part_bytes(size), -(-least // _MEBIBYTE) * _MEBIBYTE), most)

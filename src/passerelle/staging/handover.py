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
from dataclasses import dataclass, field, replace
from typing import cast

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.slurm import RemoteJob
from passerelle.staging import handed, receipt
from passerelle.staging.copy_in import CopyIn, Count
from passerelle.staging.copy_out import LARGEST_FILE_BYTES, LARGEST_PART_BYTES, part_bytes
from passerelle.staging.handed import Note, Sent
from passerelle.staging.hashing import Hashed
from passerelle.staging.s3.allowed import ALLOWED
from passerelle.staging.s3.presigned import EXPIRED, OpenPresigned, Presigned, one_host
from passerelle.staging.store import Changed, Stored
from passerelle.staging.transfer_job import (
    FAILED,
    LOOK_SECONDS,
    REFUSED_SECONDS,
    HandoverDoor,
    Waits,
    another_failure,
    end,
    ended,
    failure,
    keep_note,
    look,
    read_note,
    whole,
)
from passerelle.staging.turns import SLICE_SECONDS

_MEBIBYTE = 1024 * 1024
_SEAM_BYTES = 32 * 1024


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
    dropping: float = 0.0
    """Since when: nothing was asked for after that, and the site's jobs are waited for once, not for each file."""

    @property
    def gate(self) -> HandoverDoor:
        return cast("HandoverDoor", self.site)

    async def copy(self, stored: Stored, path: str) -> None:
        """Notes go last, and with them what an operator left that died when the file had its name already. The copy is
        whole by then: what can't be tidied up is left to the next one of this object.
        """
        await super().copy(stored, path)
        part = receipt.part_place(path, stored.version)
        small = stored.size <= self.gate.small_bytes
        with contextlib.suppress(PasserelleError):
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
        try:
            store = self._store_of(note)
        except Invalid as error:  # nothing will ever be sent to where its job waits for it
            raise await self._came_to_nothing(part, note, error) from None
        try:
            done = await self._send(stored, part, note, sent, store, count)
        except Unavailable as error:
            if error.reason == EXPIRED:
                raise await self._came_to_nothing(part, note, error) from None
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
        """The transfer that is under way, or a new one. Of one whose answer was lost, or whose note is half
        written, the job is ended: nobody has the URLs that it waits for.
        """
        kept = await read_note(self.gate, self.run_root, part, "in")
        if kept is not None and kept.refused[0] and 0 <= self.now() - kept.when < REFUSED_SECONDS:
            raise Rejected(kept.refused[1], reason=kept.refused[0])
        if kept is not None and kept.job and kept.size == stored.size:
            return kept
        if kept is not None and not kept.refused[0]:
            await self._end_waiting(part)
        whose, failed = await self.gate.whose(), kept.failed if kept is not None else 0
        bare = Note(path=part, size=stored.size, cluster=whose.cluster, user=whose.user, failed=failed)
        await self._keep_note(bare)
        try:
            found = await self.gate.hand_in(part, stored.size, -(-stored.size // part_bytes(stored.size)), self.account)
        except PasserelleError as error:
            if isinstance(error, Unavailable) and error.sent:
                raise await self._unanswered(part, bare, error) from None
            if not failed:  # else how many came to nothing before stays on record
                await self._forget(part)
            raise
        size = _part_bytes(stored.size, len(found.parts), found.most_bytes)
        urls = (*found.parts[: -(-stored.size // size)], found.complete)
        note = replace(
            bare,
            job=found.job,
            urls=urls,
            part_bytes=size,
            piece_bytes=found.most_bytes,
            error_log=found.error_log,
        )
        unfit = _unfit(note, stored)
        try:
            if unfit is not None:
                raise unfit
            await self._keep_note(note)
        except PasserelleError as error:
            await self.gate.cancel(found.job)  # the bare note stands, or a broken one, until nobody waits any more
            raise await self._counted(bare, error) from None
        return note

    async def _unanswered(self, part: str, bare: Note, error: PasserelleError) -> PasserelleError:
        """What is to be raised where an answer was lost, or is of no use. The job that it may have been of is ended by
        the next try; with the last in a row at once, since the next try is long after.
        """
        told, after = another_failure(bare, error, self.now())
        await self._keep_note(replace(bare, failed=after.failed))
        if after.when:
            await self._end_waiting(part)
            await self._keep_note(after)
        return told

    async def _end_waiting(self, part: str, asked: float = 0.0) -> None:
        """End what was asked for until now, or until `asked`, and has no known number: a site may show it late."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep((asked or now) + self.gate.settle_seconds - now)
        for job in await self.gate.waiting_for(part):
            await self.gate.cancel(job)

    def _store_of(self, note: Note) -> Presigned:
        """Where all its URLs lead to. Raises Invalid where that is not one store, or not allowed."""
        return self.presigned(one_host(note.urls), self.gate.store_authority)

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
        raise await self._came_to_nothing(part, note, await failure(self.gate, note, job, stored.key))

    async def _came_to_nothing(self, part: str, note: Note, error: PasserelleError) -> PasserelleError:
        """What is to be raised: with the last job in a row, if not before, it is somebody's to mend. All is noted."""
        return await self._counted(note, error) if await self._give_up(part, note) else error

    async def _counted(self, note: Note, error: PasserelleError) -> PasserelleError:
        told, after = another_failure(note, error, self.now())
        await self._keep_note(after)
        return told

    async def _compare(self, stored: Stored, part: str, done: Hashed) -> str:
        """By the site's own hash where it answers in time; else by looks at the places where a piece that the job
        fetched ends and the next begins, which is where it would lose one.
        """
        compared = receipt.BY_HASH
        try:
            if (there := await self.site.digest(part)) is None:
                compared = receipt.BY_SEAMS
            same = there == done.hexdigest if there is not None else await self._looks(stored, part)
        except Missing:
            same = False
        if not same:
            text = f"What arrived at the site of {stored.key} is not what was sent; it is copied anew."
            error = Unavailable(text, reason=FAILED)
            self.hashes.pop(part, None)
            note = await read_note(self.gate, self.run_root, part, "in")
            if note is not None:
                raise await self._came_to_nothing(part, note, error)
            await self._clean(part)
            raise error
        return compared

    async def _looks(self, stored: Stored, part: str) -> bool:
        if await self.site.size(part) != stored.size:
            return False
        note = await read_note(self.gate, self.run_root, part, "in")
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
        self.parts.pop(part, None)
        note = await read_note(self.gate, self.run_root, part, "in")
        if note is None:
            await self._clean(part)
            return
        if not note.job and not note.refused[0]:
            self.dropping = self.dropping or asyncio.get_running_loop().time()
            await self._end_waiting(part, self.dropping)
        await self._give_up(part, note)

    async def _give_up(self, part: str, note: Note) -> bool:
        """End the job, and leave nothing of what it has begun; nothing is done where the note names another by now, or
        is gone: then somebody else has done so. Returns whether it was.
        """
        there = await read_note(self.gate, self.run_root, part, "in")
        if there is None or there.job != note.job:
            self.parts.pop(part, None)
            return False
        if note.job:
            await end(self.gate, note.job)
        await self._clean(part)
        await self._forget(part)
        return True

    async def _clean(self, part: str) -> None:
        """The part file, and the pieces of it that a job has beside it until they are in it. A directory that can't be
        listed, since it has too many files or is slow, doesn't tell of pieces.
        """
        directory, name = posixpath.split(part)
        try:
            found = await self.site.entries(directory) or ()
        except PasserelleError:
            await self.site.remove(part)
            return
        for each in found:
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
            return handed.sent(await whole(self.site, handed.sent_place(self.run_root, part)), note.job)
        except Missing:
            return Sent(job=note.job)

    async def _keep_sent(self, part: str, sent: Sent) -> None:
        self.parts[part] = sent
        await self.site.write(handed.sent_place(self.run_root, part), sent.written(), mode=0o640)


def _unfit(note: Note, stored: Stored) -> Rejected | None:
    """Why nothing can be sent to where a gateway's answer leads."""
    parts = len(note.urls) - 1
    if note.part_bytes > LARGEST_PART_BYTES or parts != -(-stored.size // note.part_bytes):
        text = f"The gateway takes {stored.key} in too few parts: {parts}; copy it by hand."
        return Rejected(text, reason="TooFewParts")
    if handed.note(note.written(), note.path) != note:
        text = f"The gateway's addresses for {stored.key} are too long to be noted; copy it by hand."
        return Rejected(text, reason="NoteTooLong")
    return None


def _part_bytes(size: int, urls: int, most: int) -> int:
    """How far apart parts are: as far as we want, as far as the number of URLs asks, no more than the store takes."""
    least = -(-size // urls)
    return min(max(part_bytes(size), -(-least // _MEBIBYTE) * _MEBIBYTE), most)

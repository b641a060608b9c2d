"""One file at a site whose gateway gives large files whole, to one object: CopyOut, but for where its bytes are read.

A job of the site puts the file into the gateway's object store; from there it is read by ranges, as often as needed.
What lies there counts while the file at the site is what it was, and is as large. A job whose answer was lost can't be
found by its file; it waits for nobody, and ends by itself. So it is counted, and where no note can be written none is
asked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import cast

from passerelle.errors import PasserelleError, Rejected, Unavailable
from passerelle.staging import handed
from passerelle.staging.copy_out import CopyOut
from passerelle.staging.door import Door
from passerelle.staging.handed import Note
from passerelle.staging.s3.allowed import ALLOWED
from passerelle.staging.s3.presigned import EXPIRED, OpenPresigned, Presigned
from passerelle.staging.store import Changed
from passerelle.staging.transfer_job import (
    LOOK_SECONDS,
    REFUSED_SECONDS,
    HandoverDoor,
    Waits,
    another_failure,
    end,
    ended,
    failure,
    keep_note,
    read_note,
)


@dataclass
class HandOut(CopyOut):
    """`account` is what a transfer job is charged to, "" where the site decides."""

    account: str = ""
    presigned: OpenPresigned = ALLOWED.presigned
    waits: Waits = lambda _reason, _text: None
    now: Callable[[], float] = time.time
    look_seconds: float = LOOK_SECONDS

    @property
    def gate(self) -> HandoverDoor:
        return cast("HandoverDoor", self.site)

    async def copy(self, path: str, size: int, key: str) -> None:
        if size <= self.gate.small_bytes:
            await super().copy(path, size, key)
            return
        there = await self.store.head(key)
        if there is not None and (there.size, there.sha256) == (size, await self.site.digest(path)):
            self.tell(size)
            return
        async with self._fetched(path, size) as door:
            plain = CopyOut(
                door,
                self.store,
                self.run_root,
                self.turns,
                self.owner,
                self.place,
                self.tell,
                self.moved,
                self.hashes,
            )
            await plain.copy(path, size, key)
        await self._forget(path)

    async def drop(self, path: str, key: str) -> None:
        try:
            await self.drop_job(path)
        finally:  # the bucket is another server
            await super().drop(path, key)

    async def drop_job(self, path: str) -> None:
        """What needs no bucket."""
        note = await read_note(self.gate, self.run_root, path, "out")
        if note is None:
            return
        if note.job:
            await end(self.gate, note.job)
        await self._forget(path)

    @contextlib.asynccontextmanager
    async def _fetched(self, path: str, size: int) -> AsyncIterator[Door]:
        """The site, of which this file is read from the gateway's object store."""
        note = await self._asked_for(path, size)
        job = await ended(self.gate, note.job, self.waits, self.look_seconds)
        if await self.gate.stamp(path) != note.stamp:
            await self._forget(path)
            raise _changed(path)
        store = self.presigned(note.urls[0], self.gate.store_authority)
        try:
            try:
                _, total = await store.read(note.urls[0], 0, 1)
            except Unavailable as error:
                if error.reason != EXPIRED:
                    raise
                total = -1
            if total != size:
                raise await self._counted(note, await failure(self.gate, note, job, path))
            try:
                yield cast("Door", Fetched(self.gate, path, size, note.stamp, store, note.urls[0]))
            except Changed:
                await self._forget(path)
                raise
            except Unavailable as error:
                if error.reason == EXPIRED:
                    await self._forget(path)
                raise
        finally:
            await store.close()

    async def _asked_for(self, path: str, size: int) -> Note:
        """What is in the gateway's store already, or on its way there, of this very file; else a new job."""
        kept, stamp = await read_note(self.gate, self.run_root, path, "out"), await self.gate.stamp(path)
        same = kept is not None and (kept.size, kept.stamp) == (size, stamp)
        if kept is not None and same:
            if kept.refused[0] and 0 <= self.now() - kept.when < REFUSED_SECONDS:
                raise Rejected(kept.refused[1], reason=kept.refused[0])
            if kept.job:
                return kept
        if kept is not None and kept.job:
            await end(self.gate, kept.job)
        whose, failed = await self.gate.whose(), kept.failed if kept is not None and same else 0
        bare = Note(path=path, size=size, cluster=whose.cluster, user=whose.user, stamp=stamp or "", failed=failed)
        await keep_note(self.site, self.run_root, bare, "out")
        try:
            found = await self.gate.hand_out(path, self.account)
        except PasserelleError as error:
            if isinstance(error, Unavailable) and error.sent:
                raise await self._counted(bare, error) from None
            if not failed:
                await self._forget(path)
            raise
        note = replace(bare, job=found.job, urls=(found.url,), error_log=found.error_log, stamp=found.stamp)
        try:
            await keep_note(self.site, self.run_root, note, "out")
        except PasserelleError as error:
            await self.gate.cancel(found.job)
            raise await self._counted(bare, error) from None
        return note

    async def _counted(self, note: Note, error: PasserelleError) -> PasserelleError:
        """What is to be raised after a job that came to nothing. It is noted."""
        told, after = another_failure(note, error, self.now())
        await keep_note(self.site, self.run_root, after, "out")
        return told

    async def _forget(self, path: str) -> None:
        await self.site.remove(handed.note_place(self.run_root, path, "out"))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A Door whose one large file is read from an object store, and is what it was when it was put there: else its last
    bytes aren't given, so that no object becomes whole. What CopyOut needs of it, and no more.
    """

    site: HandoverDoor
    path: str
    whole: int
    stamp: str
    store: Presigned
    url: str

    @property
    def part_bytes(self) -> int:
        return self.site.part_bytes

    async def size(self, path: str) -> int | None:
        return await self.site.size(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        if path != self.path:
            return await self.site.read(path, offset, length)
        content, _ = await self.store.read(self.url, offset, length)
        if offset + len(content) >= self.whole and await self.site.stamp(path) != self.stamp:
            raise _changed(path)
        return content

    async def digest(self, path: str) -> str | None:
        return await self.site.digest(path)

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        await self.site.write(path, content, mode=mode)

    async def make_directory(self, path: str) -> None:
        await self.site.make_directory(path)

    async def remove(self, path: str) -> None:
        await self.site.remove(path)


def _changed(path: str) -> Changed:
    return Changed(f"{path} changed while it was copied; it is copied anew.", reason="OutputChanged")

"""Copies that grow under the name that they are for, where a gateway gives no file another name.

Before the first byte stands a note that says whose it will be; the last act is the receipt, and then the note goes. A
note alone proves nothing: who finds one may find somebody's file. So a file is only gone on with where its bytes are
the object's, it gets its receipt when all of it was read back, and nothing is removed but what is shorter than the
object and holds no byte that is not of it, or a zero that a write has left behind those. All else is somebody's, and
stays as it is: also what can't be proven any more, or only by reading for hours. An empty file with a note is gone on
with, whoever made it: there is nothing in it to be lost, and a connection that broke leaves one.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from passerelle.errors import Invalid, Unavailable
from passerelle.staging import receipt
from passerelle.staging.door import Door
from passerelle.staging.hashing import Hashed
from passerelle.staging.reading import forget_back, kept, kept_receipt, read_back, read_exactly
from passerelle.staging.receipt import Begun, Source
from passerelle.staging.store import Objects, Stored
from passerelle.staging.turns import Turns

IN_THE_WAY = "DataInTheWay"
TAKEN_OVER = "CopyTakenOver"
HEAD_BYTES = 1024
PROVEN_BYTES = 1024 * 1024 * 1024
"""The most that is read back only to remove it: a minute's reading."""


@dataclass(slots=True)
class InPlace:
    """Copies from one store to one site."""

    site: Door
    store: Objects
    run_root: str
    turns: Turns
    owner: str
    hashes: dict[str, Hashed]

    async def is_ours(self, stored: Stored, source: Source, path: str, size: int) -> bool:
        """Whether what lies there, without a receipt, may be a beginning of this very copy; then its note stands. One
        of another version of the same object goes for it, where this operator knows what it sent. Raises Invalid for
        the beginning of another copy, and of a version that nobody can compare it with.
        """
        note = await self._note(path)
        if note is None:
            return False
        if not await self._fits(note, path, size):
            await self.end(path)
            return False
        if note.source != source:
            raise Invalid(
                f"{path} at the site is the beginning of another copy, of {note.source.key} in the bucket "
                f"{note.source.bucket}: it is not replaced. Write another path, or remove the file at the site.",
                reason=IN_THE_WAY,
            )
        if not _is_of(note, stored, source):
            known = self.hashes.get(receipt.part_place(path, note.etag), Hashed())
            if size >= note.size or size != known.offset or not await self._is(path, known):
                raise Invalid(
                    f"{path} at the site seems to be the beginning of another version of {stored.key}, which it can't "
                    "be compared with any more: it is not replaced. Write another path, such as one with the version "
                    "in it, or remove the file at the site.",
                    reason=IN_THE_WAY,
                )
            await self.site.remove(path)
            await self.begin(stored, source, path)
        return True

    async def goes_on(self, stored: Stored, path: str, done: Hashed, *, sent: bool) -> bool:
        """Whether what lies there is the object's first bytes, `done`. What is so but for zeros in its last part is
        removed. `sent`: this operator has sent it; else all of it is read. Raises Invalid where it is somebody's.
        """
        length = min(done.offset, self.site.part_bytes)
        start = done.offset - length
        async with self.turns.turn(self.owner):
            there = await read_exactly(self.site, path, start, length)
            ours = await self.store.read(stored, start, length) if length else b""
        if there == ours and sent:
            return True
        before = await read_back(self.site, self.turns, self.owner, path, start, self.hashes)
        same = (await before.after(ours)).hexdigest == done.hexdigest
        forget_back(path, self.hashes)
        if not same or not ours.startswith(there.rstrip(b"\0")):
            raise written_into(path, stored.key)
        if there != ours:
            await self.site.remove(path)
        return there == ours

    async def begin(self, stored: Stored, source: Source, path: str) -> None:
        """Say whose it will be, before there is anything."""
        head = await self.store.read(stored, 0, min(HEAD_BYTES, stored.size)) if stored.size else b""
        told = base64.b64encode(head).decode("ascii")
        new = Begun(path=path, source=source, size=stored.size, etag=stored.version, head=told)
        await self.site.make_directory(receipt.folder(self.run_root))
        await self.site.write(receipt.begun_place(self.run_root, path), new.written(), mode=0o640)

    async def check(self, stored: Stored, source: Source, path: str) -> None:
        """Raises Unavailable where another copy to this path has begun meanwhile, from another Site or operator: what
        lies there may be of both.
        """
        if not _is_of(await self._note(path), stored, source):
            text = f"Another copy to {path} has begun meanwhile, from another Site or operator; it is looked at again."
            raise Unavailable(text, reason=TAKEN_OVER)

    async def end(self, path: str) -> None:
        """Its receipt stands, or nothing of it lies there."""
        await self.site.remove(receipt.begun_place(self.run_root, path))

    async def drop(self, stored: Stored, source: Source, path: str, known: Hashed | None) -> None:
        """Leave nothing of this copy, the file first: a note alone does no harm. What is as long as the object stays,
        since another receipt may tell of it; and so does, with its note, what is not proven to be of `known`, which
        this operator has sent, and of the part behind it.
        """
        note = await self._note(path)
        if note is None or not _is_of(note, stored, source):
            return
        size = await self.site.size(path)
        whole = await kept_receipt(self.site, self.run_root, path) is not None
        if size is not None and size < note.size and not whole and await self._fits(note, path, size):
            done, left = known or Hashed(), size - (known.offset if known else 0)
            if not 0 <= left <= self.site.part_bytes:
                return
            if left:
                done = await done.after(await self.store.read(stored, done.offset, left))
            if not await self._is(path, done):
                return
            await self.site.remove(path)
        await self.end(path)

    async def _is(self, path: str, done: Hashed) -> bool:
        """Whether these are a file's first bytes; no where that takes long to tell."""
        if done.offset > PROVEN_BYTES:
            return False
        forget_back(path, self.hashes)
        there = await read_back(self.site, self.turns, self.owner, path, done.offset, self.hashes)
        forget_back(path, self.hashes)
        return there.hexdigest == done.hexdigest

    async def _note(self, path: str) -> Begun | None:
        return receipt.begun(await kept(self.site, receipt.begun_place(self.run_root, path)), path)

    async def _fits(self, note: Begun, path: str, size: int) -> bool:
        """Whether a file may be the beginning that a note tells of."""
        try:
            head = base64.b64decode(note.head, validate=True)[:size]
        except ValueError:
            return False
        return size <= note.size and await read_exactly(self.site, path, 0, len(head)) == head


def _is_of(note: Begun | None, stored: Stored, source: Source) -> bool:
    return note is not None and (note.source, note.etag, note.size) == (source, stored.version, stored.size)


def written_into(path: str, key: str) -> Invalid:
    return Invalid(
        f"{path} at the site is not what was sent of {key}: somebody else wrote it, or into it. It is not replaced; "
        "write another path, or remove the file at the site, and it is copied anew.",
        reason=IN_THE_WAY,
    )

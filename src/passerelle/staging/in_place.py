"""Copies that grow under the name that they are for, where a gateway gives no file another name.

Before the first byte stands a note that says whose it will be; the last act is the receipt, and then the note goes.
What lies at a path is ours and not whole as long as such a note stands, no receipt does, and the file begins as the
note says: that alone is gone on with, or begun anew in another version. All else is somebody's, and stays as it is. A
death leaves a note without a file, a beginning with its note, or, when it was whole, a file that is taken like any
other of the same content.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from passerelle.errors import Invalid, Unavailable
from passerelle.staging import receipt
from passerelle.staging.door import Door
from passerelle.staging.reading import kept, kept_receipt, read_exactly
from passerelle.staging.receipt import Begun, Source
from passerelle.staging.store import Store, Stored

IN_THE_WAY = "DataInTheWay"
TAKEN_OVER = "CopyTakenOver"
HEAD_BYTES = 1024


@dataclass(slots=True)
class InPlace:
    """Copies from one store to one site."""

    site: Door
    store: Store
    run_root: str

    async def is_ours(self, stored: Stored, source: Source, path: str, size: int) -> bool:
        """Whether what lies there, without a receipt, is a beginning of this very copy; then its note stands. One of
        another version of the same object goes for it. Raises Invalid for the beginning of another copy.
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
            await self.site.remove(path)
            await self.begin(stored, source, path)
        return True

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

    async def drop(self, stored: Stored, source: Source, path: str) -> None:
        """Leave nothing of this copy, the file first: a note alone does no harm."""
        note = await self._note(path)
        if note is None or not _is_of(note, stored, source):
            return
        size = await self.site.size(path)
        whole = await kept_receipt(self.site, self.run_root, path) is not None
        if size is not None and not whole and await self._fits(note, path, size):
            await self.site.remove(path)
        await self.end(path)

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

"""One object to one path at the site: once, whole, compared, whoever asks and whatever breaks.

It grows in a `.part` file beside its place, which tells how far it has come. What S3 sent is hashed as it passes; what
arrived is hashed by the site where it can, else its seams are read back. Only then it gets its name, and a receipt.
What lies at the path is never replaced, whosever it is: the same is taken as it is, and all else is in the way, an
older version of the same object, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import SIZE_DIFFERS
from passerelle.staging import receipt
from passerelle.staging.door import Door
from passerelle.staging.hashing import Hashed
from passerelle.staging.receipt import Receipt, Source
from passerelle.staging.store import Changed, Store, Stored
from passerelle.staging.turns import SLICE_SECONDS, Turns

IN_THE_WAY = "DataInTheWay"
DIFFERS = "DigestDiffers"
RECEIPT_LIMIT = 64 * 1024

REHASHED_BYTES = 1024 * 1024 * 1024
"""A login node hashes as much in some seconds; a terabyte would take it most of an hour, for each TrainingJob."""

Tell = Callable[[int], None]
"""So many bytes more are where they shall be, or less where a copy begins anew."""


@dataclass(slots=True)
class Count:
    """What was told of one copy, so that it can be taken back."""

    tell: Tell
    told: int = 0

    def add(self, size: int) -> None:
        self.told += size
        self.tell(size)

    def undo(self) -> None:
        self.tell(-self.told)
        self.told = 0


@dataclass(slots=True)
class CopyIn:
    """Copies of one owner from one bucket to one site. `hashes` outlives it: what was hashed is not hashed again.
    `endpoint` and `bucket` tell in receipts what the store is. `rehash`: what has a receipt and is small is hashed
    at the site again.
    """

    site: Door
    store: Store
    run_root: str
    turns: Turns
    owner: str
    tell: Tell
    moved: Tell = lambda _: None
    hashes: dict[str, Hashed] = field(default_factory=dict)
    endpoint: str = ""
    bucket: str = ""
    rehash: bool = True
    _opened: set[str] = field(default_factory=set)

    async def copy(self, stored: Stored, path: str) -> None:
        """Raises Invalid (DataInTheWay), Changed, and what the site and the store raise."""
        kept, size = await self.receipt(path), await self.site.size(path)
        if size is None:
            await self._bring(stored, path, kept)
        elif kept == self._receipt(stored, path, kept.sha256 if kept else "") and await self._as_told(kept, size):
            self.tell(stored.size)
        else:
            await self._adopt(stored, path, size, kept)

    async def receipt(self, path: str) -> Receipt | None:
        """What stands in the receipt of a path, where there is one."""
        return await kept_receipt(self.site, self.run_root, path)

    async def _as_told(self, kept: Receipt, size: int) -> bool:
        """Whether a receipt is to be believed. A small file that was edited at the site may have its size still."""
        if kept.size != size or not self.rehash or size > REHASHED_BYTES:
            return kept.size == size
        return await self.site.digest(kept.path) in (None, kept.sha256)

    async def keep(self, kept: Receipt) -> None:
        await self.site.make_directory(receipt.folder(self.run_root))
        await self.site.write(receipt.receipt_place(self.run_root, kept.path), kept.written(), mode=0o640)

    def source(self, key: str) -> Source:
        return Source(endpoint=self.endpoint, bucket=self.bucket, key=key)

    def _receipt(self, stored: Stored, path: str, sha256: str) -> Receipt:
        source = self.source(stored.key)
        return Receipt(path=path, source=source, size=stored.size, etag=stored.version, sha256=sha256)

    async def _adopt(self, stored: Stored, path: str, size: int, kept: Receipt | None) -> None:
        """Take what lies there and is the same. Only its bytes tell: what the store says of them is somebody's word."""
        what = "is not what lies in the store as"
        if kept is not None and kept.size == size and kept.source == self.source(stored.key):
            what = "was copied from another version of" if kept.etag != stored.version else what
        refusal = Invalid(
            f"{path} exists at the site and {what} {stored.key}: it is not replaced. Write another path, such as one "
            "with the version in it, or remove the file at the site.",
            reason=IN_THE_WAY,
        )
        if size != stored.size:
            raise refusal
        told = kept.sha256 if kept is not None and kept.size == size else ""
        hashed = partial(site_digest, self.site, self.turns, self.owner, path, size)
        theirs = told or await hashed()
        if stored.sha256 and theirs != stored.sha256:
            raise refusal
        part = receipt.part_place(path, stored.version)
        ours = self.hashes[part] = await self._hashed(stored, size, self.hashes.get(part))
        if theirs != ours.hexdigest or (told and await hashed() != told):
            raise refusal
        await self.keep(self._receipt(stored, path, theirs))
        self.hashes.pop(part, None)
        self.tell(size)

    async def _bring(self, stored: Stored, path: str, kept: Receipt | None) -> None:
        if await self.site.entries(path) is not None:
            text = f"{path} is a directory at the site; write the path of a file that is not there yet, or end the "
            raise Invalid(f"{text}source's url with a slash to copy all below it.", reason=IN_THE_WAY)
        part = receipt.part_place(path, stored.version)
        await self.site.make_directory(posixpath.dirname(path))
        count = Count(self.tell)
        try:
            done = await self._fill(stored, part, count)
            await self._compare(stored, part, done)
            await self._name(stored, part, path, kept, done, count)
        except BaseException as error:
            count.undo()
            if isinstance(error, Changed) or (isinstance(error, PasserelleError) and error.reason == DIFFERS):
                await self.drop(stored, path)
            raise
        self.hashes.pop(part, None)

    async def _fill(self, stored: Stored, part: str, count: Count) -> Hashed:
        """Have the part file be the whole object, from where it stands."""
        done = await self._resumed(stored, part)
        count.add(done.offset)
        if not stored.size and await self.site.size(part) is None:
            await self.site.append(part, 0, b"")
        while done.offset < stored.size:
            async with self.turns.turn(self.owner):
                done = await self._slice(stored, part, done, count)
        return done

    async def _name(
        self, stored: Stored, part: str, path: str, kept: Receipt | None, done: Hashed, count: Count
    ) -> None:
        """Give what is whole its name, where nothing has it: somebody else may have come meanwhile, from another Site.

        Whatever dies here leaves no receipt of another content: those that stand go first, ours comes last.
        """
        await self._open(path, kept)
        size = await self.site.size(path)
        if size is None:
            await self.site.rename(part, path)
            await self.keep(self._receipt(stored, path, done.hexdigest))
            return
        self.hashes[part] = done
        count.undo()
        await self._adopt(stored, path, size, None)
        await self.site.remove(part)

    async def _open(self, path: str, kept: Receipt | None) -> None:
        """Take back what receipts tell of this path, and of the directories that it lies in."""
        if kept is not None:
            await self.site.remove(receipt.receipt_place(self.run_root, path))
        for each in receipt.directories(path):
            if each not in self._opened:
                await self.site.remove(receipt.receipt_place(self.run_root, each))
                self._opened.add(each)

    async def drop(self, stored: Stored, path: str) -> None:
        """Leave nothing of a copy that is not whole."""
        part = receipt.part_place(path, stored.version)
        self.hashes.pop(part, None)
        with contextlib.suppress(PasserelleError):
            await self.site.remove(part)

    async def _resumed(self, stored: Stored, part: str) -> Hashed:
        """How far the part file has come, with the hash of so much of the object; nothing where they don't fit."""
        have = await self.site.size(part) or 0
        if have == 0:
            return Hashed()
        if have <= stored.size:
            done = await self._hashed(stored, have, self.hashes.get(part))
            if await self._seam_fits(stored, part, have):
                return done
        await self.site.remove(part)
        return Hashed()

    async def _seam_fits(self, stored: Stored, part: str, have: int) -> bool:
        """Whether the last bytes that arrived are the object's."""
        length = min(have, self.site.part_bytes)
        async with self.turns.turn(self.owner):
            there = await read_exactly(self.site, part, have - length, length)
            return there == await self.store.read(stored, have - length, length)

    async def _hashed(self, stored: Stored, end: int, begun: Hashed | None = None) -> Hashed:
        """The object's first bytes, read from the store."""
        done = begun if begun is not None and begun.offset <= end else Hashed()
        while done.offset < end:
            async with self.turns.turn(self.owner):
                length = min(self.site.part_bytes, end - done.offset)
                done = await done.after(await self.store.read(stored, done.offset, length))
        return done

    async def _slice(self, stored: Stored, part: str, done: Hashed, count: Count) -> Hashed:
        """Some parts more: while one is written, the next is read, and never more than that."""
        clock = asyncio.get_running_loop().time
        until = clock() + SLICE_SECONDS
        ahead = self._ahead(stored, done.offset)
        try:
            while True:
                content = await ahead
                following = done.offset + len(content)
                more = following < stored.size and not (clock() >= until and self.turns.wanted)
                if more:
                    ahead = self._ahead(stored, following)
                hashing = asyncio.create_task(done.after(content))
                try:
                    await self.site.append(part, done.offset, content)
                except Rejected as error:
                    if error.reason != SIZE_DIFFERS:
                        raise
                    raise Unavailable(error.message, reason=SIZE_DIFFERS) from None  # it is looked at again
                finally:
                    done_after = await hashing
                done = self.hashes[part] = done_after
                count.add(len(content))
                self.moved(len(content))
                if not more:
                    return done
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    def _ahead(self, stored: Stored, offset: int) -> asyncio.Task[bytes]:
        length = min(self.site.part_bytes, stored.size - offset)
        return asyncio.create_task(self.store.read(stored, offset, length))

    async def _compare(self, stored: Stored, part: str, done: Hashed) -> None:
        """Whether what arrived is what was sent."""
        there = await self.site.digest(part)
        if there is None:  # its seams were read back when the copy went on from them
            same = await self.site.size(part) == stored.size and await self._seam_fits(stored, part, stored.size)
        else:
            same = there == done.hexdigest
        if not same:
            text = f"What arrived at the site of {stored.key} is not what was sent; it is copied anew."
            raise Unavailable(text, reason=DIFFERS)


async def kept_receipt(site: Door, run_root: str, path: str) -> Receipt | None:
    """What stands in the receipt of a path at the site, where there is one."""
    try:
        content = await site.read(receipt.receipt_place(run_root, path), 0, RECEIPT_LIMIT)
    except Missing:
        return None
    return receipt.receipt(content, path)


async def site_digest(site: Door, turns: Turns, owner: str, path: str, size: int) -> str:
    """SHA-256 of a file at the site, as the site computes it; else it is read for that, in this owner's turns."""
    told = await site.digest(path)
    if told is not None:
        return told
    done = Hashed()
    while done.offset < size:
        async with turns.turn(owner):
            length = min(site.part_bytes, size - done.offset)
            done = await done.after(await read_exactly(site, path, done.offset, length))
    return done.hexdigest


async def read_exactly(site: Door, path: str, offset: int, length: int) -> bytes:
    """So many bytes of a file at the site; a gateway may give fewer at a time. Raises Changed at its end."""
    found = bytearray()
    while len(found) < length:
        piece = await site.read(path, offset + len(found), length - len(found))
        if not piece:
            raise Changed(f"{path} has become shorter while it was copied; it is copied anew.", reason="OutputChanged")
        found += piece
    return bytes(found)

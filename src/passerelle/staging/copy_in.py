"""One object to one path at the site: once, whole, compared, whoever asks and whatever breaks.

It grows in a `.part` file beside its place, which tells how far it has come. What S3 sent is hashed as it passes; what
arrived is hashed by the site where it can, else its seams are read back. Only then it gets its name, and a receipt.
What lies at the path and is not ours is never written over.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import SIZE_DIFFERS
from passerelle.staging import receipt
from passerelle.staging.door import Door
from passerelle.staging.hashing import Hashed
from passerelle.staging.receipt import Receipt
from passerelle.staging.store import Changed, Store, Stored
from passerelle.staging.turns import SLICE_SECONDS, Turns

IN_THE_WAY = "DataInTheWay"
DIFFERS = "DigestDiffers"
RECEIPT_LIMIT = 64 * 1024

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
    """Copies of one owner from one bucket to one site. `hashes` outlives it: what was hashed is not hashed again."""

    site: Door
    store: Store
    run_root: str
    turns: Turns
    owner: str
    tell: Tell
    moved: Tell = lambda _: None
    hashes: dict[str, Hashed] = field(default_factory=dict)

    async def copy(self, stored: Stored, path: str) -> None:
        """Raises Invalid (DataInTheWay), Changed, and what the site and the store raise."""
        kept, size = await self.receipt(path), await self.site.size(path)
        if kept is not None and kept.size == size and (kept.etag, kept.size) == (stored.version, stored.size):
            self.tell(stored.size)
            return
        if size is not None and (kept is None or kept.size != size):
            await self._adopt(stored, path, size)
            return
        await self._bring(stored, path)

    async def receipt(self, path: str) -> Receipt | None:
        """What stands in the receipt of a path, where there is one."""
        try:
            content = await self.site.read(receipt.receipt_place(self.run_root, path), 0, RECEIPT_LIMIT)
        except Missing:
            return None
        return receipt.receipt(content, path)

    async def keep(self, kept: Receipt) -> None:
        await self.site.make_directory(receipt.folder(self.run_root))
        await self.site.write(receipt.receipt_place(self.run_root, kept.path), kept.written(), mode=0o640)

    async def _adopt(self, stored: Stored, path: str, size: int) -> None:
        """Take for ours what lies there and is the same."""
        refusal = Invalid(
            f"{path} exists at the site and is not what {stored.key} is: nothing is written over it. Move it away, or "
            "write another path.",
            reason=IN_THE_WAY,
        )
        if size != stored.size:
            raise refusal
        theirs = await self.site.digest(path)
        if theirs is None:
            theirs = await self._read_digest(path, size)
        ours = stored.sha256 or (await self._hashed(stored, stored.size)).hexdigest
        if theirs != ours:
            raise refusal
        await self.keep(Receipt(path=path, size=size, etag=stored.version, sha256=ours))
        self.tell(size)

    async def _bring(self, stored: Stored, path: str) -> None:
        part = receipt.part_place(path, stored.version)
        await self.site.make_directory(posixpath.dirname(path))
        count = Count(self.tell)
        try:
            done = await self._resumed(stored, part)
            count.add(done.offset)
            if not stored.size and await self.site.size(part) is None:
                await self.site.append(part, 0, b"")
            while done.offset < stored.size:
                async with self.turns.turn(self.owner):
                    done = await self._slice(stored, part, done, count)
            await self._compare(stored, part, done)
            await self.site.rename(part, path)
            await self.keep(Receipt(path=path, size=stored.size, etag=stored.version, sha256=done.hexdigest))
        except BaseException as error:
            count.undo()
            if isinstance(error, Changed) or (isinstance(error, PasserelleError) and error.reason == DIFFERS):
                await self.drop(stored, path)
            raise
        self.hashes.pop(part, None)

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

    async def _read_digest(self, path: str, size: int) -> str:
        done = Hashed()
        while done.offset < size:
            async with self.turns.turn(self.owner):
                length = min(self.site.part_bytes, size - done.offset)
                done = await done.after(await read_exactly(self.site, path, done.offset, length))
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

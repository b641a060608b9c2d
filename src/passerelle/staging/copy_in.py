"""One object to one path at the site: once, whole, compared, whoever asks and whatever breaks.

It grows in a `.part` file beside its place, which tells how far it has come. What S3 sent is hashed as it passes; what
arrived is hashed by the site where it can. Else a copy that came in one go is compared at its end, and one that was
broken off is read back whole: what a call left behind lands when it likes. Then it gets its name, and a receipt.
What lies at the path is never replaced, whosever it is: the same is taken as it is, and all else is in the way, an
older version of the same object, too. Where a gateway renames nothing it grows under its own name: in_place.py tells
how it is known from what is somebody's, and its receipt alone says that it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import SIZE_DIFFERS
from passerelle.staging import receipt
from passerelle.staging.door import Door
from passerelle.staging.hashing import Hashed
from passerelle.staging.in_place import IN_THE_WAY, InPlace, written_into
from passerelle.staging.reading import forget_back, kept_receipt, read_back, read_exactly, site_digest
from passerelle.staging.receipt import Receipt, Source
from passerelle.staging.store import Changed, Objects, Stored
from passerelle.staging.turns import SLICE_SECONDS, Turns

DIFFERS = "DigestDiffers"

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
    store: Objects
    run_root: str
    turns: Turns
    owner: str
    endpoint: str
    bucket: str
    tell: Tell
    moved: Tell = lambda _: None
    hashes: dict[str, Hashed] = field(default_factory=dict)
    rehash: bool = True
    _opened: set[str] = field(default_factory=set)
    _gone_on: set[str] = field(default_factory=set)
    """Files that this try has not begun."""

    async def copy(self, stored: Stored, path: str) -> None:
        """Raises Invalid (DataInTheWay), Changed, and what the site and the store raise."""
        kept, size = await self.receipt(path), await self.site.size(path)
        if size is None:
            await self._bring(stored, path, kept)
        elif kept == self._receipt(stored, path, kept.sha256 if kept else "") and await self._as_told(kept, size):
            self.tell(stored.size)
        elif kept is None and await self._is_ours(stored, path, size):
            await self._bring(stored, path, kept, ours=True)
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

    async def _is_ours(self, stored: Stored, path: str, size: int) -> bool:
        """Whether what lies there is a beginning that grows under its own name, with its note."""
        return not self._renames and await self._in_place.is_ours(stored, self.source(stored.key), path, size)

    @property
    def _renames(self) -> bool:
        return self.site.traits.renames

    @property
    def _in_place(self) -> InPlace:
        return InPlace(self.site, self.store, self.run_root, self.turns, self.owner, self.hashes)

    def source(self, key: str) -> Source:
        return Source(endpoint=self.endpoint, bucket=self.bucket, key=key)

    def _receipt(self, stored: Stored, path: str, sha256: str, compared: str = "") -> Receipt:
        what = Receipt(path=path, source=self.source(stored.key), size=stored.size, etag=stored.version, sha256=sha256)
        return replace(what, compared=compared)

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
        hashed = partial(site_digest, self.site, self.turns, self.owner, path, size, self.hashes)
        theirs = told or await hashed()
        self.hashes.pop(path, None)  # by the next try another file may lie there
        if stored.sha256 and theirs != stored.sha256:
            raise refusal
        part = receipt.part_place(path, stored.version)
        ours = self.hashes[part] = await self._hashed(stored, size, self.hashes.get(part))
        if theirs != ours.hexdigest or (told and await hashed() != told):
            raise refusal
        await self.keep(self._receipt(stored, path, theirs, receipt.BY_HASH))
        self.hashes.pop(part, None)
        self.tell(size)

    async def _bring(self, stored: Stored, path: str, kept: Receipt | None, *, ours: bool = False) -> None:
        if await self.site.entries(path) is not None:
            text = f"{path} is a directory at the site; write the path of a file that is not there yet, or end the "
            raise Invalid(f"{text}source's url with a slash to copy all below it.", reason=IN_THE_WAY)
        part = receipt.part_place(path, stored.version)
        await self.site.make_directory(posixpath.dirname(path))
        count = Count(self.tell)
        try:
            if self._renames:
                done = await self._fill(stored, part, count)
                compared = await self._compare(stored, part, done)
                await self._name(stored, part, path, kept, done, count, compared)
            else:
                await self._fill_in_place(stored, part, path, kept, count, ours=ours)
        except BaseException as error:
            count.undo()
            if isinstance(error, Changed) or (isinstance(error, PasserelleError) and error.reason == DIFFERS):
                with contextlib.suppress(PasserelleError):  # by the next try, then
                    await self.drop(stored, path)
            raise
        self.hashes.pop(part, None)

    async def _fill(self, stored: Stored, part: str, count: Count) -> Hashed:
        """Have the part file be the whole object, from where it stands."""
        return await self._grow(stored, part, part, count, await self._resumed(stored, part, part))

    async def _fill_in_place(
        self, stored: Stored, part: str, path: str, kept: Receipt | None, count: Count, *, ours: bool
    ) -> None:
        """Have the file be the whole object under its own name; `ours`: it may have begun, and its note stands."""
        source, begun = self.source(stored.key), Hashed()
        if ours:
            begun = await self._resumed_in_place(stored, path, part)
        else:
            await self._open(path, kept)
            await self._in_place.begin(stored, source, path)
        done = await self._grow(stored, path, part, count, begun)
        try:
            compared = await self._compare(stored, path, done)
        except Unavailable as error:
            if error.reason != DIFFERS:
                raise
            await self._in_place.check(stored, source, path)
            await self._in_place.end(path)
            raise written_into(path, stored.key) from None
        await self._in_place.check(stored, source, path)
        await self.keep(self._receipt(stored, path, done.hexdigest, compared))
        await self._in_place.end(path)

    async def _grow(self, stored: Stored, grows: str, part: str, count: Count, done: Hashed) -> Hashed:
        count.add(done.offset)
        if not stored.size and await self.site.size(grows) is None:
            await self.site.append(grows, 0, b"")
        while done.offset < stored.size:
            async with self.turns.turn(self.owner):
                if not self._renames:
                    await self._in_place.check(stored, self.source(stored.key), grows)
                done = await self._slice(stored, grows, part, done, count)
        return done

    async def _name(
        self, stored: Stored, part: str, path: str, kept: Receipt | None, done: Hashed, count: Count, compared: str
    ) -> None:
        """Give what is whole its name, where nothing has it: somebody else may have come meanwhile, from another Site.

        Whatever dies here leaves no receipt of another content: those that stand go first, ours comes last.
        """
        await self._open(path, kept)
        size = await self.site.size(path)
        if size is None:
            await self.site.rename(part, path)
            await self.keep(self._receipt(stored, path, done.hexdigest, compared))
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
        """Leave nothing of a copy that is not whole. Raises what the site and the store raise, and may be called again
        then.
        """
        part = receipt.part_place(path, stored.version)
        if self._renames:
            await self.site.remove(part)
        else:
            with contextlib.suppress(Changed, Missing):  # of an object that is another by now nothing proves it
                await self._in_place.drop(stored, self.source(stored.key), path, self.hashes.get(part))
        self.hashes.pop(part, None)

    async def _resumed(self, stored: Stored, grows: str, part: str) -> Hashed:
        """How far it has grown, with the hash of so much of the object; nothing where they don't fit."""
        have = await self.site.size(grows) or 0
        if have == 0:
            return Hashed()
        if have <= stored.size:
            done = await self._hashed(stored, have, self.hashes.get(part))
            if await self._seam_fits(stored, grows, have):
                self._gone_on.add(grows)
                return done
        await self.site.remove(grows)
        return Hashed()

    async def _resumed_in_place(self, stored: Stored, path: str, part: str) -> Hashed:
        """How far it has grown under its own name, likewise. Raises Invalid where it is somebody's."""
        have = await self.site.size(path) or 0
        if have > stored.size:
            raise written_into(path, stored.key)
        known = self.hashes.get(part)
        done = await self._hashed(stored, have, known)
        if have < stored.size:  # else it is read back at once
            sent = known is not None and 0 <= have - known.offset <= self.site.part_bytes
            if not await self._in_place.goes_on(stored, path, done, sent=sent):
                self.hashes.pop(part, None)
                return Hashed()
        if have:
            self.hashes[part] = done
        return done

    async def _seam_fits(self, stored: Stored, grows: str, have: int) -> bool:
        """Whether the last bytes that arrived are the object's."""
        length = min(have, self.site.part_bytes)
        async with self.turns.turn(self.owner):
            there = await read_exactly(self.site, grows, have - length, length)
            return there == await self.store.read(stored, have - length, length)

    async def _hashed(self, stored: Stored, end: int, begun: Hashed | None = None) -> Hashed:
        """The object's first bytes, read from the store."""
        done = begun if begun is not None and begun.offset <= end else Hashed()
        while done.offset < end:
            async with self.turns.turn(self.owner):
                length = min(self.site.part_bytes, end - done.offset)
                done = await done.after(await self.store.read(stored, done.offset, length))
        return done

    async def _slice(self, stored: Stored, grows: str, part: str, done: Hashed, count: Count) -> Hashed:
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
                    forget_back(grows, self.hashes)
                    await self.site.append(grows, done.offset, content)
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

    async def _compare(self, stored: Stored, grows: str, done: Hashed) -> str:
        """See that what arrived is what was sent. Returns by what that was seen."""
        there, compared = await self.site.digest(grows), receipt.BY_HASH
        if there is not None:
            same = there == done.hexdigest
        elif await self.site.size(grows) != stored.size:
            same = False
        elif self._renames and grows not in self._gone_on:
            same, compared = await self._seam_fits(stored, grows, stored.size), receipt.BY_END
        else:
            back = await read_back(self.site, self.turns, self.owner, grows, stored.size, self.hashes)
            same = back.hexdigest == done.hexdigest
            forget_back(grows, self.hashes)
        if not same:
            text = f"What arrived at the site of {stored.key} is not what was sent; it is copied anew."
            raise Unavailable(text, reason=DIFFERS)
        return compared

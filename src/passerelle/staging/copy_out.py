"""One file at the site to one object: once, whole, compared, whoever asks and whatever breaks.

The object carries the SHA-256 of its content, so that the next look knows that it is there. A large file goes in parts;
a note at the site names the upload that is under way, and stands before it is begun. The store knows how far it has
come: a part that is there is known by its SHA-256, never by its size. An object appears when its last part has: nothing
is ever seen half.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from passerelle.errors import Invalid, PasserelleError, Unavailable
from passerelle.staging import receipt
from passerelle.staging.copy_in import Count, Tell
from passerelle.staging.door import Door
from passerelle.staging.hashing import Hashed
from passerelle.staging.reading import kept, read_exactly, site_digest
from passerelle.staging.receipt import Note
from passerelle.staging.store import LEAST_PART_BYTES, MOST_PARTS, Changed, Part, Store
from passerelle.staging.turns import SLICE_SECONDS, Turns

PART_BYTES = 2 * LEAST_PART_BYTES
LARGEST_PART_BYTES = 64 * 1024 * 1024
"""Two are in memory at a time; so the largest file is 625 GiB."""
LARGEST_FILE_BYTES = LARGEST_PART_BYTES * MOST_PARTS
_MEBIBYTE = 1024 * 1024


@dataclass(slots=True)
class CopyOut:
    """Copies of one owner from one site to one bucket. `place` names a key's object for a person. `hashes` outlives it:
    of each upload, the bytes that were sent so far, and of each file that the site can't hash, those that were read.
    """

    site: Door
    store: Store
    run_root: str
    turns: Turns
    owner: str
    place: Callable[[str], str]
    tell: Tell
    moved: Tell = lambda _: None
    hashes: dict[str, Hashed] = field(default_factory=dict)

    async def copy(self, path: str, size: int, key: str) -> None:
        """Raises Invalid for what is too large, Changed, and what the site and the store raise."""
        if size > LARGEST_FILE_BYTES:
            text = f"{path} has {size} bytes, and at most {LARGEST_FILE_BYTES} are copied: write it as several files."
            raise Invalid(text, reason="OutputTooLarge")
        try:
            await self._send(path, size, key)
        except Changed:
            self.hashes.pop(path, None)
            raise
        self.hashes.pop(path, None)
        self.tell(size)

    async def _send(self, path: str, size: int, key: str) -> None:
        sha256 = await site_digest(self.site, self.turns, self.owner, path, size, self.hashes)
        found = await self.store.head(key)
        if found is None or (found.size, found.sha256) != (size, sha256):
            if size <= PART_BYTES:
                await self._whole(path, size, key, sha256)
            else:
                await self._parts(path, size, key, sha256)
            found = await self.store.head(key)
            if found is None or (found.size, found.sha256) != (size, sha256):
                text = f"The object store does not have {self.place(key)} as it was sent; it is copied anew."
                raise Unavailable(text, reason="ObjectDiffers")

    async def drop(self, path: str, key: str) -> None:
        """Leave nothing of an upload that is not whole."""
        note = await self._note(path, key)
        if note is not None:
            await self._abort(key, note)
            await self.site.remove(receipt.note_place(self.run_root, path, self.place(key)))

    async def _whole(self, path: str, size: int, key: str, sha256: str) -> None:
        async with self.turns.turn(self.owner):
            content = await read_exactly(self.site, path, 0, size)
            if (await Hashed().after(content)).hexdigest != sha256:
                raise _changed(path)
            await self.store.put(key, content, sha256)
            self.moved(size)

    async def _parts(self, path: str, size: int, key: str, sha256: str) -> None:
        note, done = await self._begun(path, size, key, sha256)
        count = Count(self.tell)
        count.add(sum(part.size for part in done.values()))
        try:
            hashed = self._sent(note, done)
            first, last = -(-hashed.offset // note.part_bytes) + 1, -(-size // note.part_bytes)
            wanted = list(range(first, last + 1))
            while wanted:
                async with self.turns.turn(self.owner):
                    hashed = await self._slice(note, key, wanted, done, hashed, count)
            if hashed.hexdigest != sha256:
                await self.drop(path, key)
                raise _changed(path)
            await self.store.complete(key, note.upload, [done[number] for number in sorted(done)])
            self.hashes.pop(note.upload, None)
            await self.site.remove(receipt.note_place(self.run_root, path, self.place(key)))
        finally:
            count.undo()  # the whole of it is told when the object is there

    async def _slice(
        self, note: Note, key: str, wanted: list[int], done: dict[int, Part], hashed: Hashed, count: Count
    ) -> Hashed:
        """Some parts more, taken from `wanted`: while one is sent, the next is read, and never more than that."""
        clock = asyncio.get_running_loop().time
        until = clock() + SLICE_SECONDS
        ahead = self._ahead(note, wanted[0])
        try:
            while True:
                content = await ahead
                number = wanted[0]
                more = len(wanted) > 1 and not (clock() >= until and self.turns.wanted)
                if more:
                    ahead = self._ahead(note, wanted[1])
                following = await hashed.after(content)
                there = done.get(number)
                if there is None or there.checksum != await _checksum(content):
                    done[number] = await self.store.upload(key, note.upload, number, content)
                    count.add(len(content) if there is None else 0)
                    self.moved(len(content))
                hashed = self.hashes[note.upload] = following
                del wanted[0]
                if not more:
                    return hashed
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    def _sent(self, note: Note, done: dict[int, Part]) -> Hashed:
        """What was sent of an upload, as far as we know it ourselves. What the store has beside is read again."""
        hashed = self.hashes.get(note.upload, Hashed())
        known = range(1, -(-hashed.offset // note.part_bytes) + 1)
        return hashed if all(number in done for number in known) else Hashed()

    def _ahead(self, note: Note, number: int) -> asyncio.Task[bytes]:
        offset = (number - 1) * note.part_bytes
        length = min(note.part_bytes, note.size - offset)
        return asyncio.create_task(read_exactly(self.site, note.path, offset, length))

    async def _begun(self, path: str, size: int, key: str, sha256: str) -> tuple[Note, dict[int, Part]]:
        """The upload to go on with, and its parts that are there; a new one where there is none of this content."""
        note = await self._note(path, key)
        if note is not None and note.upload:
            same = (note.size, note.sha256) == (size, sha256) and 0 < note.part_bytes <= LARGEST_PART_BYTES
            parts = await self.store.parts(key, note.upload) if same else None
            if parts is not None:
                last = -(-size // note.part_bytes)
                whole = {
                    number: part
                    for number, part in parts.items()
                    if number <= last and part.size == min(note.part_bytes, size - (number - 1) * note.part_bytes)
                }
                return note, whole
            await self._abort(key, note)
        bare = Note(path=path, upload="", sha256=sha256, size=size, part_bytes=part_bytes(size))
        await self.site.make_directory(receipt.folder(self.run_root))
        await self._keep(bare, key)  # where there is no room for it, nothing is begun
        new = replace(bare, upload=await self.store.begin(key, sha256))
        try:
            await self._keep(new, key)
        except BaseException:  # nobody would know of it
            with contextlib.suppress(PasserelleError):
                await self._abort(key, new)
            raise
        return new, {}

    async def _keep(self, note: Note, key: str) -> None:
        place = receipt.note_place(self.run_root, note.path, self.place(key))
        await self.site.write(place, note.written(), mode=0o640)

    async def _abort(self, key: str, note: Note) -> None:
        if note.upload:
            self.hashes.pop(note.upload, None)
            await self.store.abort(key, note.upload)

    async def _note(self, path: str, key: str) -> Note | None:
        return receipt.note(await kept(self.site, receipt.note_place(self.run_root, path, self.place(key))), path)


def part_bytes(size: int) -> int:
    """How large the parts of a file are: not more than S3 takes of them."""
    least = -(-size // MOST_PARTS)
    return PART_BYTES if least <= PART_BYTES else -(-least // _MEBIBYTE) * _MEBIBYTE


async def _checksum(content: bytes) -> str:
    """A part's, as S3 writes it."""
    return base64.b64encode(bytes.fromhex((await Hashed().after(content)).hexdigest)).decode("ascii")


def _changed(path: str) -> Changed:
    return Changed(f"{path} changed at the site while it was copied; it is copied anew.", reason="OutputChanged")

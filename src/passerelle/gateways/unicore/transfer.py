"""Large files through UNICORE, by transfers that add to a file.

What is PUT to a storage takes the place of a file. A transfer of the server's that shall not overwrite adds to it
instead: it is made for one part, takes it at an address of its own, and is removed. What a broken connection has
brought may still be on its way to the disk when the next part comes: so a part is added to a file that is at rest, and
counted afterwards. A file that then has bytes too many is of no use and is removed: it is begun again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from passerelle.errors import Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import SIZE_DIFFERS, Entry
from passerelle.gateways.unicore import errors
from passerelle.gateways.unicore.files import Storages, address

PART_BYTES = 16 * 1024 * 1024
REST_SECONDS = 1.0
"""A file whose size is the same so much later is at rest."""
PAGE = 1000
_TRANSFER = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Transfers(Storages):
    """Files, Upload and Transfer."""

    part_bytes = PART_BYTES

    async def append(self, path: str, offset: int, content: bytes) -> None:
        storage, inside = await self._place(path)
        found = await self._at_rest(path)
        if (found or 0) != offset:
            raise Rejected(f"{path} has {found or 0} bytes at the site, and not {offset}.", reason=SIZE_DIFFERS)
        if not content:
            if found is None:
                await self._change("PUT", address(storage, inside), path, content=b"")
            return
        try:
            await self._add(storage, inside, path, content)
        except PasserelleError:
            self._restless.add(path)
            raise
        size = await self.size(path)
        if size == offset + len(content):
            return
        self._restless.add(path)
        if size is not None and size > offset + len(content):
            await self.remove(path)
            raise Unavailable(f"Parts of {path} came twice: it is begun again.", reason="FileFailed")
        raise Unavailable(f"UNICORE did not write all of a part of {path}.", reason="FileFailed")

    async def entries(self, path: str) -> Sequence[Entry] | None:
        storage, inside = await self._place(f"{path.rstrip('/')}/")
        found: dict[str, Entry] = {}
        while True:
            query = [("offset", str(len(found))), ("num", str(PAGE))]
            told = await self._calls.read(address(storage, inside), query)
            if told is None or not told.get("isDirectory"):
                return None
            content = told.get("content")
            new = {each.name: each for each in map(_entry, _items(content)) if each.name not in found}
            if not new:  # the server may give fewer at once than were asked for
                return [found[name] for name in sorted(found)]
            found |= new

    async def rename(self, old: str, new: str) -> None:
        """The server's own would move it into a directory that has the name."""
        storage, inside = await self._place(old)
        other, target = await self._place(new)
        if storage != other:
            raise Rejected(f"{old} and {new} lie in two UNICORE storages.", reason="NotWritten")
        if await self.size(old) is None:
            raise Missing(f"The site has no file {old}.")
        await self._refuse_directory(other, target, new)
        await self._change("POST", f"storages/{storage}/actions/rename", new, body={"from": inside, "to": target})

    async def remove(self, path: str) -> None:
        """The server's own would remove a directory with all that is in it."""
        storage, inside = await self._place(path)
        await self._refuse_directory(storage, inside, path)
        await self._change("DELETE", address(storage, inside), path)

    async def digest(self, path: str) -> str | None:
        """UNICORE has no word for it."""
        if await self.size(path) is None:
            raise Missing(f"The site has no file {path}.")
        return None

    async def _at_rest(self, path: str) -> int | None:
        """Its size, once nothing is on its way to it that an earlier part of ours has left."""
        size = await self.size(path)
        while path in self._restless:
            await asyncio.sleep(REST_SECONDS)
            before, size = size, await self.size(path)
            if before == size:
                self._restless.discard(path)
        return size

    async def _add(self, storage: str, inside: str, path: str, content: bytes) -> None:
        asked = {"file": inside, "protocol": "BFT", "overwrite": "false", "numBytes": str(len(content))}
        answer = await self._calls.send("POST", f"storages/{storage}/imports", body=asked)
        told = answer.json() or {}
        name = str(told.get("accessURL") or "").rpartition("/")[2]
        if answer.status == 500 and "errorMessage" in told:  # noqa: PLR2004
            raise Rejected(f"The site does not let {path} be written: {errors.said(answer)}.", reason="NotWritten")
        if answer.status != errors.OK or not _TRANSFER.fullmatch(name):
            raise errors.failure(answer, self._calls.held)
        try:
            await self._change("PUT", f"../files/{name}", path, content=content)
        finally:
            await self._forget(f"client-server-transfers/{name}")

    async def _refuse_directory(self, storage: str, inside: str, path: str) -> None:
        found = await self._calls.read(address(storage, inside))
        if found is not None and found.get("isDirectory"):
            raise Rejected(f"{path} is a directory at the site.", reason="NotWritten")


def _items(content: object) -> list[tuple[str, object]]:
    return list(content.items()) if isinstance(content, dict) else []


def _entry(item: tuple[str, object]) -> Entry:
    """A directory's path ends with a slash, and each is that within the storage."""
    path, told = item
    facts = told if isinstance(told, dict) else {}
    is_directory = bool(facts.get("isDirectory"))
    size = facts.get("size")
    return Entry(
        name=path.rstrip("/").rpartition("/")[2],
        size=size if isinstance(size, int) and not is_directory else 0,
        is_directory=is_directory,
    )

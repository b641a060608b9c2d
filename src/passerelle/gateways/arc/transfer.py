"""Files that are written, moved and listed, behind the door job's link (door.py).

A-REX writes in place, at any offset and without cutting off, and keeps what a broken connection has brought. So a part
that comes twice is written twice over itself, and a small file is removed first and measured afterwards. Nothing can be
renamed. A-REX removes a directory with all that is in it, by the same request as a file: so nothing is removed that was
not seen to be a file a moment ago, and no removal is tried twice.
"""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence

from passerelle.errors import Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.arc import errors, listing
from passerelle.gateways.arc.calls import Calls
from passerelle.gateways.arc.door import LINK, Door
from passerelle.gateways.arc.files import Found, Locate, Place, Sessions, address
from passerelle.gateways.base import MOST_ENTRIES, SIZE_DIFFERS, TOO_MANY_ENTRIES, Entry
from passerelle.gateways.http import Answer
from passerelle.gateways.together import in_turn

OWN_MODE = 0o600
"""What A-REX gives to every file that it writes."""
PART_BYTES = 16 * 1024 * 1024
LINKS_AT_ONCE = 4
MOST_DIRECTORIES = 4096

_BYTES = "application/octet-stream"


class Transfers(Sessions, ABC):
    """Files, Upload, Transfer and Opens."""

    part_bytes = PART_BYTES

    def __init__(self, calls: Calls, locate: Locate, door: Door) -> None:
        super().__init__(calls, locate, door)
        self._directories: set[str] = set()
        """The addresses of those that were there, behind a door of this moment."""

    async def open_files(self) -> None:
        await self._jobs()
        await self._door.opened()

    async def write(self, path: str, content: bytes, *, mode: int = OWN_MODE) -> None:
        """What is there already as it shall be is left: somebody may be reading it."""
        if mode & OWN_MODE != OWN_MODE:
            text = f"ARC makes every file with the permissions {OWN_MODE:o}; {path} can't have {mode:o}."
            raise Rejected(text, reason="NotWritten")
        place = await self._behind(path)
        found = await self._no_directory(place, path)
        if found is not None:
            if found.size == len(content) and await self.read(path, 0, len(content)) == content:
                return
            await self._unlink(place, path)
        await self._put(place, path, content)
        written = await self._look(place)
        if written != Found(len(content)):
            raise Unavailable(f"ARC did not write all of {path}.", reason="FileFailed")

    async def make_directory(self, path: str) -> None:
        """A-REX has no word for it, but makes those above a file: an empty one is written into it, and removed.

        To look at a directory costs A-REX a look at each file in it: one that was there is not looked at again. Were it
        gone, what is written next would bring it back.
        """
        path = path.rstrip("/")
        place = await self._behind(path)
        if place.address in self._directories:
            return
        found = await self._look(place)
        if found is None:
            inside = f"{path}/.psr-{secrets.token_hex(8)}"
            there = await self._behind(inside)
            await self._put(there, path, b"")
            await self._unlink(there, inside)
            found = await self._look(place)
        if found is None or not found.is_directory:
            raise Rejected(f"The site makes no directory {path}: a file is in its way.", reason="NotWritten")
        if len(self._directories) >= MOST_DIRECTORIES:
            self._directories.clear()
        self._directories.add(place.address)

    async def append(self, path: str, offset: int, content: bytes) -> None:
        place = await self._behind(path)
        found = await self._no_directory(place, path)
        size = 0 if found is None else found.size
        if size != offset:
            raise Rejected(f"{path} has {size} bytes at the site, and not {offset}.", reason=SIZE_DIFFERS)
        if content or found is None:
            await self._put(place, path, content, offset)

    async def entries(self, path: str) -> Sequence[Entry] | None:
        """What A-REX lists as our user, with links that it only tells of by another request, which it answers as root:
        of what is told there alone, our user asks again. Where root may see nothing, links are left out.
        """
        path = path.rstrip("/")
        place = await self._behind(path)
        found = await self._look(place)
        if found is None or not found.is_directory:
            return None
        answer = await self._calls.ask("GET", place.address, headers={"accept": "application/xml"})
        if answer.status != errors.OK:
            raise errors.failure(answer)
        told = await asyncio.to_thread(listing.entries, answer.body, path)
        _refuse_many(len(told), path)
        names = await self._names(place, path)
        more = [(name, there) for name, there in names.items() if name not in told]
        _refuse_many(len(told) + len(more), path)
        links = (self._linked_entry(path, name, there=there) for name, there in more)
        told |= {each.name: each for each in await in_turn(links, LINKS_AT_ONCE)}
        return [told[name] for name in sorted(told)]

    async def rename(self, old: str, new: str) -> None:
        raise Rejected(f"ARC gives no file another name: {old} stays, and does not become {new}.", reason="NotWritten")

    async def remove(self, path: str) -> None:
        place = await self._behind(path)
        if await self._no_directory(place, path) is not None:
            await self._unlink(place, path)

    async def digest(self, path: str) -> str | None:
        """A-REX has no word for it."""
        if await self.size(path) is None:
            raise Missing(f"There is no file {path} at the site.")
        return None

    @abstractmethod
    async def _jobs(self) -> str:
        """The path of jobs, as the user who asks now."""

    async def _behind(self, path: str) -> Place:
        """A path of the site, behind the open door: links of other jobs' directories lead to files, but would
        themselves be removed.
        """
        refuse_odd(path)
        jobs = await self._jobs()
        return behind(jobs, await self._door.opened(), path)

    async def _no_directory(self, place: Place, path: str) -> Found | None:
        found = await self._look(place)
        if found is not None and found.is_directory:
            raise Rejected(f"{path} is a directory at the site.", reason="NotWritten")
        return found

    async def _put(self, place: Place, path: str, content: bytes, offset: int = 0) -> None:
        span = {"content-range": f"bytes {offset}-{offset + len(content) - 1}/*"} if content else {}
        head = {"accept": "*/*", "content-type": _BYTES, **span}
        answer = await self._calls.once("PUT", place.address, content=content, headers=head)
        if answer.status != errors.OK:
            raise _refused(answer, f"The site does not let {path} be written")

    async def _unlink(self, place: Place, path: str) -> None:
        """Of a file that was seen. Whoever removed it meanwhile spared us the work."""
        try:
            answer = await self._calls.once("DELETE", place.address)
            if answer.status not in (errors.OK, errors.ACCEPTED, errors.NO_CONTENT):
                raise _refused(answer, f"The site does not let {path} be removed")
        except PasserelleError:
            if await self._look(place) is not None:
                raise

    async def _names(self, place: Place, path: str) -> dict[str, bool]:
        answer = await self._calls.ask("PROPFIND", place.address, headers={"accept": "*/*", "depth": "1"})
        if answer.status == errors.NOT_IMPLEMENTED:
            return {}
        if answer.status != errors.OK:
            raise errors.failure(answer)
        return await asyncio.to_thread(listing.others, answer.body, path)

    async def _linked_entry(self, path: str, name: str, *, there: bool) -> Entry:
        if not there:  # our user's question would wait at a pipe for whoever writes into it
            return Entry(name=name, size=0, is_directory=False, broken="a link that leads nowhere, or no file")
        found = await self._look(await self._behind(f"{path}/{name}"))
        if found is None:
            return Entry(name=name, size=0, is_directory=False, broken="a link to what the site's user may not see")
        return Entry(name=name, size=found.size, is_directory=found.is_directory)


def behind(jobs: str, job_id: str, path: str) -> Place:
    """A path of the site behind a door job's link."""
    return Place(address(jobs, job_id, f"{LINK}{path}"), door=job_id)


def refuse_odd(path: str) -> None:
    """Raises Rejected for what A-REX, or a client on the way, would read as another path."""
    if not path.startswith("/") or not {".", ".."}.isdisjoint(path.split("/")) or "\0" in path:
        raise Rejected(f"{path!a} is no absolute path of the site.", reason="InvalidPath")


def _refuse_many(count: int, path: str) -> None:
    if count > MOST_ENTRIES:
        text = f"{path} has more than {MOST_ENTRIES} files; pack them into fewer, larger files."
        raise Rejected(text, reason=TOO_MANY_ENTRIES)


def _refused(answer: Answer, text: str) -> PasserelleError:
    said = answer.phrase
    if answer.status == errors.FAULT and said in errors.FILE_REFUSALS:
        return Rejected(f"{text}: ARC says {said!r}.", reason="NotWritten")
    return errors.failure(answer)

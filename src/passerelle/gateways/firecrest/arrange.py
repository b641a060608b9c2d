"""Names, lists and hashes by FirecREST's `ops`: what is done to files that are there.

There is no `mv` among them; the one of `transfer` is a Slurm job that replaces what it finds. So a file gets its name
as a second one: a tar of one entry, a hard link, is unpacked beside it, and the first name goes when the second is
there. Whatever breaks in between leaves a whole file under at least one of them. Unpacking replaces what has the name,
so it is looked right before whether anything has: a file that comes in the moment between, or a link that leads to
nothing, is replaced.

`ls` fails as a whole over one link that leads to nothing, so it follows none, and each link is looked at by itself.
`rm` takes directories with all that is in them, so nothing but a file is ever given to it.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
import stat
import tarfile
from collections.abc import Sequence

from passerelle.errors import Missing, Rejected, Unavailable
from passerelle.gateways.base import MOST_ENTRIES, TOO_MANY_ENTRIES, Entry
from passerelle.gateways.firecrest import errors
from passerelle.gateways.firecrest.calls import Calls
from passerelle.gateways.firecrest.files import RemoteFiles, checked, refusal

HASHED_IN_TIME_BYTES = 256 * 1024 * 1024
"""A file up to this size is hashed within FirecREST's five seconds; of a larger one a silence may be for its size."""

SHOWN_BYTES = 4096
"""Of a file, in one look at a place in it: view reads two blocks of this size."""

_BROKEN = "a link that leads to nothing"
_OCTAL = re.compile(r"((?:\\[0-3][0-7]{2})+)")
"""Bytes of a name, as `ls` quotes them where the site's locale has no UTF-8."""
_DIGITS = 12
_HTTP_OK, _HTTP_NO_CONTENT, _HTTP_TIMEOUT, _HTTP_TOO_LARGE = 200, 204, 408, 413


class Arrange:
    """Of one system."""

    def __init__(self, calls: Calls, system: str, files: RemoteFiles) -> None:
        self._calls = calls
        self._ops = f"filesystem/{system}/ops"
        self._files = files

    async def stamp(self, path: str) -> str | None:
        told = await self._files.told(path)
        return None if told is None else "-".join(str(told.get(key)) for key in ("ino", "size", "mtime"))

    async def digest(self, path: str) -> str | None:
        answer = await self._calls.ask("GET", f"{self._ops}/checksum", [("path", checked(path))])
        if errors.no_file(answer):
            raise Missing(f"There is no file {path} at the site.")
        if answer.status == _HTTP_TIMEOUT and (await self._files.size(path) or 0) > HASHED_IN_TIME_BYTES:
            return None
        told = errors.read(answer).get("output")
        found = str(told.get("checksum") or "") if isinstance(told, dict) else ""
        if not re.fullmatch(r"[0-9a-f]{64}", found):
            raise Unavailable("FirecREST's answer to checksum has none.", reason="UnexpectedAnswer")
        return found

    async def resembles(self, path: str, offset: int, content: bytes) -> bool:
        """`view` gives text, in which every byte that is no UTF-8 is U+FFFD, from a multiple of its size on. So that is
        compared, to the characters of which all bytes are known.
        """
        ahead = -offset % SHOWN_BYTES
        query = [("path", checked(path)), ("size", str(SHOWN_BYTES)), ("offset", str(offset + ahead))]
        answer = await self._calls.ask("GET", f"{self._ops}/view", query)
        if answer.status != _HTTP_OK:
            raise errors.failure(answer)
        there = str(errors.read(answer).get("output") or "")
        ours = content[ahead : ahead + 2 * SHOWN_BYTES].decode("utf-8", "replace")[:SHOWN_BYTES]
        known = min(len(ours), len(content[ahead:]) - 3, SHOWN_BYTES)  # a last character may lack bytes of ours
        return len(there) >= known and there[:known] == ours[:known]

    async def entries(self, path: str) -> Sequence[Entry] | None:
        told = await self._files.told(path)
        if told is None or not _is(stat.S_ISDIR, told):
            return None
        answer = await self._calls.ask("GET", f"{self._ops}/ls", [("path", checked(path)), ("showHidden", "true")])
        if errors.no_file(answer):
            return None
        if answer.status == _HTTP_TOO_LARGE:
            raise _too_many(path)
        if errors.not_permitted(answer):
            raise Rejected(f"The site's user may not list {path}.", reason="FileRefused")
        listed = errors.read(answer).get("output")
        rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        if len(rows) > MOST_ENTRIES:
            raise _too_many(path)
        found = []
        for row in rows:
            name, kind = _name(str(row.get("name"))), row.get("type")
            if kind in ("-", "d"):
                size = int(str(row.get("size"))) if kind == "-" else 0
                found.append(Entry(name=name, size=size, is_directory=kind == "d"))
            elif kind == "l" and (entry := await self._led_to(path, name)) is not None:
                found.append(entry)
        return sorted(found, key=lambda each: each.name)

    async def _led_to(self, path: str, name: str) -> Entry | None:
        told = await self._files.told(f"{path.rstrip('/')}/{name}")
        if told is None:
            return Entry(name=name, size=0, is_directory=False, broken=_BROKEN)
        if _is(stat.S_ISDIR, told):
            return Entry(name=name, size=0, is_directory=True)
        return Entry(name=name, size=_size(told), is_directory=False) if _is(stat.S_ISREG, told) else None

    async def rename(self, old: str, new: str) -> None:
        first = await self._files.told(old)
        if first is None:
            raise Missing(f"There is no file {old} at the site.")
        directory = posixpath.dirname(checked(new))
        if posixpath.dirname(checked(old)) != directory:
            raise Rejected("Through FirecREST a file keeps its directory when it is named.", reason="NotImplemented")
        archive = f"{directory}/.{hashlib.sha256(new.encode()).hexdigest()[:_DIGITS]}.tgz"
        await self._files.write(archive, _link(posixpath.basename(old), posixpath.basename(new)))
        taken = await self._files.told(new)
        if taken is not None and not _same(taken, first):
            await self.remove(archive)
            text = f"A file has come to {new} while it was copied; it is looked at anew."
            raise Unavailable(text, reason="DataInTheWay")
        body = {"sourcePath": archive, "targetPath": directory, "compression": "gzip"}
        answer = await self._calls.once("POST", f"{self._ops}/extract", body=body)
        second = await self._files.told(new)
        await self.remove(archive)
        if second is None or not _same(second, first):
            if answer.status == _HTTP_NO_CONTENT:
                raise Unavailable(f"FirecREST did not give {new} its name.", reason="UnexpectedAnswer")
            raise refusal(answer, new)
        await self.remove(old)

    async def remove(self, path: str) -> None:
        told = await self._files.told(path)
        if told is None:
            return
        if not _is(stat.S_ISREG, told):
            raise Rejected(f"{path} is no file at the site; it is left there.", reason="FileRefused")
        answer = await self._calls.ask("DELETE", f"{self._ops}/rm", [("path", checked(path))])
        if answer.status != _HTTP_NO_CONTENT and not errors.no_file(answer):
            raise refusal(answer, path)


def _link(old: str, new: str) -> bytes:
    """A tar of one hard link, in names of plain bytes: those of other formats are translated to the site's locale."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.GNU_FORMAT, encoding="utf-8") as archive:
        entry = tarfile.TarInfo(new)
        entry.type, entry.linkname = tarfile.LNKTYPE, old
        archive.addfile(entry)
    return made.getvalue()


def _same(one: dict[str, object], other: dict[str, object]) -> bool:
    """Whether these are of one file, whatever its names."""
    return all(one.get(key) == other.get(key) for key in ("ino", "dev"))


def _name(quoted: str) -> str:
    return _OCTAL.sub(
        lambda found: bytes(int(each, 8) for each in found[1].split("\\")[1:]).decode("utf-8", "replace"), quoted
    )


def _is(kind: object, told: dict[str, object]) -> bool:
    mode = told.get("mode")
    return isinstance(mode, int) and callable(kind) and bool(kind(mode))


def _size(told: dict[str, object]) -> int:
    size = told.get("size")
    return size if isinstance(size, int) else 0


def _too_many(path: str) -> Rejected:
    text = f"{path} has more than {MOST_ENTRIES} files and directories; pack them into fewer, larger files."
    return Rejected(text, reason=TOO_MANY_ENTRIES)

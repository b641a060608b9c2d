"""Files by FirecREST's `ops`, which are small commands over SSH with an output limit. Bytes stay bytes.

A download is exact, and whole: it serves while the file is small and most of it is wanted. Beyond, `tail` and `view`
give text in which every byte that is no UTF-8 has become U+FFFD, of which one can't tell how many bytes it was. So what
they give is used up to the first U+FFFD, and where a part begins with it, `?` stands for each: an offset never runs
ahead of the file. `view` cuts characters, not bytes, unless its offset is a multiple of its size: so it is, of a size
that gives little beside what is asked for. `tail` gives all up to the end.

There is no rename of one step for a file that is there: who reads a file while it is written anew may see half of it.
"""

from __future__ import annotations

import codecs
import re
import stat
from collections.abc import Callable
from pathlib import PurePosixPath

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.firecrest import errors
from passerelle.gateways.firecrest.calls import Calls, Query
from passerelle.gateways.http import Answer, Upload

VIEW_BYTES = 256 * 1024
"""The largest part of a file that is viewed: view reads two blocks of this size."""
_LITTLE = 16 * 1024
"""Bytes that are not worth choosing for."""

_LOST = "\N{REPLACEMENT CHARACTER}"
MARGIN = 64 * 1024
"""What a file may grow between its stat and its read."""

_LONGEST_REST = 3
"""Bytes of a character of UTF-8 behind its first."""

_NAME = re.compile(r"[^\"'\\/]+")
"""A multipart form changes quotes and backslashes, and nobody changes them back."""

_MODE_BITS, _OTHERS = 0o777, 0o077
DIRECTORY_MODE = 0o750
_HTTP_OK, _HTTP_CREATED, _HTTP_NO_CONTENT = 200, 201, 204


class RemoteFiles:
    """Files of one system. `limit` is how many bytes a command may give or take (the server's max_ops_file_size)."""

    def __init__(self, calls: Calls, system: str, limit: Callable[[], int]) -> None:
        self._calls = calls
        self._ops = f"filesystem/{system}/ops"
        self._limit = limit

    async def size(self, path: str) -> int | None:
        found = await self._stat(path)
        return None if found is None or not stat.S_ISREG(found[1]) else found[0]

    async def read(self, path: str, offset: int, length: int) -> bytes:
        found = await self._stat(path)
        if found is None:
            raise _missing(path)
        size = found[0]
        if offset >= size or length <= 0:
            return b""
        left, limit = size - offset, self._limit()
        small = size + MARGIN < limit * 3 // 4  # a download travels in base64, and the limit is that of its text
        if small and 2 * left >= size:
            return (await self._download(path))[offset : offset + length]
        near = left + MARGIN < limit
        if not near or left > max(_LITTLE, 2 * length):
            data = await self._view(path, offset, length)
            if data is not None:
                return _whole(data, length)
            if not near:
                text = f"{path} is large and no text: FirecREST gives no exact part of it. Copy it at the site."
                raise Unavailable(text, reason="FileNotReadable")
        text = await self._tail(path, offset)
        if _LOST in text[:length] and small:
            return (await self._download(path))[offset : offset + length]
        lost = len(text) - len(text.lstrip(_LOST))
        data = b"?" * lost + _exact(text[lost:])
        if lost > _LONGEST_REST or (lost and len(data) < left):  # no mere rest of a character, a byte each
            data = b"?" * lost
        return _whole(data, length)

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        """A file that others may not read is theirs at no moment: it gets its mode before its content."""
        if len(content) > self._limit():
            raise Invalid(
                f"{path} would have {len(content)} bytes: FirecREST takes {self._limit()} at once.", reason="TooLong"
            )
        found = await self._stat(path)
        if found is None or (found[1] & _OTHERS & ~mode):
            await self._upload(path, b"\n")  # an upload of nothing hangs until FirecREST's time is over
            await self._chmod(path, mode)
            found = 1, mode
        await self._upload(path, content)
        if found[1] & _MODE_BITS != mode:
            await self._chmod(path, mode)

    async def make_directory(self, path: str) -> None:
        above = [str(each) for each in (PurePosixPath(checked(path)), *PurePosixPath(path).parents)]
        missing: list[str] = []
        for step in above:
            if (found := await self._stat(step)) is not None:
                if not stat.S_ISDIR(found[1]):
                    raise Rejected(f"The site makes no directory {path}: {step} is a file.", reason="FileRefused")
                break
            missing.insert(0, step)
        for step in missing:
            answer = await self._calls.once("POST", f"{self._ops}/mkdir", body={"sourcePath": step, "parent": True})
            if answer.status != _HTTP_CREATED:
                raise refusal(answer, step)
            await self._chmod(step, DIRECTORY_MODE)

    async def told(self, path: str) -> dict[str, object] | None:
        """What stat tells, by Python's names; None where there is no such file."""
        answer = await self._get("stat", path, ("dereference", "true"))
        if errors.no_file(answer):
            return None
        found = errors.read(answer).get("output")
        return found if isinstance(found, dict) else {}

    async def _stat(self, path: str) -> tuple[int, int] | None:
        """Size and mode; None where there is no such file."""
        told = await self.told(path)
        if told is None:
            return None
        size, mode = told.get("size"), told.get("mode")
        if not isinstance(size, int) or not isinstance(mode, int):
            raise Unavailable("FirecREST's answer to stat has no size.", reason="UnexpectedAnswer")
        return size, mode

    async def _download(self, path: str) -> bytes:
        answer = await self._get("download", path)
        if answer.status != _HTTP_OK:
            raise _failure(answer, path)
        return answer.body

    async def _tail(self, path: str, offset: int) -> str:
        answer = await self._get("tail", path, ("bytes", str(offset + 1)), ("skipHeading", "true"))
        told = self._read(answer, path).get("output")
        return str(told.get("content") or "") if isinstance(told, dict) else ""

    async def _view(self, path: str, offset: int, length: int) -> bytes | None:
        """Bytes from `offset` on; None where it can't be told which those are."""
        block = _block(offset, min(length, VIEW_BYTES, self._limit() // 4))
        start = offset - offset % block
        answer = await self._get("view", path, ("size", str(block)), ("offset", str(start)))
        text = str(self._read(answer, path).get("output") or "")
        rest = len(text) - len(text.lstrip(_LOST)) if start else 0
        rest = rest if rest <= _LONGEST_REST else 0  # of a character that began in the block before: a byte each
        data, skipped = b"?" * rest + _exact(text[rest:]), offset - start
        return None if len(data) <= skipped and _LOST in text[rest:] else data[skipped:]

    async def _upload(self, path: str, content: bytes) -> None:
        directory, _, name = checked(path).rpartition("/")
        if not _NAME.fullmatch(name):
            raise Invalid("The name of a file to write has no quotes and no backslash.", reason="InvalidPath")
        upload = Upload("file", name, content)
        answer = await self._calls.once("POST", f"{self._ops}/upload", [("path", directory or "/")], upload=upload)
        if answer.status != _HTTP_NO_CONTENT and not (content == b"" and await self._is_empty(path)):
            raise refusal(answer, path)

    async def _is_empty(self, path: str) -> bool:
        found = await self._stat(path)
        return found is not None and found[0] == 0

    async def _chmod(self, path: str, mode: int) -> None:
        body = {"sourcePath": path, "mode": f"{mode:o}"}
        answer = await self._calls.ask("PUT", f"{self._ops}/chmod", [("path", path)], body=body)
        if answer.status != _HTTP_OK:
            raise refusal(answer, path)

    async def _get(self, operation: str, path: str, *more: tuple[str, str]) -> Answer:
        query: Query = [("path", checked(path)), *more]
        return await self._calls.ask("GET", f"{self._ops}/{operation}", query)

    def _read(self, answer: Answer, path: str) -> dict[str, object]:
        if answer.status != _HTTP_OK:
            raise _failure(answer, path)
        return errors.read(answer)


def checked(path: str) -> str:
    """The path, or Invalid: FirecREST puts it between single quotes into a shell's command."""
    if not path.startswith("/") or "'" in path or not path.isprintable():
        raise Invalid("A path at the site is absolute, without quotes and control characters.", reason="InvalidPath")
    return path


def _block(offset: int, length: int) -> int:
    """The least size of which a multiple lies a little before `offset`, and the next one behind all that is wanted: a
    character in which the part begins is then whole.
    """
    fitting = (size for size in range(length, 2 * length) if _LONGEST_REST <= offset % size <= size - length)
    return next(fitting, max(length, _LITTLE))


def _exact(text: str) -> bytes:
    """The bytes of which a text's beginning is known to be made."""
    return text.partition(_LOST)[0].encode()


def _whole(text: bytes, length: int) -> bytes:
    """At most so many bytes, up to the end of a character where one fits: the next part shall not begin within one."""
    part = text[:length]
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    decoder.decode(part)
    return part[: len(part) - len(decoder.getstate()[0])] or part


def _missing(path: str) -> Missing:
    return Missing(f"There is no file {path} at the site.")


def refusal(answer: Answer, path: str) -> PasserelleError:
    """The error for a change that did not come about."""
    if errors.no_file(answer):
        return Rejected(f"There is no directory for {path} at the site.", reason="FileRefused")
    if errors.not_permitted(answer):
        text = f"The site's user may not write {path}; make it writable for that user."
        return Rejected(text, reason="FileRefused")
    return errors.failure(answer)


def _failure(answer: Answer, path: str) -> PasserelleError:
    return _missing(path) if errors.no_file(answer) else errors.failure(answer)

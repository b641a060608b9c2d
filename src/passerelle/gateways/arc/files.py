"""The files that A-REX shows: those of session directories, and through links there a job's log and its report file;
nothing else.

A file elsewhere at the site is missing for us, and can't be written. A-REX writes in place, over what is there and
without cutting it off: so what stands in the way is removed first, and what was written is measured afterwards. Nothing
can be moved: a write that is cut off may leave its beginning, and says that it failed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

from passerelle.errors import Missing, Rejected, Unavailable
from passerelle.gateways.arc import errors
from passerelle.gateways.arc.calls import Calls
from passerelle.gateways.arc.decode import Local, is_id
from passerelle.gateways.arc.notes import Given
from passerelle.gateways.arc.payload import LOG, REPORT

OWN_MODE = 0o600
"""What A-REX gives to every file that it writes."""

_PARTIAL, _UNSATISFIABLE = 206, 416
_ID_LENGTH = 10
"""A-REX's ids are longer: 12 hexadecimal digits in 7, some 54 letters and digits in 6."""

Locate = Callable[[str], Awaitable[str | None]]
"""The address of a path at the site, below A-REX's; None where A-REX does not show it."""


class Sessions:
    """Files."""

    def __init__(self, calls: Calls, locate: Locate) -> None:
        self._calls = calls
        self._locate = locate

    async def size(self, path: str) -> int | None:
        address = await self._locate(path)
        if address is None:
            return None
        answer = await self._calls.ask("HEAD", address)
        if answer.status == errors.NOT_FOUND:
            return None
        told = answer.headers.get("content-length", "")
        if answer.status != errors.OK or not told.isdecimal():
            raise errors.failure(answer)
        return int(told)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        address = await self._locate(path)
        if address is None:
            raise Missing(f"ARC shows only session directories, and logs and reports of its jobs: {path} is none.")
        if length == 0:
            return b""
        span = {"range": f"bytes={offset}-{offset + length - 1}", "accept": "*/*"}
        answer = await self._calls.ask("GET", address, headers=span)
        if answer.status == _UNSATISFIABLE:
            return b""
        if answer.status == errors.NOT_FOUND:
            raise Missing(f"There is no file {path} at the site.")
        if answer.status == errors.OK:  # no range in the answer: all of the file
            return answer.body[offset : offset + length]
        if answer.status != _PARTIAL:
            raise errors.failure(answer)
        return answer.body

    async def write(self, path: str, content: bytes, *, mode: int = OWN_MODE) -> None:
        address = await self._locate(path)
        if address is None:
            raise Rejected(f"ARC writes into session directories alone, and {path} is in none.", reason="FileRefused")
        if mode != OWN_MODE:
            text = f"ARC makes every file with the permissions {OWN_MODE:o}; {path} can't have {mode:o}."
            raise Rejected(text, reason="FileRefused")
        if await self.size(path) is not None:
            await self._calls.once("DELETE", address)
        answer = await self._calls.once("PUT", address, content=content)
        if answer.status != errors.OK:
            raise errors.failure(answer)
        if await self.size(path) != len(content):
            raise Unavailable(f"ARC did not write all of {path}.", reason="FileFailed")


def address(path: str, job_id: str, inside: str) -> str:
    """The address of a file of a session directory; `path` is that of jobs."""
    return f"{path}/{job_id}/session/{quote(inside)}"


def candidates(path: str) -> list[str]:
    """The words of a path that may be the id of the job whose session directory it is, the innermost first."""
    return [word for word in reversed(PurePosixPath(path).parts) if len(word) >= _ID_LENGTH and is_id(word)]


def within(path: str, local: Local) -> str | None:
    """The path within a job's session directory; None where it lies elsewhere."""
    root = local.sessiondir.rstrip("/") + "/"
    inside = path.removeprefix(root)
    if not local.sessiondir or inside == path or not inside or ".." in PurePosixPath(inside).parts:
        return None
    return inside


def is_report(path: str) -> bool:
    """Whether this is an attempt's report file (onsite/places.py)."""
    return re.fullmatch(r"report-[0-9]+\.json", PurePosixPath(path).name) is not None


def linked(path: str, given: Mapping[str, Given]) -> tuple[str, str] | None:
    """The newest job whose session directory has a link to this file, and the link's name."""
    found = [(note.began, job_id, LOG) for job_id, note in given.items() if note.standard_output == path]
    found += [(note.began, job_id, REPORT) for job_id, note in given.items() if note.report == path]
    return max(found)[1:] if found else None

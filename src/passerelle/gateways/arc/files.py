"""Files that are read. A-REX shows those of session directories, and through links there a job's log and its report
file; through the door job's link (door.py) all that our user may see.

A directory is shown as the list of what is in it, by the same request: it is known by its media type.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from passerelle.errors import Missing
from passerelle.gateways.arc import errors
from passerelle.gateways.arc.calls import Calls
from passerelle.gateways.arc.decode import Local, is_id
from passerelle.gateways.arc.door import Door
from passerelle.gateways.arc.notes import Given
from passerelle.gateways.arc.payload import LOG, REPORT
from passerelle.gateways.http import Answer

_PARTIAL, _UNSATISFIABLE = 206, 416
_ID_LENGTH = 10
"""A-REX's ids are longer: 12 hexadecimal digits in 7, some 54 letters and digits in 6."""

Locate = Callable[[str], Awaitable["Place | None"]]
"""Where A-REX shows a path of the site; None where it does not."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address below A-REX's. `door` is the door job through whose link it leads, "" where through none."""

    address: str
    door: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What is there. A directory's size is none of its own."""

    size: int
    is_directory: bool = False


class Sessions:
    """Files."""

    def __init__(self, calls: Calls, locate: Locate, door: Door) -> None:
        self._calls = calls
        self._door = door
        self._where = locate

    async def size(self, path: str) -> int | None:
        place = await self._where(path)
        found = await self._look(place) if place is not None else None
        return None if found is None or found.is_directory else found.size

    async def read(self, path: str, offset: int, length: int) -> bytes:
        place = await self._where(path)
        if place is None:
            raise Missing(f"ARC shows only session directories, and logs and reports of its jobs: {path} is none.")
        if length == 0:
            return b""
        span = {"range": f"bytes={offset}-{offset + length - 1}", "accept": "application/json"}
        answer = await self._calls.ask("GET", place.address, headers=span)
        if answer.status == _UNSATISFIABLE:
            return b""
        if answer.status == errors.NOT_FOUND or _is_listing(answer):
            await self._surely_missing(place)
            raise Missing(f"There is no file {path} at the site.")
        if answer.status == errors.OK:  # no range in the answer: all of the file
            return answer.body[offset : offset + length]
        if answer.status != _PARTIAL:
            raise errors.failure(answer)
        return answer.body

    async def _look(self, place: Place) -> Found | None:
        answer = await self._calls.ask("HEAD", place.address)
        if answer.status == errors.NOT_FOUND:
            await self._surely_missing(place)
            return None
        told = answer.headers.get("content-length", "")
        if answer.status != errors.OK or not told.isdecimal():
            raise errors.failure(answer)
        return Found(0, is_directory=True) if _is_listing(answer) else Found(int(told))

    async def _surely_missing(self, place: Place) -> None:
        if place.door:
            await self._door.stands(place.door)


async def linked(calls: Calls, address: str) -> bool:
    """Whether a door job's link is there and leads to a directory."""
    answer = await calls.ask("HEAD", address)
    if answer.status not in (errors.OK, errors.NOT_FOUND):
        raise errors.failure(answer)
    return answer.status == errors.OK and _is_listing(answer)


def _is_listing(answer: Answer) -> bool:
    return answer.content_type.partition(";")[0].strip() == "application/json"


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


def linked_from(path: str, given: Mapping[str, Given]) -> tuple[str, str] | None:
    """The newest job whose session directory has a link to this file, and the link's name."""
    found = [(note.began, job_id, LOG) for job_id, note in given.items() if note.standard_output == path]
    found += [(note.began, job_id, REPORT) for job_id, note in given.items() if note.report == path]
    return max(found)[1:] if found else None

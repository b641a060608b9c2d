"""The end of a log at a site, read through the site's door: by byte ranges, never the whole file.

Offsets count bytes, so text of several bytes a character is cut and joined where it must be; what is decoded is for the
screen alone. A door that has text alone spoils a character in which a part begins: so where lines are read backwards,
parts are joined where a line begins, and what was read of the line before is read again. A log may be growing while it
is read, and may be begun anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from passerelle.errors import Missing
from passerelle.gateways.base import Files

FIRST_BYTES = 128
"""Bytes of a line, as the first guess: what is read beyond is thrown away."""

LEAST, MOST = 4 * 1024, 256 * 1024
"""Bytes of one read: less is not worth a request, more keeps a login node's connection busy for others."""

SLACKENING = 1.5
"""How much longer each wait for more is than the one before."""

FARTHEST = 8 * 1024 * 1024
"""Bytes that are read back at most. A log without line ends (a progress bar) is cut there."""


class Pace:
    """How long to wait between two looks at a log that is followed: from `least` seconds up to `most` while nothing
    comes, and from the beginning when something does.
    """

    def __init__(self, least: float, most: float) -> None:
        self._least, self._most = least, max(least, most)
        self._next = least

    def grew(self) -> None:
        """Something came."""
        self._next = self._least

    def pause(self) -> float:
        """Seconds until the next look."""
        pause, self._next = self._next, min(self._next * SLACKENING, self._most)
        return pause


async def last_lines(files: Files, path: str, count: int) -> tuple[bytes, int]:
    """The last `count` lines, and the offset after them, from which follow() goes on.

    The last line may still be without its end. Reads little more than the lines have. Raises Missing where there is no
    such file.
    """
    size = await files.size(path)
    if size is None:
        raise Missing(f"There is no file {path} at the site.")
    if count <= 0:
        return b"", size
    begin, text, step, whole = size, b"", count * FIRST_BYTES, 0
    while begin > 0 and whole < count and len(text) < FARTHEST:
        step = min(max(step, LEAST), MOST, begin, FARTHEST - len(text))
        piece = await _piece(files, path, begin - step, step)
        if len(piece) < step:  # begun anew while it was read: what is there now is all new
            return await last_lines(files, path, count)
        text, begin = piece + text, begin - step
        cut = piece.find(b"\n", 0, -1) + 1 if begin and len(text) < FARTHEST else 0
        text, begin = text[cut:], begin + cut
        lines = _lines(text)
        whole = lines if cut or not begin else lines - 1
        # Lines differ, and a quarter more costs less than to ask once more.
        step = len(text) // max(lines, 1) * max(count - whole, 1) * 5 // 4
    return b"".join(_split(text)[-count:]), size


async def _piece(files: Files, path: str, offset: int, length: int) -> bytes:
    """These bytes, of a door that may give fewer at a time; fewer where the file ends."""
    piece = b""
    while len(piece) < length and (more := await files.read(path, offset + len(piece), length - len(piece))):
        piece += more
    return piece


async def follow(
    files: Files,
    path: str,
    offset: int,
    *,
    ended: Callable[[], Awaitable[bool]],
    pause: Callable[[], Awaitable[None]],
) -> AsyncIterator[bytes]:
    """What is written from `offset` on, as it comes, until `ended` says so and nothing is left.

    `ended` is asked before each look, so that what was written before the end is shown.
    """
    while True:
        over = await ended()
        size = await files.size(path) or 0
        if size < offset:
            offset = 0  # begun anew
        while offset < size:
            piece = await files.read(path, offset, min(MOST, size - offset))
            if not piece:
                break
            offset += len(piece)
            yield piece
        if over:
            return
        await pause()


def _lines(text: bytes) -> int:
    return text.count(b"\n") + (not text.endswith(b"\n"))


def _split(text: bytes) -> list[bytes]:
    """At line feeds alone, unlike splitlines(): a progress bar returns the carriage a hundred times in one line."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]

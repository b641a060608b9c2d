"""The end of a log, by byte ranges."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from passerelle.tail import FARTHEST, Pace, follow, last_lines

PATH = "/scratch/psr-1.log"


class Disk:
    """Files of one file, which counts what it hands out."""

    def __init__(self, content: bytes, grow: Callable[[Disk], None] = lambda _disk: None) -> None:
        self.content = content
        self.moved = 0
        self.reads = 0
        self._grow = grow

    async def size(self, path: str) -> int | None:
        assert path == PATH
        return len(self.content)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        assert path == PATH
        self._grow(self)
        piece = self.content[offset : offset + length]
        self.moved += len(piece)
        self.reads += 1
        return piece

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        raise AssertionError(f"a tail writes nothing, not {path}, {len(content)} bytes, {mode:o}")


class InText(Disk):
    """One that has text alone: a part ends with a whole character, and what begins within one is spoilt."""

    async def read(self, path: str, offset: int, length: int) -> bytes:
        piece = await super().read(path, offset, length)
        text = piece.lstrip(bytes(range(0x80, 0xC0)))
        return (b"?" * (len(piece) - len(text)) + text).decode(errors="ignore").encode()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", [Disk, InText])
async def test_the_last_lines_are_those_of_the_whole_file(seed: int, kind: type[Disk]) -> None:
    draw = random.Random(seed)  # noqa: S311 -- no secret
    longest = draw.choice([3, 80, 2_000] if kind is InText else [3, 80, 2_000, 30_000])
    lines = [b"\xc3\xa9\r" * draw.randrange(longest // 2) + b"\n" for _ in range(draw.randrange(400))]
    content = b"".join(lines) + draw.choice([b"", b"unfinished"])
    count = draw.randrange(1, 150)
    expected = [line + b"\n" for line in content.split(b"\n")[:-1]]
    expected += [content.split(b"\n")[-1]] if content.split(b"\n")[-1] else []

    text, offset = await last_lines(kind(content), PATH, count)

    assert text == b"".join(expected[-count:])[-FARTHEST:]
    assert offset == len(content)


async def test_a_hundred_lines_of_a_large_log_move_little() -> None:
    disk = Disk(b"0: step 123456 loss 2.3456 tokens/s 123456.7 gnorm 0.123\n" * 2_000_000)  # 110 MB

    text, _ = await last_lines(disk, PATH, 100)

    assert text.count(b"\n") == 100
    assert disk.moved < 20_000
    assert disk.reads <= 2


async def test_a_log_without_line_ends_is_cut() -> None:
    disk = Disk(b"\r 42%" * (4 * FARTHEST // 5))

    text, _ = await last_lines(disk, PATH, 10)

    assert len(text) == disk.moved == FARTHEST


async def test_no_lines_are_the_place_to_follow_from() -> None:
    disk = Disk(b"a\nb\n")

    assert await last_lines(disk, PATH, 0) == (b"", 4)
    assert disk.moved == 0


async def test_a_log_that_begins_anew_while_it_is_read_is_read_again() -> None:
    def anew(disk: Disk) -> None:
        if disk.reads == 1:
            disk.content = b"new\n"

    text, offset = await last_lines(Disk(b"x" * 900_000 + b"\n", anew), PATH, 3)

    assert (text, offset) == (b"new\n", 4)


async def told(disk: Disk, looks: list[Callable[[], None]], offset: int = 0) -> bytes:
    """All that follow() yields, while `looks` happen one a pause; the attempt ends with the last."""
    left = iter(looks)
    over = False

    async def ended() -> bool:
        return over

    async def pause() -> None:
        nonlocal over
        happens = next(left, None)
        if happens is None:
            over = True
        else:
            happens()

    return b"".join([piece async for piece in follow(disk, PATH, offset, ended=ended, pause=pause)])


async def test_each_byte_is_followed_once() -> None:
    disk = Disk(b"one\n")

    def write(text: bytes) -> Callable[[], None]:
        def happens() -> None:
            disk.content += text

        return happens

    text = await told(disk, [write("zwei é".encode()[:6]), write("zwei é".encode()[6:] + b"\n"), write(b"x" * 700_000)])

    assert text == disk.content
    assert disk.moved == len(disk.content)


async def test_what_is_written_last_is_shown_after_the_end() -> None:
    disk = Disk(b"one\n")
    over = False

    async def ended() -> bool:
        nonlocal over
        was, over = over, True
        if was:
            disk.content += b"last words\n"
        return was

    async def pause() -> None:
        return

    text = b"".join([piece async for piece in follow(disk, PATH, 4, ended=ended, pause=pause)])

    assert text == b"last words\n"


async def test_a_log_that_begins_anew_is_followed_from_its_start() -> None:
    disk = Disk(b"a long first life\n")

    def anew() -> None:
        disk.content = b"again\n"

    assert await told(disk, [anew], offset=len(disk.content)) == b"again\n"


def test_a_log_that_does_not_grow_is_asked_for_less_and_less() -> None:
    pace = Pace(3, 30)
    pauses = [pace.pause() for _ in range(8)]

    assert pauses[:3] == [3, 4.5, 6.75]
    assert pauses[-2:] == [30, 30]
    pace.grew()
    assert pace.pause() == 3

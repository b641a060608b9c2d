"""A gigabyte in and out through every door that transfers, over a wire that is cut in the middle of either."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from contract.tally import SPEED
from contract.test_contract import row, scratch_file
from contract.wire import wire
from contract.world import World
from passerelle.errors import Rejected, Unavailable
from passerelle.gateways.base import SIZE_DIFFERS, Entry, Files, Gateway, Transfer, Upload

SIZE = 1_000_000_000
WASTE = 1.1
"""How much more than the file may be carried, with all that is said beside it."""

_PATTERN = random.Random(SIZE).randbytes(7_654_321)  # noqa: S311 -- bytes that compress to nothing, no secret

Found = TypeVar("Found")


def piece(offset: int, length: int) -> bytes:
    """Of the file: bytes in which no part is like its neighbour."""
    length = min(length, SIZE - offset)
    begin = offset % len(_PATTERN)
    return (_PATTERN * ((begin + length) // len(_PATTERN) + 1))[begin : begin + length]


@functools.cache
def whole() -> str:
    """The file's digest."""
    made = hashlib.sha256()
    for offset in range(0, SIZE, len(_PATTERN)):
        made.update(piece(offset, len(_PATTERN)))
    return made.hexdigest()


class Patience:
    """Asks until there is an answer, as whoever moves a file does, and knows how long it did not ask."""

    def __init__(self) -> None:
        self.broken = 0
        self.waited = 0.0
        self.began = time.monotonic()

    async def ask(self, call: Callable[[], Awaitable[Found]]) -> Found:
        while True:
            try:
                return await call()
            except Unavailable as error:
                self.broken += 1
                pause = error.retry_after or 0.5
                self.waited += pause
                await asyncio.sleep(pause)

    def told(self, world: World, way: str) -> str:
        rate = SIZE / (time.monotonic() - self.began - self.waited) / 1e6
        return f"{world.name}: a gigabyte {way} at {rate:.0f} MB/s, and {self.waited:.0f} s of waiting after the cut"


@row("large")
async def test_a_gigabyte_comes_in_and_goes_out_over_a_wire_that_is_cut(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    port = world.port()
    if world.transfer(world.door()) is None or port is None:
        return
    async with wire(port) as between:
        door = world.open_at(between.port)
        assert isinstance(door, Gateway)
        assert isinstance(door, Files)
        assert isinstance(door, Upload)
        assert isinstance(door, Transfer)
        world.opened.append(door)
        place = scratch_file()
        path = f"{place}/set é.bin"
        await door.make_directory(place)

        between.there.cut_at = SIZE // 2
        patience = Patience()
        while (offset := await patience.ask(lambda: door.size(path)) or 0) < SIZE:
            try:
                await door.append(path, offset, piece(offset, door.part_bytes))
            except Unavailable:
                patience.broken += 1
            except Rejected as error:
                if error.reason != SIZE_DIFFERS:  # what the cut wire had brought went on to be written
                    raise
        record_property(SPEED, patience.told(world, "in"))
        assert (between.cuts, patience.broken > 0) == (1, True)
        assert between.there.carried < WASTE * SIZE
        with world.seen(path).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == whole()
        assert [each.name for each in world.seen(place).iterdir()] == ["set é.bin"], "no second copy"
        assert await patience.ask(lambda: door.digest(path)) == (whole() if world.digests else None)
        assert await door.entries(place) == [Entry(name="set é.bin", size=SIZE, is_directory=False)]

        between.back.carried, between.back.cut_at = 0, SIZE // 2
        patience, read, offset = Patience(), hashlib.sha256(), 0
        while offset < SIZE:
            part = await patience.ask(functools.partial(door.read, path, offset, door.part_bytes))
            assert part, "no end before the end"
            read.update(part)
            offset += len(part)
        record_property(SPEED, patience.told(world, "out"))
        assert (between.cuts, patience.broken > 0) == (2, True)
        assert between.back.carried < WASTE * SIZE
        assert read.hexdigest() == whole()
        await patience.ask(lambda: door.remove(path))

"""The end of a gigabyte of log, as `passerelle logs` shows it: through every door that shows files, over a wire that
counts.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.tally import SPEED
from contract.test_contract import row
from contract.wire import wire
from contract.world import SCRATCH, World
from passerelle.cli import cluster, main
from passerelle.gateways.base import Gateway
from passerelle.objects import Key
from site_api import SiteApi

SIZE = 1_000_000_000
LINES = 100
MOST_BYTES = 100_000
"""Of both ways, with all that is said beside the lines, and for those of the log below: they have half of it."""
LAST = b"the end\n"

TRAINER = f"""\
import random, sys
draw = random.Random(1)
letters = "\\u00e4\\u00f6\\u00fc\\u00df\\u00e9\\u00e8\\u00e7\\u65e5\\u672c\\u8a9e\\u5b66\\u6821\\U0001f680 "
ends = ["".join(draw.choices(letters, k=draw.randrange(20, 350) if n % 25 else 1000)).encode() for n in range(1009)]
size = number = 0
while size < {SIZE}:
    size += sys.stdout.buffer.write(b"%09d %b\\n" % (number, ends[number % 1009]))
    number += 1
sys.stdout.buffer.write({LAST!r})
"""
"""Lines of 50 to 2,500 bytes, each with its number, in characters of one byte to four."""


class Api(SiteApi):
    """A cluster with one TrainingJob, whose log is there."""

    def __init__(self, log: str, job_id: str) -> None:
        gateway = {"driver": "slurmrestd", "url": "https://slurm.example.eu", "credentials": {"name": "site"}}
        spec = {"profile": "lumi-g", "gateway": gateway, "runRoot": SCRATCH}
        super().__init__({"metadata": {"name": "site", "uid": "5", "resourceVersion": "1"}, "spec": spec})
        self._log, self._job_id = log, job_id

    async def trainingjob(self, key: Key) -> dict[str, Any]:
        attempt = {"number": 1, "marker": "psr-a-1", "cluster": "site", "user": "startup", "runDirectory": SCRATCH}
        attempt |= {"scriptDigest": "0" * 64, "jobId": self._job_id, "logPath": self._log}
        return {
            "metadata": {"namespace": key.namespace, "name": key.name, "uid": "6", "resourceVersion": "1"},
            "spec": {"site": "site"},
            "status": {"attempts": [attempt]},
        }


async def logged(world: World) -> tuple[str, str]:
    """The log of a job that has written a gigabyte, and the job."""
    door = world.door()
    script = f"#!/bin/sh\nexec python3 - << 'END'\n{TRAINER}END\n"
    job_id = await door.submit(dataclasses.replace(world.batch(), script=script))

    async def number() -> str:
        return next((job.slurm_number for job in await door.get([job_id])), "")

    slurm_number = await world.until(number, "Slurm's own number")
    path = f"{SCRATCH}/psr-{slurm_number}.out"

    async def whole() -> bool:
        there = world.seen(path)
        return there.exists() and end(there, len(LAST)) == LAST

    await world.until(whole, "the log's end", seconds=120.0)
    return path, job_id


def end(file: Path, size: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - size))
        return opened.read()


@row("log")
async def test_a_hundred_lines_of_a_gigabyte_of_log_move_little(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    port = world.port()
    if world.files(world.door()) is None or port is None:
        return
    path, job_id = await logged(world)
    file = world.seen(path)
    try:
        assert file.stat().st_size >= SIZE
        assert file.stat().st_blocks * 512 >= SIZE, "no holes"
        Api(path, job_id).connect(monkeypatch)
        async with wire(port) as between:

            def door(*_: object) -> Gateway:
                return world.open_at(between.port)

            def show() -> None:
                with pytest.raises(SystemExit) as ended:
                    main(["logs", "llm", "--namespace", "team", "--tail", str(LINES)])
                assert ended.value.code in (None, 0)

            monkeypatch.setattr(cluster, "open_gateway", door)
            await asyncio.to_thread(show)
            carried = between.there.carried + between.back.carried
        record_property(SPEED, f"{world.name}: {LINES} lines of a gigabyte of log in {carried / 1e3:.0f} kB")
        expected = end(file, 10 * MOST_BYTES).split(b"\n")[-LINES - 1 :]
        told = capsys.readouterr()
        assert (told.out, told.err) == (b"\n".join(expected).decode(), "")
        assert LINES * 50 < carried < MOST_BYTES
    finally:
        file.unlink()

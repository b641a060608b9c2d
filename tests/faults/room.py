"""Room on the machine: where far more processes want to run than there are cores, each answer is a slow one, and runs
come to the end of their patience though nothing is wrong. So one after the other begins, as there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from statistics import mean

MOST_FOR_A_CORE = 10.0
"""Processes that want to run. The cores are busy with a fraction of it: no run takes longer since fewer share them."""

SAMPLES, APART_SECONDS = 8, 0.25

PATIENCE_SECONDS = 300.0
"""Then it begins all the same: who else keeps the machine busy may do so for ever."""

_one_at_a_time = asyncio.Lock()


async def room() -> None:
    """Returns when one more run may begin; whoever asks next, looks after it has begun."""
    async with _one_at_a_time:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await _wanting() > MOST_FOR_A_CORE * (os.cpu_count() or 1):
                    pass


async def _wanting() -> float:
    """Processes that want to run, of two seconds."""
    seen = []
    for _ in range(SAMPLES):
        await asyncio.sleep(APART_SECONDS)
        seen.append(_running())
    return mean(seen)


def _running() -> int:
    return int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])

"""What the operator costs while nothing changes, and what a full listing costs it beside that.

Each Site is asked for all jobs once an hour, and soon after a start: 8 KiB for each job, others' too. Should that fall
into a minute of rest, it would pass for what every minute costs; so the two are told apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.readings import GATEWAY, Between, Reading
from bench.watched import Watched
from passerelle_sandbox import say

SLICE_SECONDS = 10.0
"""From one reading to the next: longer than the operator is at work on one full listing, which is told when it is
over. So what it cost lies in that slice, and in the one before.
"""

SLICES = 6
"""Without a full listing, one after the other: a window."""

LISTING_PATIENCE = 150.0
"""How long, in seconds, a full listing is waited for, so that one is seen beside a window."""

PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Rest:
    """`window` lies between full listings. `full_listing_cpu_seconds` is what each of those took that came beside it,
    None where none did.
    """

    window: Between
    full_listing_cpu_seconds: float | None


def rest_of(readings: Sequence[Reading]) -> Rest | None:
    """What readings tell, SLICE_SECONDS apart; None while they have no window. Pure."""
    slices = [Between(*each) for each in pairwise(readings)]
    told = [_full_listings(each) for each in slices]
    starts = (first for first in range(len(slices) - SLICES) if not any(told[first : first + SLICES + 1]))
    first = next(starts, None)
    if first is None:
        return None
    window = Between(readings[first], readings[first + SLICES])
    listings = sum(told[1:])  # of one in the first slice, part came before
    touched = [each for number, each in enumerate(slices) if any(told[max(number, 1) : number + 2])]
    beside = sum(each.cpu_seconds - window.cpu_percent / 100 * each.seconds for each in touched)
    return Rest(window, beside / listings if listings else None)


async def rest(watched: Watched, what: str) -> Rest:
    """Read on until there is a window, and a full listing was seen, too, or did not come for LISTING_PATIENCE."""
    began = time.monotonic()
    readings = [await watched.reading()]
    with say.step(f"{what}, until {SLICES * SLICE_SECONDS:.0f} s have no full listing"):
        while time.monotonic() - began < PATIENCE:
            await asyncio.sleep(SLICE_SECONDS)
            readings.append(await watched.reading())
            found = rest_of(readings)
            waited = time.monotonic() - began >= LISTING_PATIENCE
            if found is not None and (waited or found.full_listing_cpu_seconds is not None):
                return found
    raise TimeoutError(f"full listings came one after the other for {PATIENCE:.0f} s\n{watched.process.tail()}")


def _full_listings(between: Between) -> int:
    return int(between.count(f"{GATEWAY}_requests_total", operation="find"))

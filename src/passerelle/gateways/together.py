"""Several requests side by side, of which none outlives the others' failure.

asyncio.gather lets them run on: nobody waits for them then, they ask a site whose look has failed already, and what
they raise after the door is closed ends the operator as a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(works: Iterable[Coroutine[Any, Any, T]], at_once: int | None = None) -> list[T]:
    """What each returns, in their order; so many run at a time, or all. The first error is raised, once those that run
    have been ended; the rest never begins.
    """
    waiting = list(works)
    left = iter(enumerate(waiting))
    found: dict[int, T] = {}

    async def lane() -> None:
        for place, work in left:
            found[place] = await work

    lanes = [asyncio.create_task(lane()) for _ in waiting[:at_once]]
    try:
        await asyncio.gather(*lanes)
    finally:
        for each in lanes:
            each.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        for work in waiting:
            work.close()  # else one that never began is told of as forgotten
    return [found[place] for place in sorted(found)]

"""Several requests side by side, of which none outlives the others' failure.

asyncio.gather lets them run on: nobody waits for them then, they ask a site whose look has failed already, and what
they raise after the door is closed ends the operator as a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each returns, in their order. The first error is raised, once the others have been ended."""
    tasks = [asyncio.create_task(each) for each in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_turn(works: Iterable[Coroutine[Any, Any, T]], at_once: int) -> list[T]:
    """Likewise, so many at a time. `works` is an iterator, which makes each as its turn comes: none is left over."""
    left = enumerate(works)
    found: dict[int, T] = {}

    async def lane() -> None:
        for place, work in left:
            found[place] = await work

    await together(lane() for _ in range(at_once))
    return [found[place] for place in sorted(found)]

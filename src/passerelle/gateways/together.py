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

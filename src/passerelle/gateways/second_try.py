"""A call that may be repeated is tried a second time, in place, where nobody answered or a moment's patience was asked.

What the server wants beyond a moment is the loop's to wait. A submit never comes this way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

from passerelle.errors import Unavailable
from passerelle.gateways.http import BUSY, UNREACHABLE

READ_ATTEMPTS = 2
LONGEST_WAIT = 5.0
"""Seconds that a call waits in place."""

JITTER = (0.2, 0.6)
"""Seconds."""

_T = TypeVar("_T")


async def twice(call: Callable[[], Awaitable[_T]]) -> _T:
    return await tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(READ_ATTEMPTS),
        retry=tenacity.retry_if_exception(_worth_a_second_try),
        wait=wait,
        reraise=True,
    )(call)


def wait(state: tenacity.RetryCallState) -> float:
    """What the server asked for, and a jittered moment."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, Unavailable) else None
    return (asked or 0) + tenacity.wait_random(*JITTER)(state)


def _worth_a_second_try(error: BaseException) -> bool:
    return (
        isinstance(error, Unavailable)
        and error.reason in (UNREACHABLE, BUSY)
        and (error.retry_after or 0) <= LONGEST_WAIT
    )

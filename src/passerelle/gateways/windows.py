"""How far one search of a site's accounting looks back. Pure, but for whom it asks.

A search reaches back to when the oldest of the jobs in question can have been submitted, and no further: else each
walks all that the user ever had. Where slurmdbd.conf has a MaxQueryTimeRange, which nobody tells, a wider search is
refused: then it is made of narrower ones, and their width is kept.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from passerelle.errors import Unavailable
from passerelle.gateways.base import DAY_SECONDS

QUERY_TOO_WIDE = "QueryTooWide"
"""The reason of an error: slurmdbd refuses to look back so far."""

TOO_WIDE = (
    "Slurm's accounting refuses to look back even over a single day; ask the site's support to raise MaxQueryTimeRange "
    "in slurmdbd.conf."
)
"""What it means where the narrowest search is refused."""

_AHEAD = timedelta(days=2)
"""Where the last window ends: a date begins at another moment in each of the site's time zones."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Window:
    """From the beginning of one date to that of another, or to now: as Slurm writes dates."""

    start: str
    end: str | None = None


class Windows:
    """Of one site. `now` is in epoch seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._width: int | None = None  # days, where the site has a limit

    async def search(self, within: float, ask: Callable[[Window], Awaitable[list[_T]]]) -> list[_T]:
        """All that is found in windows that reach back for so many seconds. `ask` raises Unavailable, QUERY_TOO_WIDE,
        for one that is too wide.
        """
        while True:
            found: list[_T] = []
            try:
                for window in self._windows(within):
                    found += await ask(window)
            except Unavailable as error:
                width = self._width or _days(within)
                if error.reason != QUERY_TOO_WIDE or width <= 1:
                    raise
                self._width = width // 2
            else:
                return found

    def _windows(self, within: float) -> Iterator[Window]:
        today = datetime.fromtimestamp(self._now(), UTC).date()
        first = today - timedelta(days=_days(within))
        if self._width is None or _days(within) < self._width:
            yield Window(first.isoformat())
            return
        end = today + _AHEAD
        while end > first:
            start = end - timedelta(days=self._width)
            yield Window(start.isoformat(), end.isoformat())
            end = start


def _days(within: float) -> int:
    return max(math.ceil(within / DAY_SECONDS), 1)

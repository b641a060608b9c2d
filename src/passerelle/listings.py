"""How rarely a site is asked for all jobs at once. Pure; the clock is the caller's.

Such a listing holds slurmctld's lock while 8 KiB are written of each job of everybody's. So what waits for one shares
the next, which comes a minute after the one before, and later where they take long: no more than a fiftieth of the
time is spent in them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

LEAST_SECONDS = 60.0
"""From one to the next; two periods, where these are shorter, and a period, where that is longer."""

MOST_SECONDS = 300.0
"""However long they take: a deletion may wait for one."""

SHARE = 0.02
"""Of the time that may be spent in listings."""


class Listings:
    """Of one site. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = clock()

    @property
    def wait(self) -> float:
        """Seconds until the next one may come."""
        return max(self._next - self._clock(), 0.0)

    @contextlib.contextmanager
    def one(self, period: float, *, more_wait: bool = False) -> Iterator[None]:
        """One is made inside, whatever comes of it. `more_wait`: it could not serve all who waited, as when an operator
        starts with thousands, and so the next one is anybody's.
        """
        began = self._clock()
        try:
            yield
        finally:
            took = self._clock() - began
            self._next = self._clock() + (0.0 if more_wait else distance(period, took))


def distance(period: float, took: float) -> float:
    """Seconds from a listing that took so long to the next."""
    return max(period, min(LEAST_SECONDS, 2 * period), min(took / SHARE, MOST_SECONDS))

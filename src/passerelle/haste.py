"""How often a look may come before its time: what a burst asks for is seen at once, and a stream makes no period of its
own. Pure; the clock is the caller's.

A few looks may come early one after the other, and as many in each period: so on average there are never more than five
in it, however many TrainingJobs come and go.
"""

from __future__ import annotations

from collections.abc import Callable

EARLY = 4
"""Looks of a period that may come early."""

GATHER_SHARE, GATHER_LEAST, GATHER_MOST = 0.1, 0.2, 3.0
"""Look-ups gather for a tenth of the period, within these seconds: a burst of new TrainingJobs costs a few calls."""


def gather(period: float) -> float:
    """A moment, in seconds: a small part of the period."""
    return min(max(period * GATHER_SHARE, GATHER_LEAST), GATHER_MOST)


class Haste:
    """Of one site. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._taken = 0.0
        self._taken_at = 0.0

    def wait(self, period: float) -> float:
        """Seconds until a look may come early; 0 now."""
        return max(self._left(period) - EARLY + 1, 0.0) * period / EARLY

    def take(self, period: float) -> None:
        """One has come early."""
        self._taken, self._taken_at = self._left(period) + 1, self._clock()

    def _left(self, period: float) -> float:
        """Those that count still."""
        passed = (self._clock() - self._taken_at) * EARLY / period if period else EARLY
        return max(self._taken - passed, 0.0)

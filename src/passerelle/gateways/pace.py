"""How fast acts follow each other: what an hour's budget allows, no gateway should get in one second. Pure; the clock
is the caller's.

A bucket that fills at a steady rate. Each act takes its turn as it comes, and is told how long to wait for it: so those
that wait go in the order in which they came, none is refused, and nobody is passed over.
"""

from __future__ import annotations

from collections.abc import Callable

from passerelle.profiles.machine import ACTS_PER_SECOND

BURST_SECONDS = 5.0
"""At this rate for so long is what may go at once: 50 calls."""


class Pace:
    """Of one gateway. `clock` is monotonic, in seconds; `rate`, in calls a second, may change at any time."""

    def __init__(self, clock: Callable[[], float], rate: float = ACTS_PER_SECOND) -> None:
        self.rate = rate
        self._clock = clock
        self._full_at = 0.0

    @property
    def wait(self) -> float:
        """What a call that took its turn now would be told."""
        return max(max(self._full_at - self._clock(), 0.0) + 1 / self.rate - BURST_SECONDS, 0.0)

    def take(self) -> float:
        """One call's turn: in how many seconds it may leave; 0 now."""
        now = self._clock()
        self._full_at = max(self._full_at, now) + 1 / self.rate
        return max(self._full_at - now - BURST_SECONDS, 0.0)

    def begin_anew(self, after: float) -> None:
        """When so many seconds are over one may leave, and nothing is saved up: what has gathered goes as it came."""
        self._full_at = max(self._full_at, self._clock() + after + BURST_SECONDS - 1 / self.rate)

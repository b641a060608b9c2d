"""When a kind of call that nobody answers may be made again. Pure; the clock and the jitter are the caller's.

After some failures in a row it opens, and nothing is sent for a while; then one call is let through, and what becomes
of it decides: the others follow, or it opens for twice as long. An answer of any kind closes it, and so does one to a
call that had begun before.
"""

from __future__ import annotations

from collections.abc import Callable

from passerelle.errors import Unavailable

FAILURES = 5
"""In a row: one lost call is the network's, and several that had begun together are one outage."""

TRIAL_SECONDS = 10.0
"""When the others ask again while one is on trial."""


class Breaker:
    """Of one kind of call. `first` and `most` are seconds that it is open; `spread` returns a factor for each."""

    def __init__(
        self, clock: Callable[[], float], *, first: float, most: float, spread: Callable[[], float] = lambda: 1.0
    ) -> None:
        self.why: Unavailable | None = None
        """The failure that opened it; None while it is closed."""
        self._clock = clock
        self._first = first
        self._most = most
        self._spread = spread
        self._failures = 0
        self._opened = 0
        self._until = 0.0
        self._trial = False

    def wait(self) -> float:
        """Seconds until a call may be made; 0 now."""
        if self.why is None:
            return 0.0
        return max(self._until - self._clock(), TRIAL_SECONDS if self._trial else 0.0)

    def begin(self) -> bool:
        """A call is made, which wait() allowed; whether it is the one on trial."""
        if self.why is None:
            return False
        self._trial = True
        return True

    def answered(self) -> None:
        """Somebody answered, whatever it was."""
        self.why, self._failures, self._opened, self._trial = None, 0, 0, False

    def failed(self, error: Unavailable, *, trial: bool) -> None:
        """Nobody did. What fails while it is open, and began before, is no news."""
        if self.why is not None and not trial:
            return
        self._failures += 1
        if trial or self._failures >= FAILURES:
            pause = min(self._first * 2.0 ** min(self._opened, 20), self._most)
            self.why, self._trial = error, False
            self._opened += 1
            self._until = self._clock() + pause * self._spread()

    def left(self, *, trial: bool) -> None:
        """The call came to nothing that tells whether anybody is there: another may be tried."""
        if trial:
            self._trial = False

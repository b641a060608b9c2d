"""When a kind of call that nobody answers may be made again. Pure; the clock and the jitter are the caller's.

After some failures in a row it opens, and nothing is sent for a while; then one call is let through, and what becomes
of it decides: the others follow, or it opens for twice as long. An answer of any kind closes it, and so does one to a
call that had begun before.

A call may fail for reasons of its own, which look the same from here: one file lies where nothing can be read. So the
trial goes in turns: whoever has failed leaves the next one to those who wait as well, and takes it where none comes.
"""

from __future__ import annotations

from collections.abc import Callable

from passerelle.errors import Unavailable

FAILURES = 5
"""In a row: one lost call is the network's, and several that had begun together are one outage."""

TRIAL_SECONDS = 10.0
"""When the others ask again while one is on trial. So long one that has had its trial leaves the next to them."""


class Breaker:
    """Of one kind of call. `first` and `most` are seconds that it is open; `spread` returns a factor for each. `whom` a
    call is about, a job or a file, tells it from others; None is nobody in particular.
    """

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
        self._turns = 0
        self._tried: dict[str, int] = {}
        """Whose call failed last when, counted in turns, since the last answer."""
        self._waiting: set[str] = set()
        """Who was told to wait since the last trial began: whoever is still there comes again by its end."""

    def wait(self, whom: str | None = None) -> float:
        """Seconds until this one's call may be made; 0 now."""
        if self.why is None:
            return 0.0
        left = max(self._until - self._clock(), TRIAL_SECONDS if self._trial else 0.0)
        if left <= 0 and self._others_first(whom):
            left = max(self._until + TRIAL_SECONDS - self._clock(), 0.0)
        if left > 0 and whom is not None:
            self._waiting.add(whom)
        return left

    def _others_first(self, whom: str | None) -> bool:
        """Whether somebody waits whose turn is longer ago."""
        turn = self._tried.get(whom, 0) if whom is not None else 0
        return turn > 0 and any(self._tried.get(other, 0) < turn for other in self._waiting)

    def begin(self, whom: str | None = None) -> bool:
        """A call is made, which wait() allowed; whether it is the one on trial."""
        if self.why is None:
            return False
        self._trial = True
        self._waiting.clear()
        self._had_its_turn(whom)
        return True

    def _had_its_turn(self, whom: str | None) -> None:
        if whom is not None:
            self._turns += 1
            self._tried[whom] = self._turns

    def answered(self) -> None:
        """Somebody answered, whatever it was."""
        self.why, self._failures, self._opened, self._trial = None, 0, 0, False
        self._tried.clear()
        self._waiting.clear()

    def failed(self, error: Unavailable, whom: str | None = None, *, trial: bool) -> None:
        """Nobody did. What fails while it is open, and began before, is no news."""
        if self.why is not None and not trial:
            return
        self._had_its_turn(whom)
        self._failures += 1
        if trial or self._failures >= FAILURES:
            pause = min(self._first * 2.0 ** min(self._opened, 20), self._most)
            self.why, self._trial = error, False
            self._opened += 1
            self._until = self._clock() + pause * self._spread()

    def left(self, *, trial: bool) -> None:
        """The call came to nothing that tells whether anybody is there: another may be tried."""
        if trial:
            self._trial, self._until = False, self._clock()

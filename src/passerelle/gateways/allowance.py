"""How much of its time a host spends in listings of all jobs, whichever of its Sites asks. Pure; the clock is the
caller's.

No more than a fiftieth: they are written under slurmctld's lock, and a second Site's cost the machine what the first
one's did. Five minutes' worth can be saved up. Whoever waits for the next one leaves it to those who wait as well and
had theirs longer ago, and takes it where none of them comes.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary, WeakSet

SHARE = 0.02
"""Of the time that may be spent in listings."""

MOST_SECONDS = 300.0
"""From one to the next, however long they take: a deletion may wait for one."""

SAVED_SECONDS = SHARE * MOST_SECONDS
"""Of listings, that may be saved up; and as many may be owed, so that one that took longer is forgiven the rest."""

TURN_SECONDS = 10.0
"""For so long the next one is left to whoever's turn it is."""


class Allowance:
    """Of one host. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._saved = SAVED_SECONDS  # less than nothing is owed
        self._counted = clock()
        self._turns = 0
        self._had: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        """Whose last one was when, counted in turns."""
        self._waiting: WeakSet[object] = WeakSet()
        """Who asked since the last one."""

    @property
    def owed(self) -> float:
        """Seconds until what was spent is paid back."""
        return max(self._paid_at - self._clock(), 0.0)

    def wait(self, who: object) -> float:
        """Seconds until the next one may be this one's, who wants it."""
        self._waiting.add(who)
        others = any(self._had.get(each, 0) < self._had.get(who, 0) for each in self._waiting)
        return max(self._paid_at + (TURN_SECONDS if others else 0.0) - self._clock(), 0.0)

    def spend(self, who: object, took: float) -> None:
        """One has ended that took so many seconds."""
        now = self._clock()
        saved = min(self._saved + SHARE * (now - self._counted), SAVED_SECONDS)
        self._saved, self._counted = max(saved - took, -SAVED_SECONDS), now
        self._turns += 1
        self._had[who] = self._turns
        self._waiting.clear()

    @property
    def _paid_at(self) -> float:
        return self._counted + max(-self._saved, 0.0) / SHARE

"""Whose turn it is to be asked how far it is: of the running jobs as many at a time as the site may be asked for, each
in its turn. Pure; the clock is the caller's.

What a job costs is learnt: one gateway tells of five hundred in one command, another takes three requests for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

LEAST_COST = 0.001
"""Calls a job."""
LEARNT = 0.5
"""What the newest reading counts beside those before."""


class Rota:
    """Of one site. `clock` is monotonic, in seconds. Before anything is known, each job costs a call."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turns = 0
        self._last: dict[str, tuple[int, float]] = {}
        """Of each: its last turn, 0 where it had none, and when that was, or when it was first seen."""
        self._cost = 1.0

    def turn(self, running: Sequence[str], room: float) -> list[str]:
        """Who is asked now, for at most so many calls; those first whose last turn is the longest ago."""
        now = self._clock()
        self._last = {each: self._last.get(each, (0, now)) for each in running}
        many = int(max(room, 0.0) / self._cost + 0.5) if room > 0 else 0
        if many >= len(running):
            return list(running)
        return sorted(running, key=lambda each: self._last[each][0])[: max(many, 1 if room > 0 else 0)]

    def took(self, turn: Sequence[str], calls: int) -> None:
        """They were asked, by so many calls."""
        self._turns += 1
        self._last |= {each: (self._turns, self._clock()) for each in turn if each in self._last}
        if turn:
            self._cost += LEARNT * (max(calls / len(turn), LEAST_COST) - self._cost)

    def waited(self) -> float:
        """Seconds since the turn of whoever waits longest."""
        return self._clock() - min((since for _, since in self._last.values()), default=self._clock())

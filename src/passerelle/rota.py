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
        self._read_at: dict[str, float] = {}
        self._cost = 1.0

    def turn(self, running: Sequence[str], room: float) -> list[str]:
        """Who is asked now, for at most so many calls; those first whose last turn is the longest ago."""
        now = self._clock()
        self._read_at = {each: self._read_at.get(each, now) for each in running}
        many = int(max(room, 0.0) / self._cost + 0.5) if room > 0 else 0
        if many >= len(running):
            return list(running)
        return sorted(running, key=lambda each: self._read_at[each])[: max(many, 1 if room > 0 else 0)]

    def took(self, turn: Sequence[str], calls: int) -> None:
        """They were asked, by so many calls."""
        now = self._clock()
        self._read_at |= {each: now for each in turn if each in self._read_at}
        if turn:
            self._cost += LEARNT * (max(calls / len(turn), LEAST_COST) - self._cost)

    def waited(self) -> float:
        """Seconds since the turn of whoever waits longest."""
        return self._clock() - min(self._read_at.values(), default=self._clock())

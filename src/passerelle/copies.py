"""Which submits are to be looked up once more, by name: a balancer may have sent a request twice, and the answer that
came is of one of two. Pure.

The other job may train while the one that is known waits; and a refusal may be of the second request, by a limit that
the first one's job has filled. So some time after each submit accounting is asked whether it has more jobs of that
name: one name in a call that many share, and none of the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

FOLLOWED_SECONDS = 60.0
"""After the submit: until then accounting has both, and whoever sends a request again has done so."""


class Copies:
    """At one site. `now` is monotonic, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._due: dict[str, float] = {}  # marker -> when

    def sent(self, marker: str) -> None:
        """A submit under this marker has left."""
        self._due[marker] = self._now() + FOLLOWED_SECONDS

    def take(self, most: int) -> list[str]:
        """So many at `most` of the markers whose time has come; nobody is told of them again."""
        now = self._now()
        found = list(islice((marker for marker, due in self._due.items() if due <= now), most))
        for marker in found:
            del self._due[marker]
        return found

    def put_back(self, markers: Iterable[str]) -> None:
        """Nobody could be asked about these."""
        self._due |= dict.fromkeys(markers, self._now())

"""When a credential may be shown to a login node again. Pure; the clock is the caller's.

Sites shut out addresses whose logins fail, or that come too often. So a refused credential is not shown again until it
changes or minutes have passed, each time more; a host that takes no connection is left alone for a growing while; and a
connection that soon breaks again counts as one that never came about.
"""

from __future__ import annotations

from collections.abc import Callable

from passerelle.errors import PasserelleError, Unauthorized, Unavailable

REFUSED_FIRST, REFUSED_MOST = 120.0, 3600.0
"""Seconds between two tries with a credential that was refused."""
FAILED_FIRST, FAILED_MOST = 10.0, 300.0
"""Seconds between two tries of a host that takes no connection."""
STEADY_SECONDS = 60.0
"""A connection that lived so long was a good one."""


class Pauses:
    """Of one credential at one login node. `spread` returns a factor near 1 for each pause: many Sites don't knock at
    once.
    """

    def __init__(self, clock: Callable[[], float], spread: Callable[[], float] = lambda: 1.0) -> None:
        self._clock = clock
        self._spread = spread
        self.failures = 0
        """In a row, of one kind."""
        self._until = 0.0
        self._error: PasserelleError | None = None
        self._digest = ""

    def hold(self, digest: str) -> None:
        """Raise what was wrong at the last try, unless one may try again with this credential."""
        left = self._until - self._clock()
        if self._error is None or left <= 0 or digest != self._digest:
            return
        if isinstance(self._error, Unavailable):
            error = self._error
            raise Unavailable(error.message, reason=error.reason, sent=False, retry_after=left)
        raise type(self._error)(self._error.message, reason=self._error.reason)

    def repeat(self, digest: str) -> None:
        """Raise what was wrong at the last try, where the credential was refused, though its pause may be over."""
        if isinstance(self._error, Unauthorized) and digest == self._digest:
            raise Unauthorized(self._error.message, reason=self._error.reason)

    def lift(self) -> None:
        """It may be tried at once; if it fails again the pauses go on to grow."""
        self._until = 0.0

    def over(self, seconds: float) -> bool:
        """Whether nothing has failed for so long that nothing is left to remember."""
        return self._error is None or self._clock() >= self._until + seconds

    def failed(self, error: PasserelleError, digest: str) -> None:
        """A try ended so."""
        same = digest == self._digest and type(error) is type(self._error)
        self.failures = self.failures + 1 if same else 1
        first, most = (REFUSED_FIRST, REFUSED_MOST) if isinstance(error, Unauthorized) else (FAILED_FIRST, FAILED_MOST)
        pause = min(first * 2.0 ** min(self.failures - 1, 10), most) * self._spread()
        self._error, self._digest, self._until = error, digest, self._clock() + pause

    def lost(self, error: Unavailable, digest: str, lived: float) -> None:
        """A connection broke after so many seconds; several that break together are one that broke."""
        if lived >= STEADY_SECONDS:
            self.failures, self._error = 0, None
        elif self._error is None or digest != self._digest or self._clock() >= self._until:
            self.failed(error, digest)

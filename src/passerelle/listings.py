"""How rarely a site is asked for all jobs at once. Pure; the clock is the caller's.

Such a listing holds slurmctld's lock while 8 KiB are written of each job of everybody's. So what waits for one shares
the next, which comes a minute after the one before, and later where they take long: no more than a fiftieth of the
time is spent in them. Of that, five minutes' worth can be saved up, and is there when an operator starts: what the one
before it left in doubt takes two listings. One that fails is evidence of nothing, and the next comes later each time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from passerelle.errors import Deferred, PasserelleError
from passerelle.gateways.host import Host

LEAST_SECONDS = 60.0
"""From one to the next; two periods, where these are shorter, and a period, where that is longer."""

MOST_SECONDS = 300.0
"""However long they take: a deletion may wait for one."""

BUSY_SECONDS = 2.0
"""When it is looked again whether another Site's listing is over."""

LONGEST_SECONDS = 900.0
"""Likewise, where one after the other fails."""

SHARE = 0.02
"""Of the time that may be spent in listings."""

_SAVED_SECONDS = SHARE * MOST_SECONDS
"""Of listings, that may be saved up; and as many may be owed, so that one that took longer is forgiven the rest."""


class Listings:
    """Of one Site. `clock` is monotonic, in seconds. Of all Sites of the `host` one is made at a time."""

    def __init__(self, clock: Callable[[], float], host: Callable[[], Host]) -> None:
        self.trouble: PasserelleError | None = None
        """Why the last one failed; None where it did not."""
        self._clock = clock
        self._host = host
        self._next = self._counted = clock()
        self._saved = _SAVED_SECONDS  # less than nothing is owed
        self._failures = 0  # in a row

    @property
    def busy(self) -> bool:
        """Whether one is under way, of this Site or of another one of the host."""
        return self._host().listing

    @property
    def wait(self) -> float:
        """Seconds until the next one may come."""
        return max(self._next - self._clock(), BUSY_SECONDS if self.busy else 0.0)

    @contextlib.contextmanager
    def one(self, period: float, *, more_wait: bool = False) -> Iterator[None]:
        """One is made inside. `more_wait`: it could not serve all who waited, as when an operator starts with
        thousands, and so the next one is anybody's. That the site is spared one is no failure.
        """
        began, apart, host = self._clock(), 1.0, self._host()
        host.listing = True
        try:
            yield
        except PasserelleError as error:
            if not isinstance(error, Deferred):
                self.trouble, apart = error, 2.0 ** min(self._failures, 10)
                self._failures += 1
            raise
        else:
            self.trouble, self._failures, apart = None, 0, 0.0 if more_wait else 1.0
        finally:
            host.listing = False
            now = self._clock()
            saved = min(self._saved + SHARE * (now - self._counted), _SAVED_SECONDS)
            self._saved, self._counted = max(saved - (now - began), -_SAVED_SECONDS), now
            wait = max(_least(period), -self._saved / SHARE)
            self._next = now + min(apart * wait, max(wait, LONGEST_SECONDS))


def distance(period: float, took: float) -> float:
    """Seconds from a listing that took so long to the next, where one follows the other for ever."""
    return max(_least(period), min(took / SHARE, MOST_SECONDS))


def _least(period: float) -> float:
    return max(period, min(LEAST_SECONDS, 2 * period))

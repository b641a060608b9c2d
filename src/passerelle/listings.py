"""How rarely a site is asked for all jobs at once. Pure; the clock is the caller's.

Such a listing holds slurmctld's lock while 8 KiB are written of each job of everybody's. So what waits for one at a
Site shares the next, which comes a minute after the one before; and later where they take long, for all Sites of a host
together have a fiftieth of the time. Of that, five minutes' worth can be saved up, and is there when an operator
starts: what the one before it left in doubt takes two listings. One that fails is evidence of nothing, and the next
comes later each time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from passerelle.errors import Deferred, PasserelleError
from passerelle.gateways.allowance import MOST_SECONDS, SHARE
from passerelle.gateways.host import Host

LEAST_SECONDS = 60.0
"""From one to the next; two periods, where these are shorter, and a period, where that is longer."""

BUSY_SECONDS = 2.0
"""When it is looked again whether another Site's listing is over."""

LONGEST_SECONDS = 900.0
"""Likewise, where one after the other fails."""


class Listings:
    """Of one Site. `clock` is monotonic, in seconds. Of all Sites of the `host` one is made at a time."""

    def __init__(self, clock: Callable[[], float], host: Callable[[], Host]) -> None:
        self.trouble: PasserelleError | None = None
        """Why the last one failed; None where it did not."""
        self._clock = clock
        self._host = host
        self._next = clock()
        self._excused = False  # the last one did not serve all
        self._failures = 0  # in a row

    @property
    def busy(self) -> bool:
        """Whether one is under way, of this Site or of another one of the host."""
        return self._host().listing

    @property
    def wait(self) -> float:
        """Seconds until the next one may come, for whom one is wanted now."""
        shared = 0.0 if self._excused else self._host().allowance.wait(self)
        return max(self._next - self._clock(), shared, BUSY_SECONDS if self.busy else 0.0)

    @contextlib.contextmanager
    def one(self, period: float, *, more_wait: bool = False) -> Iterator[None]:
        """One is made inside. `more_wait`: it could not serve all who waited, as when an operator starts with
        thousands, and so the next one is anybody's. That the site is spared one is no failure.
        """
        began, apart, host = self._clock(), 1.0, self._host()
        host.listing, self._excused = True, False
        try:
            yield
        except PasserelleError as error:
            if not isinstance(error, Deferred):
                self.trouble, apart = error, 2.0 ** min(self._failures, 10)
                self._failures += 1
            raise
        else:
            self.trouble, self._failures, self._excused = None, 0, more_wait
        finally:
            host.listing = False
            now = self._clock()
            host.allowance.spend(self, now - began)
            wait = max(_least(period), host.allowance.owed)
            self._next = now if self._excused else now + min(apart * wait, max(wait, LONGEST_SECONDS))


def distance(period: float, took: float, sites: int = 1) -> float:
    """Seconds from a listing that took so long to the next, where one follows the other for ever, at so many Sites."""
    return max(_least(period), min(took * sites / SHARE, MOST_SECONDS))


def _least(period: float) -> float:
    return max(period, min(LEAST_SECONDS, 2 * period))

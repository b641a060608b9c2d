"""How many calls a site gets in an hour, and who gives way when they run short. Pure; the clock is the caller's.

The hour slides: sixty minutes' counts and the one that has begun, so an old call is forgotten a minute late and never
early. What may wait is paced, by a bucket that fills at a steady rate: of what its share leaves when all that goes
before it has had its calls in an hour. An operation is never cut in two, so a bucket may be overdrawn; then the next
one waits until it is paid back. Whatever happens, each keeps a little, so that progress is slow and never none. An
operator that starts anew goes on with the hour's count of the one before, and has no burst of progress. Submits
have no share, but an end: each is counted with what will be read of its job. What ends a job has neither. How fast both
follow each other is pace.py's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from passerelle.gateways.purpose import Purpose

MINUTES = 60
MINUTE_SECONDS = 60.0
HOUR_SECONDS = MINUTES * MINUTE_SECONDS

ENOUGH, FULL = 0.90, 0.95
"""Of the budget: from the first on nothing is submitted, no file moved and no progress read. The rest is for looks and
for news, by which each job's end is told; from the second on news come a few at a time.
"""

READ_OF_A_JOB = 3
"""Records that a submit brings about: as its job waits, as it runs, and as it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Parts of the budget: `up_to` what all that goes before leaves of so much, and `least` always; `burst` at once."""

    up_to: float
    least: float
    burst: float


SHARES = {
    Purpose.LOOK: Share(up_to=0.60, least=0.05, burst=0.25),
    Purpose.FILES: Share(up_to=0.70, least=0.05, burst=0.05),
    Purpose.PROGRESS: Share(up_to=0.70, least=0.10, burst=0.05),
}
"""Of what is paced: together no more than 0.75, so that something is left for submits."""

RECENT_MINUTES, LEAST_MINUTES = 10, 5
"""By so many an hour's need of what is paced is foreseen, and by no fewer."""

_ORDER = list(Purpose)


class Budget:
    """Of one site. `clock` is monotonic, in seconds; `limit` are calls an hour, and may change at any time."""

    def __init__(self, clock: Callable[[], float], limit: int) -> None:
        self.limit = limit
        self._clock = clock
        self._began: int | None = None
        self._minutes: deque[tuple[int, Counter[Purpose | None]]] = deque()
        self._spent: Counter[Purpose | None] = Counter()
        """What the minutes come to; None is for what an operator before this one asked, whatever that was for."""
        self._made: Counter[Purpose] = Counter()
        self._drawn: dict[Purpose, float] = {}
        """What a bucket lacks to be full, as of `_drawn_at`."""
        self._drawn_at: dict[Purpose, float] = {}

    def begin(self, total: int, seconds: float) -> None:
        """Before the first call: so many were made in these last seconds by an operator before this one."""
        minutes = max(int(seconds // MINUTE_SECONDS), 1)
        for minute in range(max(minutes - MINUTES, 0), minutes):
            calls = total * (minute + 1) // minutes - total * minute // minutes
            if calls:
                self._minutes.append((self._minute - minutes + 1 + minute, Counter({None: calls})))
                self._spent[None] += calls
        used = min(self.spent() / self.limit, 1.0)
        for purpose, part in ((Purpose.PROGRESS, 1.0), (Purpose.LOOK, used)):
            self._drawn[purpose] = part * SHARES[purpose].burst * self.limit
            self._drawn_at[purpose] = self._clock()

    def hour(self) -> tuple[int, float]:
        """Calls of the last hour, and how many seconds ago the first of them was made, or up to a minute more."""
        calls = self.spent()
        return calls, self._clock() - self._minutes[0][0] * MINUTE_SECONDS if self._minutes else 0.0

    def note(self, purpose: Purpose) -> None:
        """One call, answered or not."""
        minute = self._minute
        self._began = minute if self._began is None else self._began
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, Counter()))
        self._minutes[-1][1][purpose] += 1
        self._spent[purpose] += 1
        self._made[purpose] += 1
        self._forget()
        if purpose in SHARES:
            self._drawn[purpose] = self._lack(purpose) + 1
            self._drawn_at[purpose] = self._clock()

    def made(self, purpose: Purpose) -> int:
        """Calls for this since the beginning."""
        return self._made[purpose]

    def spent(self, *purposes: Purpose) -> int:
        """Calls of the last hour, for these purposes or for all."""
        self._forget()
        return sum(self._spent[each] for each in purposes) if purposes else self._spent.total()

    @property
    def former(self) -> int:
        """Calls of the last hour that an operator before this one made."""
        self._forget()
        return self._spent[None]

    def room(self, purpose: Purpose) -> float:
        """Calls that what is paced may make at once; negative where it has made more than it may."""
        if purpose is not Purpose.LOOK and self.spent() >= ENOUGH * self.limit:
            return 0.0
        return SHARES[purpose].burst * self.limit - self._lack(purpose)

    def wait(self, purpose: Purpose) -> float:
        """Seconds until a call for this may be made; 0 now."""
        if purpose is Purpose.END:
            return 0.0
        if purpose is Purpose.SUBMIT:
            return self._until_less_than(ENOUGH * self.limit - self._owed)
        wait = self._until_less_than(ENOUGH * self.limit) if purpose is not Purpose.LOOK else 0.0
        if purpose in SHARES:
            overdrawn = self._lack(purpose) - SHARES[purpose].burst * self.limit
            wait = max(wait, overdrawn / self._rate(purpose))
        return wait

    @property
    def _owed(self) -> float:
        """Calls that are sure to follow within the hour: what is read of the jobs that were submitted, and looks."""
        read = READ_OF_A_JOB * self.spent(Purpose.SUBMIT) - self.spent(Purpose.NEWS)
        most = SHARES[Purpose.LOOK].up_to * self.limit
        return max(read, 0) + max(min(self._needed(Purpose.LOOK), most) - self.spent(Purpose.LOOK), 0)

    @property
    def full(self) -> bool:
        """Whether hardly any call of the hour is left."""
        return self.spent() >= FULL * self.limit

    def _rate(self, purpose: Purpose) -> float:
        """Calls a second by which a bucket fills."""
        share = SHARES[purpose]
        before = sum(self._needed(each) for each in _ORDER[_ORDER.index(purpose) + 1 :])
        left = (share.up_to - share.burst) * self.limit - before
        return max(left, share.least * self.limit) / HOUR_SECONDS

    def _needed(self, purpose: Purpose) -> float:
        """Calls of an hour: of the last one, or of one like these last minutes where that is paced and goes on so. An
        operator that has just begun would else give away what looks will need.
        """
        spent = self.spent(purpose)
        if purpose not in SHARES or self._began is None:
            return spent
        since = self._minute - min(RECENT_MINUTES, max(self._minute - self._began, LEAST_MINUTES))
        recent = sum(
            counts[purpose] for minute, counts in islice(reversed(self._minutes), RECENT_MINUTES) if minute > since
        )
        return max(spent, recent * MINUTES / (self._minute - since))

    @property
    def _minute(self) -> int:
        return int(self._clock() // MINUTE_SECONDS)

    def _lack(self, purpose: Purpose) -> float:
        """What the bucket lacks to be full now."""
        if purpose not in self._drawn:
            return 0.0
        passed = self._clock() - self._drawn_at[purpose]
        return max(self._drawn[purpose] - passed * self._rate(purpose), 0.0)

    def _until_less_than(self, most: float) -> float:
        """Seconds until fewer calls than that are of the last hour."""
        surplus = self.spent() - most
        if surplus < 0:
            return 0.0
        for minute, counts in self._minutes:
            surplus -= counts.total()
            if surplus < 0 or most <= 0:
                return max((minute + MINUTES + 1) * MINUTE_SECONDS - self._clock(), 1.0)
        return HOUR_SECONDS  # the budget itself is nothing

    def _forget(self) -> None:
        oldest = self._minute - MINUTES
        while self._minutes and self._minutes[0][0] < oldest:
            self._spent -= self._minutes.popleft()[1]

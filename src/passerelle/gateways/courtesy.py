"""The courtesy that a site is owed, whoever of us calls it: what every call of its gateway passes through.

It keeps the hour's budget, leaves a site alone that asks for patience, lets acts, and news, follow each other no faster
than a pace, and sends nothing for a while where one kind of call gets no answer again and again. Looks have no breaker:
the watch that makes them waits longer after each that fails. What is refused here was never sent, so nothing may be
concluded from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from enum import StrEnum
from typing import TypeVar

from passerelle.errors import Deferred, Missing, Rejected, Unavailable
from passerelle.gateways.around import LOOKS, around
from passerelle.gateways.base import Gateway
from passerelle.gateways.breaker import Breaker
from passerelle.gateways.budget import Budget
from passerelle.gateways.host import Host
from passerelle.gateways.http import BUSY, UNREACHABLE
from passerelle.gateways.meter import metered
from passerelle.gateways.pace import Pace
from passerelle.gateways.purpose import Purpose, purpose

LONGEST_PATIENCE = 900.0
"""Seconds that a server may ask us to wait: it is asked again after that, whatever it said."""

WAITED_IN_PLACE = 5.0
"""Seconds: who would be refused for no longer than that waits instead."""

FILES_WAIT_IN_PLACE = 60.0
"""Likewise of files: a copy that were begun anew each time would never end."""

LEAST_WAIT = 0.01
"""Seconds: what is left of a wait may be less than a clock can show."""

SLOWED_SECONDS = 600.0
"""How long it is told that something gave way: what comes and goes within minutes is one thing."""

CALLS_SPENT = "CallsSpent"

_T = TypeVar("_T")


class Kind(StrEnum):
    """Calls that fail together."""

    SUBMITS = "submits"
    ENDS = "ends"
    FILES = "files"


_OPEN: Mapping[Kind, tuple[float, float]] = {
    Kind.SUBMITS: (15.0, 300.0),
    Kind.ENDS: (5.0, 60.0),
    Kind.FILES: (10.0, 120.0),
}
"""Seconds for which a kind is left alone at first, and at most."""

_KINDS = {"submit": Kind.SUBMITS, "cancel": Kind.ENDS, "warn": Kind.ENDS}
_PURPOSES = {Kind.SUBMITS: Purpose.SUBMIT, Kind.ENDS: Purpose.END, Kind.FILES: Purpose.FILES}

_PACED = frozenset({Purpose.SUBMIT, Purpose.END})
"""What makes no more calls a second than the pace of acts allows."""

RECORDS = "get"
"""The operation that reads full records: they keep the pace of news, whatever they are read for."""

_NO_ANSWER = frozenset({UNREACHABLE, BUSY, "SchedulerUnavailable"})
"""Reasons by which nobody answered, or nobody who could help. Others are about one job or one file."""

_TRYING: ContextVar[Kind | None] = ContextVar("passerelle_trying", default=None)


class Courtesy:
    """Of one Site, whatever its door is by now. `clock` is monotonic, in seconds; `changed` is told when it is to be
    told of, and must not block.
    """

    def __init__(
        self, clock: Callable[[], float], *, calls_per_hour: int, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.budget = Budget(clock, calls_per_hour)
        self.deferred: Counter[Purpose] = Counter()
        """Calls that were refused here, by what they were for."""
        self.look_stretch = self.progress_stretch = 1.0
        """How many times as long as it should be the time between two looks is, and between two reports of a job."""
        self._clock = clock
        self._changed = changed
        self.host = Host(clock)
        self.meet(self.host)
        self._breakers = {
            kind: Breaker(clock, first=first, most=most, spread=lambda: random.uniform(0.9, 1.1))  # noqa: S311 -- jitter, no secret
            for kind, (first, most) in _OPEN.items()
        }
        self._slowed_at: dict[Purpose, float] = {}
        self._look_at, self._look_after = 0.0, 0.0

    def meet(self, host: Host) -> None:
        """The gateway is there, beside those of other Sites."""
        self.host.heard.pop(self, None)
        self.host = host
        host.heard[self] = self._changed

    @property
    def pace(self) -> Pace:
        """Of acts: the host's."""
        return self.host.pace

    @property
    def news_wait(self) -> float:
        """Seconds for which a record that is asked for now would wait for its turn."""
        return self.host.news.wait

    def _pace_of(self, operation: str, what: Purpose) -> Pace | None:
        """The one that calls for this keep to; None where nothing but the hour bounds them."""
        if what in _PACED:
            return self.pace
        return self.host.news if what is Purpose.NEWS or operation == RECORDS else None

    # What is told of it

    @property
    def patience_left(self) -> float:
        """Seconds for which the site asked to be left alone; 0 where it didn't."""
        return self.host.patience_left

    def look_wait(self, period: float) -> float:
        """Seconds until a look that is due may come, since the site asked to be left alone: the Sites of its host then
        come one after the other, as they do at the beginning.
        """
        until = self.host.patient_until
        if self.host.returned_to and self._look_after != until:
            self._look_after, self._look_at = until, self._clock() + self.host.look_after_patience(period)
        return max(self._look_at - self._clock(), 0.0)

    @property
    def asked_seconds(self) -> float:
        """What it asked for last, while patience_left."""
        return self.host.asked_seconds

    def open(self) -> dict[Kind, Unavailable]:
        """Which kinds of calls are left alone, and why."""
        return {kind: each.why for kind, each in self._breakers.items() if each.why is not None}

    def slowed(self) -> list[Purpose]:
        """What gave way to the budget in the last minutes."""
        now = self._clock()
        return [each for each in Purpose if now - self._slowed_at.get(each, -SLOWED_SECONDS) < SLOWED_SECONDS]

    def slow(self, what: Purpose) -> None:
        """The budget has this wait."""
        self._slowed_at[what] = self._clock()

    def submits_wait(self, marker: str | None = None) -> Deferred | None:
        """Why this attempt can't be submitted now, or nothing can; None where it can be tried."""
        if (left := self.patience_left) > WAITED_IN_PLACE:
            return self._patient(left)
        breaker = self._breakers[Kind.SUBMITS]
        if breaker.why is not None and (wait := breaker.wait(marker)) > 0:
            return _left_alone(Kind.SUBMITS, breaker.why, wait)
        if (spent := self._spent(Purpose.SUBMIT)) is not None:
            self.slow(Purpose.SUBMIT)
        return spent

    # What calls pass through

    async def through(self, operation: str, call: Callable[[], Awaitable[_T]], about: str | None = None, /) -> _T:
        """The call, now or soon; or Deferred, with nothing sent."""
        kind = None if operation in LOOKS else _KINDS.get(operation, Kind.FILES)
        what = purpose() or (Purpose.LOOK if kind is None else _PURPOSES[kind])
        if what in (Purpose.LOOK, Purpose.NEWS) or (what is Purpose.END and kind is Kind.FILES):
            kind = None  # files that tell of an end or ask for it, whatever happened to others
        try:
            await self._keep_within(what)
            pace = self._pace_of(operation, what)
            await self._in_turn(pace)
            with (
                contextlib.nullcontext() if kind is None or _TRYING.get() is kind else self.trying(kind, about),
                metered(self._counting(what, pace), self._asked_for_patience, self._may_leave),
            ):
                return await call()
        except Deferred:
            self.deferred[what] += 1
            raise

    @contextlib.contextmanager
    def trying(self, kind: Kind, whom: str | None = None) -> Iterator[None]:
        """The calls inside are one try of this kind, the looks among them too: to cancel a job it is read first. `whom`
        it is about tells it from those of others, with which it takes turns.
        """
        breaker = self._breakers[kind]
        if breaker.why is not None and (wait := breaker.wait(whom)) > 0:
            raise _left_alone(kind, breaker.why, wait)
        trial, was_open = breaker.begin(whom), breaker.why is not None
        token = _TRYING.set(kind)
        try:
            yield
        except BaseException as error:
            _judge(breaker, kind, error, whom, trial=trial)
            raise
        else:
            breaker.answered()
        finally:
            _TRYING.reset(token)
            if was_open != (breaker.why is not None):
                self._changed()

    async def _be_patient(self) -> None:
        while (left := self.patience_left) > 0:
            if left > WAITED_IN_PLACE:
                raise self._patient(left)
            await asyncio.sleep(max(left, LEAST_WAIT))

    async def _in_turn(self, pace: Pace | None) -> None:
        """Acts and news wait in place, in the order in which they came. Where the site asks for patience meanwhile,
        they have their turns after that.
        """
        await self._be_patient()
        while pace is not None and (wait := pace.take()) > 0:
            await asyncio.sleep(wait)
            if self.patience_left <= 0:
                return
            await self._be_patient()

    def _counting(self, what: Purpose, pace: Pace | None) -> Callable[[], None]:
        """Told of each call of an operation. Its first has had its turn, and further ones take those of others."""
        further = False

        def count() -> None:
            nonlocal further
            self.budget.note(what)
            if further and pace is not None:
                pace.take()
            further = True

        return count

    async def _keep_within(self, what: Purpose) -> None:
        """Looks and progress are paced by the watch, which makes fewer of them. What ends a job goes beyond the budget,
        and that is told.
        """
        if what is Purpose.END and self.budget.spent() >= self.budget.limit:
            self.slow(what)
        if what not in (Purpose.FILES, Purpose.SUBMIT):
            return
        while (spent := self._spent(what)) is not None:
            self.slow(what)
            wait = spent.retry_after or 0.0
            if what is Purpose.SUBMIT or wait > FILES_WAIT_IN_PLACE:
                raise spent
            await asyncio.sleep(max(wait, LEAST_WAIT))

    def _asked_for_patience(self, seconds: float) -> None:
        left = min(seconds, LONGEST_PATIENCE)
        self.host.be_patient(left, seconds, told=left > WAITED_IN_PLACE)

    def _may_leave(self) -> None:
        """What waited for a connection, or follows another request of its call, may meet patience that is newer."""
        if (left := self.patience_left) > 0:
            raise self._patient(left)

    def _patient(self, left: float) -> Deferred:
        text = "The gateway asks for patience, and is left alone for as long as it asked."
        return Deferred(text, reason=BUSY, retry_after=left)

    def _spent(self, what: Purpose) -> Deferred | None:
        wait = self.budget.wait(what)
        if wait <= 0:
            return None
        text = f"The Site's callsPerHour, {self.budget.limit}, are used up for this hour."
        return Deferred(text, reason=CALLS_SPENT, retry_after=wait)


def courteous(gateway: Gateway, courtesy: Courtesy) -> Gateway:
    """The same gateway, each of whose calls passes through the courtesy."""
    return around(gateway, courtesy.through)


def _judge(breaker: Breaker, kind: Kind, error: BaseException, whom: str | None, *, trial: bool) -> None:
    """What a call's error says of whether anybody is there. An odd answer to a submit is none; that to a file may be
    about the file. What may never have been sent, or was our own fault, says nothing.
    """
    odd = kind is not Kind.FILES and isinstance(error, Unavailable) and error.reason == "UnexpectedAnswer"
    if isinstance(error, Unavailable) and not isinstance(error, Deferred) and (odd or error.reason in _NO_ANSWER):
        breaker.failed(error, whom, trial=trial)
    elif isinstance(error, Rejected | Missing) or (isinstance(error, Unavailable) and error.sent):
        breaker.answered()
    else:
        breaker.left(trial=trial)


_WORDS = {
    Kind.SUBMITS: "Several submits in a row got no answer, so nothing is submitted but one job now and then, to try.",
    Kind.ENDS: "Several cancels in a row got no answer, so nothing is cancelled but one job now and then, to try.",
    Kind.FILES: "The site's files could not be reached several times in a row, so it is tried only now and then.",
}


def _left_alone(kind: Kind, why: Unavailable, wait: float) -> Deferred:
    return Deferred(f"{_WORDS[kind]} The last one: {why.message}", reason=why.reason, retry_after=wait)


def words(kind: Kind, why: Unavailable) -> str:
    """Why a kind of call is left alone, in sentences that stay the same while it is."""
    return _left_alone(kind, why, 0.0).message

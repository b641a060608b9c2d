"""What goes wrong in a run, drawn from its seed: which calls, the how manieth of their kind, and how. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Calls by what hangs on them."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    LISTING = "listing"
    RECORD = "record"
    ACCOUNTING = "accounting"
    PROBE = "probe"
    PATCH = "patch"
    READ = "read"
    WATCH = "watch"


class Fault(StrEnum):
    """What becomes of a call. The server has seen it in those that say `answer` or `after`."""

    LOSE_CALL = "lose-call"
    LOSE_ANSWER = "lose-answer"
    SEND_TWICE = "send-twice"
    CUT_ANSWER = "cut-answer"
    GARBLE_ANSWER = "garble-answer"
    EMPTY_ANSWER = "empty-answer"
    OLD_ANSWER = "old-answer"
    DELAY = "delay"
    BUSY = "429"
    BROKEN = "500"
    BAD_GATEWAY = "502"
    AWAY = "503"
    ELSEWHERE = "redirect"
    CONFLICT = "409"
    FREEZE = "freeze"
    KILL_BEFORE = "kill-before"
    KILL_AFTER = "kill-after"


KILLS = frozenset({Fault.KILL_BEFORE, Fault.KILL_AFTER})
_ANY = (
    *(Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.CUT_ANSWER, Fault.DELAY, Fault.BUSY, Fault.BROKEN, Fault.BAD_GATEWAY),
    *(Fault.AWAY, Fault.ELSEWHERE, Fault.KILL_BEFORE, Fault.KILL_AFTER),
)
POSSIBLE: dict[Kind, tuple[Fault, ...]] = {
    Kind.SUBMIT: (*_ANY, Fault.GARBLE_ANSWER, Fault.SEND_TWICE),
    Kind.CANCEL: (*_ANY, Fault.GARBLE_ANSWER),
    Kind.LISTING: (*_ANY, Fault.GARBLE_ANSWER, Fault.EMPTY_ANSWER, Fault.OLD_ANSWER),
    Kind.RECORD: (*_ANY, Fault.GARBLE_ANSWER, Fault.EMPTY_ANSWER),
    Kind.ACCOUNTING: (*_ANY, Fault.GARBLE_ANSWER, Fault.EMPTY_ANSWER),
    Kind.PATCH: (
        *(Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.DELAY, Fault.BUSY, Fault.BROKEN, Fault.AWAY, Fault.CONFLICT),
        *(Fault.KILL_BEFORE, Fault.KILL_AFTER),
    ),
    Kind.WATCH: (Fault.FREEZE, Fault.CUT_ANSWER),
}
"""What a run draws from; other calls go through."""

ENOUGH = 3
"""Mishaps that happened, without which a run proves little and is not counted."""
LEAST, MOST = 5, 9
LATEST: dict[Kind, int] = {Kind.SUBMIT: 10, Kind.CANCEL: 2, Kind.PATCH: 40, Kind.WATCH: 1}
"""The how manieth call of a kind may be hit, at most; of the others the tenth."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """`fault` becomes of the `number`th call of this kind, counted from 1."""

    kind: Kind
    number: int
    fault: Fault

    def __str__(self) -> str:
        return f"{self.kind} {self.number}: {self.fault}"


@dataclass(slots=True)
class Plan:
    """A run's mishaps, each of which happens at most once."""

    seed: int
    mishaps: tuple[Mishap, ...]
    happened: list[Mishap] = field(default_factory=list)
    _seen: dict[Kind, int] = field(default_factory=dict)

    @property
    def waits_for_a_watch(self) -> bool:
        left = (each for each in self.mishaps if each not in self.happened)
        return any(each.kind is Kind.WATCH for each in left)

    def next(self, kind: Kind) -> Fault | None:
        """What becomes of the call of this kind that comes now."""
        number = self._seen[kind] = self._seen.get(kind, 0) + 1
        for each in self.mishaps:
            if (each.kind, each.number) == (kind, number):
                self.happened.append(each)
                return each.fault
        return None


def drawn(seed: int) -> Plan:
    """Some more than are enough, since not each comes to its call; one of them is at a submit."""
    draw = random.Random(seed)  # noqa: S311 -- it draws a story
    found = {(first.kind, first.number): first for first in [_grave(draw)]}
    while len(found) < LEAST + draw.randrange(MOST - LEAST + 1):
        kind = draw.choice(list(POSSIBLE))
        one = Mishap(kind, 1 + draw.randrange(LATEST.get(kind, 10)), draw.choice(POSSIBLE[kind]))
        found.setdefault((one.kind, one.number), one)
    return Plan(seed, tuple(found.values()))


def _grave(draw: random.Random) -> Mishap:
    number = 1 + draw.randrange(LATEST[Kind.SUBMIT])
    return Mishap(Kind.SUBMIT, number, draw.choice(POSSIBLE[Kind.SUBMIT]))


def by_kind(mishaps: Iterable[Mishap]) -> dict[str, int]:
    """How often each happened."""
    return dict(sorted(Counter(f"{each.kind}/{each.fault}" for each in mishaps).items()))

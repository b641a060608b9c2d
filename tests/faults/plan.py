"""What goes wrong in a run, drawn from its seed: which calls, the how manieth of their kind, and how. Pure."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Calls by what hangs on them. A piece is what is read at once of a connection whose calls are sealed."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    LISTING = "listing"
    RECORD = "record"
    ACCOUNTING = "accounting"
    PROBE = "probe"
    PATCH = "patch"
    READ = "read"
    WATCH = "watch"
    LEASE = "lease"
    PIECE = "piece"


class Fault(StrEnum):
    """What becomes of a call. The server has seen it in those that say `answer` or `after`; `late`, it will."""

    LOSE_CALL = "lose-call"
    LOSE_ANSWER = "lose-answer"
    SEND_TWICE = "send-twice"
    CUT_ANSWER = "cut-answer"
    GARBLE_ANSWER = "garble-answer"
    EMPTY_ANSWER = "empty-answer"
    OLD_ANSWER = "old-answer"
    OTHER_USER = "answer-of-another-user"
    OTHER_CLUSTER = "answer-of-another-cluster"
    DELAY = "delay"
    CERTIFICATE = "wrong-certificate"
    BUSY = "429"
    BROKEN = "500"
    BAD_GATEWAY = "502"
    AWAY = "503"
    ELSEWHERE = "redirect"
    CONFLICT = "409"
    EXPIRED = "410"
    FREEZE = "freeze"
    KILL_BEFORE = "kill-before"
    KILL_AFTER = "kill-after"
    KILL_LATE = "kill-and-late"
    KILL_STALE = "kill-and-stale"
    SLEEP = "sleep"
    UPGRADE = "upgrade"


KILLS = frozenset({Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.KILL_LATE, Fault.KILL_STALE})
LEADS_NO_MORE = KILLS | {Fault.SLEEP, Fault.UPGRADE}
"""The operator that leads is killed, stopped for some seconds, or asked to end. No seed draws a stale call: one that
comes when its absence has been believed leaves a second job, and the only one of a TrainingJob that was deleted.
"""
_LEADER = (Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.KILL_LATE, Fault.SLEEP, Fault.UPGRADE)
_ANY = (
    *(Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.CUT_ANSWER, Fault.DELAY, Fault.BUSY, Fault.BROKEN, Fault.BAD_GATEWAY),
    *(Fault.AWAY, Fault.ELSEWHERE, Fault.CERTIFICATE, *_LEADER),
)
_LIES = (Fault.GARBLE_ANSWER, Fault.EMPTY_ANSWER)
_OTHERS = (Fault.OTHER_USER, Fault.OTHER_CLUSTER)
_KUBERNETES: dict[Kind, tuple[Fault, ...]] = {
    Kind.PATCH: (
        *(Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.DELAY, Fault.BUSY, Fault.BROKEN, Fault.AWAY, Fault.CONFLICT),
        *_LEADER,
    ),
    Kind.WATCH: (Fault.FREEZE, Fault.CUT_ANSWER, Fault.EXPIRED),
    Kind.LEASE: (Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.DELAY, Fault.BUSY, Fault.BROKEN, Fault.CONFLICT, *_LEADER),
}
_HTTP: dict[Kind, tuple[Fault, ...]] = _KUBERNETES | {
    Kind.SUBMIT: (*_ANY, Fault.GARBLE_ANSWER, Fault.SEND_TWICE),
    Kind.CANCEL: (*_ANY, Fault.GARBLE_ANSWER),
    Kind.LISTING: (*_ANY, *_LIES, Fault.OLD_ANSWER),
    Kind.RECORD: (*_ANY, *_LIES),
}
_SLURMRESTD: dict[Kind, tuple[Fault, ...]] = _HTTP | {
    Kind.LISTING: (*_HTTP[Kind.LISTING], *_OTHERS),
    Kind.RECORD: (*_HTTP[Kind.RECORD], *_OTHERS),
    Kind.ACCOUNTING: (*_ANY, *_LIES, *_OTHERS),
    Kind.PROBE: (*_ANY, Fault.GARBLE_ANSWER, Fault.OTHER_CLUSTER),
}
_BYTES: dict[Kind, tuple[Fault, ...]] = _KUBERNETES | {
    Kind.PIECE: (Fault.LOSE_CALL, Fault.CUT_ANSWER, Fault.DELAY, Fault.FREEZE, *_LEADER[:2], *_LEADER[3:]),
}
POSSIBLE: dict[str, dict[Kind, tuple[Fault, ...]]] = {
    "slurmrestd": _SLURMRESTD,
    "ssh": _BYTES,
    "unicore": _HTTP,
    "firecrest": _HTTP,
    "arc": _HTTP,
}
"""What a run draws from, by the driver of its Site; other calls go through."""

OTHER_DOORS = ("ssh", "unicore", "firecrest", "arc")
OWN_IDS = frozenset({"unicore", "arc"})
"""Doors whose job ids are not Slurm's. One of A-REX's, of twelve hexadecimal digits, may look like one."""

ENOUGH = 3
"""Mishaps that happened, without which a run proves little and is not counted."""
LEAST, MOST = 5, 9
GENERAL_SHARE = 0.1
"""How many of the mishaps hit all runs of the stage, whose ever they are: with more of them, nobody would ever lead or
hear of anything.
"""
LATEST: dict[Kind, int] = {
    Kind.SUBMIT: 10,
    Kind.CANCEL: 2,
    Kind.PATCH: 40,
    Kind.WATCH: 1,
    Kind.LEASE: 5,
    Kind.PIECE: 300,
}
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
    door: str = "slurmrestd"
    happened: list[Mishap] = field(default_factory=list)
    sent_twice: set[str] = field(default_factory=set)
    """Markers of submits that reached the site twice, or later than whoever sent them lived."""
    on_their_way: int = 0
    """Calls that are held back, and come late."""
    arrived_at: float = -math.inf
    """When the last of these came, in seconds of the monotonic clock."""
    _seen: dict[Kind, int] = field(default_factory=dict)

    @property
    def grave(self) -> bool:
        """Whether something happened to a submit, or somebody was killed."""
        return any(each.kind is Kind.SUBMIT or each.fault in KILLS for each in self.happened)

    def waits_for(self, kind: Kind) -> bool:
        """Whether a call of this kind may still be hit."""
        return any(each.kind is kind for each in self.mishaps if each not in self.happened)

    def next(self, kind: Kind) -> Fault | None:
        """What becomes of the call of this kind that comes now."""
        number = self._seen[kind] = self._seen.get(kind, 0) + 1
        for each in self.mishaps:
            if (each.kind, each.number) == (kind, number):
                self.happened.append(each)
                return each.fault
        return None

    def came_to_nothing(self, kind: Kind, fault: Fault) -> None:
        """What seemed to happen changed nothing."""
        happened = [each for each in self.happened if (each.kind, each.fault) == (kind, fault)]
        self.happened.remove(happened[-1])


def door_of(seed: int) -> str:
    """A tenth of the seeds goes through the doors that most Sites do not have, in turn."""
    return OTHER_DOORS[seed // 10 % len(OTHER_DOORS)] if seed % 10 == 5 else "slurmrestd"


def drawn(seed: int) -> Plan:
    """Some more than are enough, since not each comes to its call; one of them is at a submit, or a kill."""
    draw, door = random.Random(seed), door_of(seed)  # noqa: S311 -- it draws a story
    possible = POSSIBLE[door]
    found = {(first.kind, first.number): first for first in [_grave(draw, possible)]}
    while len(found) < LEAST + draw.randrange(MOST - LEAST + 1):
        kind = draw.choice(list(possible))
        one = Mishap(kind, 1 + draw.randrange(LATEST.get(kind, 10)), _fault(draw, kind, possible[kind]))
        found.setdefault((one.kind, one.number), one)
    return Plan(seed, tuple(found.values()), door)


def _grave(draw: random.Random, possible: dict[Kind, tuple[Fault, ...]]) -> Mishap:
    if Kind.SUBMIT not in possible:
        return Mishap(Kind.PATCH, 1 + draw.randrange(LATEST[Kind.PATCH]), draw.choice(_LEADER[:3]))
    number = 1 + draw.randrange(LATEST[Kind.SUBMIT])
    return Mishap(Kind.SUBMIT, number, _fault(draw, Kind.SUBMIT, possible[Kind.SUBMIT]))


def _fault(draw: random.Random, kind: Kind, faults: tuple[Fault, ...]) -> Fault:
    general = [each for each in faults if each in LEADS_NO_MORE or (kind, each) == (Kind.WATCH, Fault.FREEZE)]
    others = [each for each in faults if each not in general]
    return draw.choice(general if general and draw.random() < GENERAL_SHARE else others)


def by_kind(mishaps: Iterable[Mishap]) -> dict[str, int]:
    """How often each happened."""
    return dict(sorted(Counter(f"{each.kind}/{each.fault}" for each in mishaps).items()))

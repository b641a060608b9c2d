"""What may happen to a whole site, and to the cluster that looks at it, and what of it a run draws. Pure.

An event excuses ends of the very jobs that it struck, and of no others: see `struck`, and history.py.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from faults.history import Blow, Job, What
from passerelle_sandbox.errors import SandboxError

EVERY = 20
"""A seed that this divides is a run of a site's life."""
LEAST, MOST = 1, 3
FIRST_SECONDS, LAST_SECONDS = 1.0, 18.0
"""When an event begins, in seconds after the TrainingJobs were made."""
LATE_SECONDS = 30
"""How long after an event Slurm may write down an end that it caused: KillWait, and a database that was away."""


class Event(StrEnum):
    """What happens."""

    RESTARTED = "scheduler-restarted"
    STATE_LOST = "state-lost"
    DATABASE_DOWN = "database-down"
    PURGED = "purged-while-asleep"
    NODE_FAILED = "node-failed"
    PREEMPTED = "preempted"
    REQUEUED = "requeued"
    HELD = "held"
    CANCELLED = "cancelled-outside"
    SUSPENDED = "suspended"
    UPDATED = "limits-updated"
    MAINTENANCE = "maintenance"
    CLOCK_OFF = "clock-off"
    SITE_MOVED = "site-moved"
    SECRET_CHANGED = "secret-changed"
    RESTORED = "etcd-restored"
    SAME_NAME = "same-name"


WAYS: dict[Event, tuple[str, ...]] = {
    Event.RESTARTED: ("stopped", "frozen"),
    Event.STATE_LOST: ("",),
    Event.DATABASE_DOWN: ("stopped", "frozen"),
    Event.PURGED: ("",),
    Event.NODE_FAILED: ("down", "dead"),
    Event.PREEMPTED: ("",),
    Event.REQUEUED: ("forced", "plain", "by-user", "held"),
    Event.HELD: ("by-root", "by-user"),
    Event.CANCELLED: ("running", "waiting"),
    Event.SUSPENDED: ("",),
    Event.UPDATED: ("longer", "shorter", "ended", "qos"),
    Event.MAINTENANCE: ("",),
    Event.CLOCK_OFF: ("ahead", "behind"),
    Event.SITE_MOVED: ("other-address", "nobody-there"),
    Event.SECRET_CHANGED: ("renewed", "expired", "garbage", "other-user"),
    Event.RESTORED: ("",),
    Event.SAME_NAME: ("same-script", "other-job", "other-slurm"),
}
"""How each may happen."""

LASTS: dict[Event, tuple[float, float]] = {
    Event.RESTARTED: (0.0, 8.0),
    Event.STATE_LOST: (0.0, 4.0),
    Event.DATABASE_DOWN: (8.0, 25.0),
    Event.CLOCK_OFF: (15.0, 25.0),
    Event.RESTORED: (6.0, 14.0),
    Event.SITE_MOVED: (5.0, 15.0),
    Event.SECRET_CHANGED: (5.0, 15.0),
}
"""For how many seconds; the others as below."""
_LASTS = (3.0, 8.0)


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of a run: in which way, when, and for how long, in seconds. `draw` seeds whom it strikes."""

    event: Event
    way: str = ""
    at: float = FIRST_SECONDS
    lasts: float = 0.0
    draw: int = 0

    def __str__(self) -> str:
        return f"{self.event}/{self.way}" if self.way else str(self.event)


def events_of(word: str) -> list[tuple[Event, str]]:
    """`held` is that event in each of its ways, `held/by-user` in this one. Raises SandboxError."""
    name, _, way = word.partition("/")
    known = [(event, each) for event, ways in WAYS.items() for each in ways if event == name and way in ("", each)]
    if not known:
        raise SandboxError(f"Nothing is called {word!r}; there are {', '.join(Event)}.")
    return known


def is_site_run(seed: int) -> bool:
    """Whether this seed's run has a site of its own, to which events happen."""
    return seed % EVERY == 0


def drawn_life(seed: int) -> tuple[Happening, ...]:
    """Different events, in the order in which they begin. The first is the seed's turn: any twenty have them all."""
    draw = random.Random(f"life {seed}")  # noqa: S311 -- it draws a story
    every = list(Event)
    first = every[seed // EVERY % len(every)]
    others = draw.sample([each for each in every if each is not first], draw.randint(LEAST, MOST) - 1)
    found: list[Happening] = []
    for event in (first, *others):
        one = _one(event, draw)
        if not any(_clash(one, other) for other in found):
            found.append(one)
    return tuple(sorted(found, key=lambda each: each.at))


def _one(event: Event, draw: random.Random) -> Happening:
    return Happening(
        event,
        draw.choice(WAYS[event]),
        round(draw.uniform(FIRST_SECONDS, LAST_SECONDS), 1),
        round(draw.uniform(*LASTS.get(event, _LASTS)), 1),
        draw.randrange(2**31),
    )


_OTHER_USER = (Event.SECRET_CHANGED, "other-user")
_OTHER_JOB = (Event.SAME_NAME, "other-job")
_MAKE_ATTEMPTS = frozenset({Event.NODE_FAILED, Event.PREEMPTED, Event.STATE_LOST, Event.RESTORED})


def _clash(one: Happening, other: Happening) -> bool:
    """Whether nobody could say what must come of both.

    An attempt that is made while the Site leads to another user is that user's, and waits for him for ever. A job of
    others that no claim keeps from running is the attempt where ours begins anew after it.
    """
    pairs = ((one, other), (other, one))
    return any(
        ((a.event, a.way) == _OTHER_USER and b.event in _MAKE_ATTEMPTS)
        or ((a.event, a.way) == _OTHER_JOB and b.event is Event.REQUEUED)
        for a, b in pairs
    )


@dataclass(frozen=True, slots=True)
class Window:
    """A node whose jobs Slurm ended so, within these epoch seconds."""

    what: What
    node: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Row:
    """A row of accounting, with what tells an event's victims."""

    job: Job
    node: str = ""


def struck(windows: Collection[Window], rows: Iterable[Row]) -> list[Blow]:
    """The jobs of ours that ended as one of these windows says, on its node, while it was open or soon after. Nobody
    but Slurm can have made that of them.
    """
    return [
        Blow(row.job.name, row.job.job_id, window.what, row.job.submitted)
        for row in rows
        for window in windows
        if row.job.state == window.what
        and row.node == window.node
        and int(window.begin) <= row.job.ended <= window.end + LATE_SECONDS
    ]


def forgotten(known: Iterable[Job], rows: Collection[Row]) -> list[Blow]:
    """The jobs that a scheduler knew when it lost its state, and whose end accounting has not heard of by then."""
    over = {(row.job.name, row.job.job_id, row.job.submitted) for row in rows if not row.job.live}
    return [
        Blow(job.name, job.job_id, What.LOST, job.submitted)
        for job in known
        if (job.name, job.job_id, job.submitted) not in over
    ]


def by_event(happened: Iterable[Happening]) -> dict[str, int]:
    """How often each happened, in each way."""
    return dict(sorted(Counter(map(str, happened)).items()))

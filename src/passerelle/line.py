"""Who waits for a Site, in order of creation; a Site that takes no more jobs, and a limit of an account. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from math import inf

from passerelle.objects import Key, TrainingJob

_Place = tuple[int, str, str]
"""How often it was let go first, when it was created, and its uid: the order of turns."""

FEW = 4
"""TrainingJobs that a limit must refuse before others wait behind them."""


class Line:
    """TrainingJobs that wait, the oldest first. Thousands may: none of this looks at all of them."""

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._waiting: dict[str, tuple[_Place, Key]] = {}  # by uid
        self._until: dict[str, float] = {}  # of those that may not come

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    def join(self, job: TrainingJob, *, behind: int = 0) -> None:
        """`behind` all that were let go first less often."""
        self._until.pop(job.uid, None)
        if job.uid not in self._waiting:
            place = (behind, job.created, job.uid)
            self._waiting[job.uid] = place, job.key
            insort(self._places, place)

    def leave(self, job: TrainingJob) -> bool:
        """Whether it was there."""
        self._until.pop(job.uid, None)
        if (found := self._waiting.pop(job.uid, None)) is None:
            return False
        del self._places[bisect_left(self._places, found[0])]
        return True

    def keep(self, job: TrainingJob, until: float) -> None:
        """It can't come now, and nobody passes it before that moment of the first such word; where it is there."""
        if job.uid in self._waiting:
            self._until[job.uid] = min(until, self._until.get(job.uid, inf)) if until < inf else inf

    def lapse(self, now: float) -> bool:
        """Those that were kept until now leave. Whether there were any."""
        late = [uid for uid, until in self._until.items() if until <= now]
        for uid in late:
            del self._until[uid]
            del self._places[bisect_left(self._places, self._waiting.pop(uid)[0])]
        return bool(late)

    def before(self, job: TrainingJob) -> int:
        """How many wait that are older."""
        return bisect_left(self._places, (0, job.created, job.uid))

    def first(self, count: int) -> list[tuple[str, Key]]:
        """The oldest of them, with their uids."""
        return [(uid, self._waiting[uid][1]) for *_, uid in self._places[: max(count, 0)]]


class Door:
    """Whether a Site takes jobs at all. It is shut while some wait that it refused since it has too many: these try
    again by their own back-offs, and no others. Each one that is taken, or that ends, lets the oldest that waits try:
    so a site that is full hears from a few, and one that has room again is filled as fast as it takes them. Who doesn't
    try again although it should have is waited for no more.
    """

    def __init__(self) -> None:
        self.line = Line()
        self._refused: dict[str, float] = {}  # uid -> until when it is waited for
        self._first_late = inf  # no earlier than this is any of them late
        self._let: set[str] = set()

    def shut(self, uid: str) -> bool:
        """For this one."""
        return bool(self._refused) and uid not in self._refused and uid not in self._let

    def refused(self, job: TrainingJob, until: float = inf) -> None:
        """The site has too many jobs to take this one, which will have tried again by `until`."""
        self._await(job.uid, until)
        self._let.discard(job.uid)

    def _await(self, uid: str, until: float) -> None:
        self._refused[uid] = until
        self._first_late = min(self._first_late, until)

    def lapse(self, now: float) -> list[Key]:
        """Who should have tried again by now is waited for no more. Those whose turn it is in its place."""
        if now < self._first_late:
            return []
        keys = [key for uid, until in [*self._refused.items()] if until <= now for key in self._gone(uid)]
        self._first_late = min(self._refused.values(), default=inf)
        return keys

    def leave(self, job: TrainingJob) -> list[Key]:
        """It wants nothing now. Those whose turn it is in its place."""
        self.line.leave(job)
        return self.taken(job) if job.uid in self._refused or job.uid in self._let else []

    def taken(self, job: TrainingJob) -> list[Key]:
        """The site took it, or it is no more. Those whose turn it is now."""
        return self._gone(job.uid)

    def _gone(self, uid: str) -> list[Key]:
        self._let.discard(uid)
        if uid not in self._refused:
            return self.one_more() if self._refused else []
        del self._refused[uid]
        return self.one_more() if self._refused else [key for _, key in self.line.first(len(self.line))]

    def one_more(self) -> list[Key]:
        """There may be room for one. Whose turn it is, if anybody's."""
        for uid, key in self.line.first(len(self._let) + 1):
            if uid not in self._let:
                self._let.add(uid)
                return [key]
        return []


class Limit(Door):
    """A limit of an account or a QoS. Nobody tells whether it is one of their number, or of what one job may ask for:
    so it shuts only when it has refused a few. These try again by their own back-offs, and each time that one of them
    is refused again another may, those first that were refused least: what is too large for ever holds nobody up.
    """

    def __init__(self) -> None:
        super().__init__()
        self._times: Counter[str] = Counter()

    def shut(self, uid: str) -> bool:
        """For this one."""
        waited_for = len(self._refused) >= FEW or (bool(self._refused) and len(self.line) > 0)
        return waited_for and uid not in self._refused and uid not in self._let

    def wait(self, job: TrainingJob) -> None:
        """Until others are taken, or refused again."""
        self.line.join(job, behind=self._times[job.uid])

    def tried(self, job: TrainingJob, until: float = inf) -> list[Key]:
        """It was refused, and will have tried again by `until`. Those whose turn it is now."""
        self._let.discard(job.uid)
        self._times[job.uid] += 1
        again = job.uid in self._refused
        if again or len(self._refused) < FEW:
            self._await(job.uid, until)
        return self.one_more() if again else []

    def taken(self, job: TrainingJob) -> list[Key]:
        """The site took it, or it is no more. Those whose turn it is now."""
        del self._times[job.uid]
        return super().taken(job)

"""Who waits for a Site, in order of creation; and a Site that takes no more jobs. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort

from passerelle.objects import Key, TrainingJob

_Place = tuple[str, str]
"""When it was created, and its uid: the order of turns."""


class Line:
    """TrainingJobs that wait, the oldest first. Thousands may: none of this looks at all of them."""

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._keys: dict[str, Key] = {}  # by uid

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, uid: str) -> bool:
        return uid in self._keys

    def join(self, job: TrainingJob) -> None:
        if job.uid not in self._keys:
            self._keys[job.uid] = job.key
            insort(self._places, (job.created, job.uid))

    def leave(self, job: TrainingJob) -> bool:
        """Whether it was there."""
        if self._keys.pop(job.uid, None) is None:
            return False
        del self._places[bisect_left(self._places, (job.created, job.uid))]
        return True

    def before(self, job: TrainingJob) -> int:
        """How many wait that are older."""
        return bisect_left(self._places, (job.created, job.uid))

    def first(self, count: int) -> list[tuple[str, Key]]:
        """The oldest of them, with their uids."""
        return [(uid, self._keys[uid]) for _, uid in self._places[: max(count, 0)]]


class Door:
    """Whether a Site takes jobs at all. It is shut while some wait that it refused since it has too many: these try
    again by their own back-offs, and no others. Each one that is taken, or that ends, lets the oldest that waits try:
    so a site that is full hears from a few, and one that has room again is filled as fast as it takes them.
    """

    def __init__(self) -> None:
        self.line = Line()
        self._refused: set[str] = set()
        self._let: set[str] = set()

    def shut(self, uid: str) -> bool:
        """For this one."""
        return bool(self._refused) and uid not in self._refused and uid not in self._let

    def refused(self, job: TrainingJob) -> None:
        """The site has too many jobs to take this one."""
        self._refused.add(job.uid)
        self._let.discard(job.uid)

    def taken(self, job: TrainingJob) -> list[Key]:
        """The site took it, or it is no more. Those whose turn it is now."""
        self._let.discard(job.uid)
        if job.uid not in self._refused:
            return self.one_more() if self._refused else []
        self._refused.discard(job.uid)
        return self.one_more() if self._refused else [key for _, key in self.line.first(len(self.line))]

    def one_more(self) -> list[Key]:
        """There may be room for one. Whose turn it is, if anybody's."""
        for uid, key in self.line.first(len(self._let) + 1):
            if uid not in self._let:
                self._let.add(uid)
                return [key]
        return []

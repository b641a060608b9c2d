"""How a number of TrainingJobs is divided: over Sites, and by what becomes of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SITES = 5
"""Each with a user and an account of its own at the one slurmctld: the listing of each is asked for its own ids. Five
slurmctlds would need as many databases, and start one after the other on two cores.
"""

MOST = 1_000
"""That live their whole life, or are deleted at once."""


LEAST = 10
"""Of which each part has some."""


class Part(StrEnum):
    """What becomes of a TrainingJob."""

    LIVES = "lives"
    DELETED_AT_ONCE = "deleted-at-once"
    DELETED_LAST = "deleted-last"


@dataclass(frozen=True, slots=True)
class Crowd:
    """`jobs` TrainingJobs."""

    jobs: int

    @property
    def lives(self) -> int:
        """So many live their whole life."""
        return max(1, min(MOST, self.jobs * 3 // 5))

    @property
    def at_once(self) -> int:
        """So many are deleted at once."""
        return min(MOST, self.jobs // 5)

    @property
    def last(self) -> int:
        """So many are deleted at the end."""
        return self.jobs - self.lives - self.at_once

    @property
    def few(self) -> int:
        """Where a part of them will do: to see whether a dead site slows the others."""
        return max(SITES, min(500, self.jobs * 2 // 5))

    def part(self, number: int) -> Part:
        """Of the TrainingJob of a number, counted from 0."""
        if number < self.lives:
            return Part.LIVES
        return Part.DELETED_AT_ONCE if number < self.lives + self.at_once else Part.DELETED_LAST


def site(number: int) -> str:
    """The Site of the TrainingJob of a number."""
    return f"site-{number % SITES + 1}"

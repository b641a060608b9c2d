"""What the Sites whose gateways are one host share: the paces of acts and of news, the patience that it asks for, the
order in which they are first asked, and listings of all jobs: how much of its time these may take, and that one is
made at a time. An hour's calls are each Site's own.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from passerelle.gateways.allowance import Allowance
from passerelle.gateways.budget import READ_OF_A_JOB
from passerelle.gateways.pace import Pace
from passerelle.profiles.machine import ACTS_PER_SECOND

FIRST_LOOKS_SECONDS = 1.0
"""Between the first looks of two Sites: as many logins at once are more than an sshd takes."""

_PORTS = {"https": 443, "http": 80, "ssh": 22}


class Host:
    """`clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.pace = Pace(clock)
        """Of acts."""
        self.news = Pace(clock)
        """Of full records, and of whatever else is read of jobs that have changed. No act waits for one."""
        self.act_at(ACTS_PER_SECOND)
        self.asked_seconds = 0.0
        """What it asked for last, while patience_left."""
        self.heard: WeakKeyDictionary[object, Callable[[], None]] = WeakKeyDictionary()
        """Who is told that it asks for patience."""
        self.listing = False
        """Whether one of the Sites has a listing of all jobs made. A few of them together are more than slurmrestd has
        threads, and everybody's submits wait behind them: five, of 6,000 jobs each, took two minutes, and one six
        seconds."""
        self.allowance = Allowance(clock)
        """Of listings."""
        self._clock = clock
        self.patient_until = 0.0
        """By its clock."""
        self._next_first = self._next_after = 0.0

    @property
    def sites(self) -> int:
        """How many there are."""
        return max(len(self.heard), 1)

    def act_at(self, rate: float) -> None:
        """So many acts a second are its pace, and as many news as they bring about: else these would fall behind."""
        self.pace.rate, self.news.rate = rate, READ_OF_A_JOB * rate

    @property
    def patience_left(self) -> float:
        """Seconds for which it asked to be left alone; 0 where it didn't."""
        return max(self.patient_until - self._clock(), 0.0)

    def be_patient(self, left: float, asked: float, *, told: bool) -> None:
        """It asked for so many seconds, and gets so many that are `left`; `told`: all Sites hear of it. Who was busy is
        not met by all that gathered meanwhile.
        """
        if left > self.patience_left:
            self.patient_until, self.asked_seconds = self._clock() + left, asked
            for pace in (self.pace, self.news):
                pace.begin_anew(left)
            for tell in list(self.heard.values()) if told else ():
                tell()

    def first_look(self, period: float) -> float:
        """In how many seconds a Site may be asked for the first time, within its period; the first of them at once."""
        now = self._clock()
        wait = max(self._next_first - now, 0.0)
        self._next_first = now + wait + FIRST_LOOKS_SECONDS
        return wait % period if period else 0.0

    def look_after_patience(self, period: float) -> float:
        """In how many seconds a Site that would look now may, one after the other once it has had its patience."""
        begins = max(self.patient_until, self._clock())
        wait = max(self._next_after - begins, 0.0)
        self._next_after = begins + wait + FIRST_LOOKS_SECONDS
        return begins - self._clock() + (wait % period if period else 0.0)

    @property
    def returned_to(self) -> bool:
        """Whether it is being asked for patience, or the Sites come back one after the other since it was."""
        return self._clock() < max(self.patient_until, self._next_after)


def address(url: str) -> tuple[str, int]:
    """By what a gateway's URL names the host, whatever its path. What is no URL is nobody else's."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or url).lower(), parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return url, 0

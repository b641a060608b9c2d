"""Whose answers these are, where no answer says so: before v0.0.40 only records of jobs, and slurmdbd, name a cluster.

A name that was proven stands for as long as the door does. Every record that is read anyway is held against it, and a
listing of a site with jobs proves itself. Where another cluster is named, `AnotherCluster` is raised, nothing of that
answer counts, and who answers is proven anew by the next probe.

So no answer of another cluster is evidence of absence: what names no cluster (an unknown job, a listing without any
job) counts only after a proof of the last minute, and so does the address before a submit. Such a proof is the record
of a job that was seen here, whoever's; or that slurmdbd serves this cluster alone; or a listing, as rarely as those may
be made. Where none of them can be had, the question stays open. Accounting is asked for rows of the proven cluster, by
its name: there nothing counts unless slurmdbd serves that one.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field

from passerelle.errors import Misaddressed, Unavailable
from passerelle.gateways.allowance import MOST_SECONDS, SHARE
from passerelle.gateways.slurmrestd import decode, errors
from passerelle.gateways.slurmrestd.calls import Calls
from passerelle.gateways.slurmrestd.versions import Version
from passerelle.slurm import RemoteJob, Stage

FRESH_SECONDS = 60.0
"""For so long a proof covers what says nothing of its cluster: about a look."""
AGAIN_SECONDS = 3600.0
"""After which a probe asks again, though nothing contradicts what was proven."""
LISTING_SECONDS = 60.0
"""From one listing to the next that is made for a proof, at least: of the time they have a share as others do."""
WITNESSES = 4
"""Jobs that are remembered, so that one of them will still be known."""


@dataclass(slots=True)
class Seen:
    """What a listing tells of its cluster, record by record."""

    names: set[str] = field(default_factory=set)
    running: list[tuple[int, str]] = field(default_factory=list)
    """When they must have ended, and their ids: those that may run longest."""

    @classmethod
    def of(cls, jobs: Iterable[RemoteJob]) -> Seen:
        seen = cls()
        for job in jobs:
            seen.take(job)
        return seen

    def take(self, job: RemoteJob) -> None:
        if job.cluster:
            self.names.add(job.cluster)
            if job.stage is Stage.RUNNING and decode.is_job_id(job.job_id):
                end = (job.start_time or 0) + 60 * (job.time_limit_minutes or 0)
                push = heapq.heappush if len(self.running) < WITNESSES else heapq.heappushpop
                push(self.running, (end, job.job_id))


class Whose:
    """Of one door. `listing` makes a full listing and tells what it saw; `clock` is monotonic, in seconds."""

    def __init__(
        self,
        calls: Calls,
        listing: Callable[[Version], Awaitable[Seen]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.needed = False
        """Whether the last probe's answer named no cluster. Where it did, all of them do."""
        self._calls = calls
        self._listing = listing
        self._clock = clock
        self._turn = asyncio.Lock()
        self._proven_at = self._asked_at = self._list_again = self._served_at = float("-inf")
        self._served: set[str] = set()
        self._contradicted = False
        self._witnesses: list[tuple[int, str]] = []

    async def cluster(self, version: Version) -> str:
        """For a probe. Raises Unavailable where it was never told, and can't be learned now."""
        async with self._turn:
            known = None if self._contradicted else self._calls.cluster
            if known and self._clock() < max(self._proven_at + AGAIN_SECONDS, self._asked_at + LISTING_SECONDS):
                return known
            self._asked_at = self._clock()
            try:
                return await self._prove(version, known)
            except Misaddressed:
                raise
            except Unavailable:
                if known:
                    return known
                raise

    async def sure(self, version: Version) -> None:
        """Raise Unavailable unless what was proven is the case at this moment."""
        async with self._turn:
            known = self._calls.cluster
            if known and self.needed and self._clock() >= self._proven_at + FRESH_SECONDS:
                await self._prove(version, known)

    async def served(self, version: Version, rows: Collection[RemoteJob]) -> None:
        """Accounting has these rows of the cluster, and no others: raise Unavailable unless it keeps those at all."""
        known = self._calls.cluster
        if not self.needed or not known:
            return
        if rows:
            self._served, self._served_at = {known}, self._clock()
        elif known not in self._served or self._clock() >= self._served_at + FRESH_SECONDS:
            names = await self._accounted(version)
            if not names:
                await self.sure(version)  # it doesn't tell, so who answers beside it must do
            elif known not in names:
                raise self._another(names, known)

    def saw(self, seen: Seen) -> None:
        """Records were read. Raises AnotherCluster where they are none of the cluster that was proven."""
        known = self._calls.cluster
        if not self.needed or not known or not seen.names:
            return
        if others := seen.names - {known}:
            raise self._another(others, known)
        if not self._contradicted:
            self._proven_at = self._clock()
            self._remember(seen)

    async def listed(self, version: Version, seen: Seen, seconds: float) -> None:
        """A full listing took so long. One without any name tells nothing by itself."""
        self._paced(seconds)
        self.saw(seen)
        if not seen.names:
            await self.sure(version)

    def _remember(self, seen: Seen) -> None:
        ends = {job_id: end for end, job_id in [*self._witnesses, *seen.running]}  # the latest word counts
        self._witnesses = heapq.nlargest(WITNESSES, ((end, job_id) for job_id, end in ends.items()))

    def _paced(self, seconds: float) -> None:
        self._list_again = self._clock() + max(LISTING_SECONDS, min(seconds / SHARE, MOST_SECONDS))

    def _another(self, names: set[str], known: str) -> Misaddressed:
        self._contradicted, self._proven_at, self._witnesses = True, float("-inf"), []
        named = " and ".join(sorted(names))
        text = f"Cluster {named} answers, where {known} did a moment ago; write an address that leads to one."
        return Misaddressed(text, reason="AnotherCluster")

    async def _prove(self, version: Version, known: str | None) -> str:
        """By what costs least. `known` is held against it; without it, what is told is the name from now on."""
        if known and await self._witnessed(version):
            return known
        try:
            names = await self._accounted(version)
        except Unavailable:
            names = set()
        seen = Seen()
        if len(names) != 1 and self._clock() >= self._list_again:
            began = self._clock()
            try:
                seen = await self._listing(version)
            finally:
                self._paced(self._clock() - began)
            names = seen.names
        if len(names) != 1:
            raise Unavailable(
                f"The site does not tell its cluster's name: {version.word} has it only from accounting or from a job.",
                reason="ClusterUnknown",
            )
        if known and names != {known}:
            raise self._another(names, known)
        self._proven_at, self._contradicted = self._clock(), False
        self._remember(seen)
        return names.pop()

    async def _witnessed(self, version: Version) -> bool:
        """Whether a job that was seen here is known here: one that ended minutes ago still is."""
        while self._witnesses:
            _, job_id = self._witnesses[0]
            answer = await self._calls.ask("GET", f"{version.slurm}/job/{job_id}")
            known = errors.UNKNOWN_JOB not in errors.numbers_of(answer.json())
            seen = Seen.of(decode.live_jobs(errors.read(answer, self._calls.place)) if known else [])
            self.saw(seen)
            if seen.names:
                return True
            self._witnesses = self._witnesses[1:]
        return False

    async def _accounted(self, version: Version) -> set[str]:
        """The clusters that slurmdbd serves."""
        body = await self._calls.read(f"{version.slurmdb}/clusters")
        self._served = {str(each.get("name")) for each in body.get("clusters") or []}
        self._served_at = self._clock()
        return set(self._served)

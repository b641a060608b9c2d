"""One trial: many TrainingJobs at once through kube-apiserver, and what became of each at the site."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.apiserver import ApiServer
from bench.bare import per_second
from bench.diary import Diary, Entry
from bench.neighbourhood import Life
from bench.watched import Watched
from passerelle.marker import Run
from passerelle_sandbox import say
from passerelle_sandbox.sandbox import Sandbox

CREATES_AT_ONCE = 16
TELL_SECONDS = 10.0

COMPLETED, CANCELLED = "COMPLETED", "CANCELLED"


@dataclass
class Trial:
    """The operator at work on `manifests`, all of one namespace; what it shows is kept in the diary."""

    api: ApiServer
    watched: Watched
    manifests: Sequence[dict[str, Any]]
    diary: Diary = field(default_factory=lambda: Diary(time.time))
    follower: asyncio.Task[None] | None = None

    async def create(self) -> float:
        """Create all at once; the moment at which that began."""
        began = time.time()
        await per_second([partial(self.api.create, body) for body in self.manifests], CREATES_AT_ONCE)
        return began

    async def accept(self, patience: float) -> float:
        """Create all at once; how many per second have their Slurm job id in their status, to the last one."""
        say.line(f"{len(self.manifests)} TrainingJobs at once")
        began = await self.create()
        say.line(f"  created in {time.time() - began:.1f} s")
        await self.until(lambda: self.diary.accepted == len(self.manifests), "all to be accepted", patience)
        return len(self.manifests) / (self.accepted_last - began)

    @property
    def accepted_last(self) -> float:
        return max(entry.accepted_at or 0.0 for entry in self.diary.entries.values())

    async def follow(self) -> None:
        """Keep the diary, for ever. A watch that ended goes on where it was."""
        since = await self.api.version()
        while True:
            async for body, deleted in self.api.watch(since):
                self.diary.take(body, deleted=deleted)
                since = body["metadata"]["resourceVersion"]

    async def until(self, holds: Callable[[], bool], what: str, patience: float) -> None:
        """Wait, and say how it stands."""
        deadline, told = time.monotonic() + patience, 0.0
        while not holds():
            if self.follower is not None and self.follower.done():
                self.follower.result()  # a diary that is no longer kept shows nothing: this raises why
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"waited {patience:.0f} s for {what}: {self.diary.summaries()}\n{self.watched.process.tail()}"
                )
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                say.line(f"  {self.diary.accepted} accepted, {self.diary.finished} finished ({self.diary.summaries()})")
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def trial(
    there: Sandbox, watched: Watched, namespace: str, manifests: Sequence[dict[str, Any]]
) -> AsyncIterator[Trial]:
    """A diary that is kept from before the first TrainingJob."""
    api = ApiServer(there.kubeconfig, namespace)
    made = Trial(api, watched, manifests)
    follower = made.follower = asyncio.create_task(made.follow())
    try:
        yield made
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        await api.close()


# Afterwards, from what the diary and accounting tell


def by_run(lives: Sequence[Life]) -> Mapping[str, list[Life]]:
    """The site's jobs by the key of their run, which is their name without the attempt."""
    found: dict[str, list[Life]] = defaultdict(list)
    for life in lives:
        found[life.name.rpartition("-")[0]].append(life)
    return found


def lags(entries: Collection[Entry], jobs: Mapping[str, list[Life]]) -> dict[str, list[float]]:
    """From Slurm's stamps of starts and of ends to the TrainingJobs."""
    starts, ends = [], []
    for entry in entries:
        for life in jobs.get(Run.of_uid(entry.uid).key, [])[-1:]:
            if entry.started_at is not None:
                starts.append(entry.started_at - life.start)
            if entry.ended_at is not None:
                ends.append(entry.ended_at - life.end)
    return {"start": starts, "end": ends}


def complaints(diary: Diary, jobs: Mapping[str, list[Life]], expected: Mapping[str, str]) -> list[str]:
    """What is not as it must be: every TrainingJob has had one job, which ended as is `expected` of its name, and shows
    that, unless it was deleted.
    """
    found = [f"{name} was never seen" for name in sorted(expected.keys() - diary.entries.keys())]
    for name, entry in sorted(diary.entries.items()):
        ended = expected.get(name, COMPLETED)
        own = jobs.get(Run.of_uid(entry.uid).key, [])
        if ended == COMPLETED and entry.succeeded != "True":
            found.append(f"{name} is {entry.summary}")
        if [life.state.partition(" ")[0] for life in own] != [ended]:
            found.append(f"{name} has the Slurm jobs {[(life.job_id, life.state) for life in own]}")
        elif own[0].job_id != entry.job_id or entry.attempts != 1:
            found.append(f"{name} shows job {entry.job_id}, attempt {entry.attempts}; Slurm had {own[0].job_id}")
        if ended == CANCELLED and entry.deleted_at is None:
            found.append(f"{name} is still there")
    return found

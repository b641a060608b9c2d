"""One trial: many TrainingJobs at once through kube-apiserver, each of which lives its whole life at the site."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.apiserver import ApiServer
from bench.bare import per_second
from bench.diary import Diary
from bench.neighbourhood import Life
from bench.readings import Between, Reading, read
from passerelle.marker import Run
from passerelle_sandbox import say
from passerelle_sandbox.deploy import OperatorProcess

CREATES_AT_ONCE = 16
TELL_SECONDS = 5.0


@dataclass
class Trial:
    """The operator at work on `manifests`; what it shows is kept in the diary."""

    api: ApiServer
    operator: OperatorProcess
    manifests: list[dict[str, Any]]
    period: float
    diary: Diary = field(default_factory=lambda: Diary(time.time))
    follower: asyncio.Task[None] | None = None

    async def accept(self, patience: float) -> float:
        """Create all at once; how many per second have their Slurm job id in their status, to the last one."""
        say.line(f"{len(self.manifests)} TrainingJobs at once")
        began = time.time()
        await per_second([partial(self.api.create, body) for body in self.manifests], CREATES_AT_ONCE)
        say.line(f"  created in {time.time() - began:.1f} s")
        await self.until(lambda: self.diary.accepted == len(self.manifests), "all to be accepted", patience)
        last = max(entry.accepted_at or 0.0 for entry in self.diary.entries.values())
        return len(self.manifests) / (last - began)

    async def follow(self) -> None:
        """Keep the diary, for ever."""
        since = (await self.api.list())["metadata"]["resourceVersion"]
        async for body in self.api.watch(since):
            self.diary.take(body)

    async def until(self, holds: Callable[[], bool], what: str, patience: float) -> None:
        """Wait, and say how it stands."""
        deadline, told = time.monotonic() + patience, 0.0
        while not holds():
            if self.follower is not None and self.follower.done():
                self.follower.result()  # a diary that is no longer kept shows nothing: this raises why
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"waited {patience:.0f} s for {what}: {self.diary.summaries()}\n{self.operator.tail()}"
                )
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                say.line(f"  {self.diary.accepted} accepted, {self.diary.finished} finished ({self.diary.summaries()})")
            await asyncio.sleep(0.05)

    async def quiet(self, seconds: float, what: str) -> Between:
        """Two readings, between which nothing is done but waiting."""
        first = await self.reading()
        with say.step(f"{what}, for {seconds:.0f} s"):
            await asyncio.sleep(seconds)
        return Between(first, await self.reading())

    async def pause(self) -> None:
        """Let the looks that follow a change pass by."""
        with say.step("a pause of two periods"):
            await asyncio.sleep(2 * self.period + 1)

    async def reading(self) -> Reading:
        return await read(self.operator.metrics_url, self.operator.process.pid)

    # Afterwards

    def lags(self, lives: list[Life]) -> dict[str, list[float]]:
        """From Slurm's stamps of starts and of ends to the TrainingJobs."""
        of_run = {life.name.rpartition("-")[0]: life for life in lives}
        starts, ends = [], []
        for entry in self.diary.entries.values():
            life = of_run[Run.of_uid(entry.uid).key]
            if entry.started_at is not None:
                starts.append(entry.started_at - life.start)
            if entry.ended_at is not None:
                ends.append(entry.ended_at - life.end)
        return {"start": starts, "end": ends}

    def minutes(self, lives: list[Life]) -> float:
        """How long all of them ran, together."""
        own = {entry.job_id for entry in self.diary.entries.values()}
        return sum(life.end - life.start for life in lives if life.job_id in own) / 60

    def complaints(self, lives: list[Life]) -> list[str]:
        """What is not as it must be: every TrainingJob succeeded, by one job."""
        found = []
        for name, entry in sorted(self.diary.entries.items()):
            jobs = [life for life in lives if life.name.startswith(Run.of_uid(entry.uid).key)]
            if entry.succeeded != "True":
                found.append(f"{name} is {entry.summary}")
            if [life.state for life in jobs] != ["COMPLETED"]:
                found.append(f"{name} has the Slurm jobs {[(life.job_id, life.state) for life in jobs]}")
            elif jobs[0].job_id != entry.job_id or entry.attempts != 1:
                found.append(f"{name} shows job {entry.job_id}, attempt {entry.attempts}; Slurm had {jobs[0].job_id}")
        if len(self.diary.entries) != len(self.manifests):
            found.append(f"{len(self.diary.entries)} TrainingJobs were seen, not {len(self.manifests)}")
        return found

"""A run of a site's life, as the events need it that happen to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from dataclasses import dataclass, field

from faults import accounts
from faults.events import Happening, Row, Window
from faults.history import Blow, Task, What, run_of
from faults.plan import Plan
from faults.site_stage import SiteStage
from faults.stage import Object

VICTIM_SECONDS = 15.0
"""How long an event waits for somebody whom it can strike."""
LOOK_AGAIN_SECONDS = 0.5


@dataclass
class Life:
    """`name` is the namespace's and the Site's; `root` where its runs lie. `scheduler` is held while slurmctld can't be
    asked, `database` while slurmdbd can't, `cluster` while kube-apiserver can't. `applied` are the Site and its Secret,
    by kind, as they were last applied: whoever restores etcd applies them again. `blows` and `windows` are what struck
    so far. `again` are TrainingJobs that somebody deleted, and must delete again; `deleted`: when that was last asked
    for, by name. `calm`: when the last event was over. `restored`: etcd was, from a backup; `unseen` are the runs that
    somebody deleted since, before an operator held them.
    """

    stage: SiteStage
    name: str
    root: str
    plan: Plan
    applied: dict[str, Object] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    scheduler: asyncio.Lock = field(default_factory=asyncio.Lock)
    database: asyncio.Lock = field(default_factory=asyncio.Lock)
    cluster: asyncio.Lock = field(default_factory=asyncio.Lock)
    blows: list[Blow] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    deleted: dict[str, float] = field(default_factory=dict)
    calm: float = 0.0
    restored: bool = False
    unseen: set[str] = field(default_factory=set)

    @property
    def runs(self) -> set[str]:
        return {task.run for task in self.tasks}

    async def apply(self, *objects: Object) -> None:
        """The Site, its Secret or both, once the cluster can be asked."""
        self.applied |= {each["kind"]: each for each in objects}
        async with self.cluster:
            await self.stage.apply(*objects)

    async def queue(self, states: str = accounts.LIVE) -> list[Row]:
        return await accounts.queue(self.stage, self.runs, states)

    async def accounted(self) -> list[Row]:
        return await accounts.accounted(self.stage, self.runs)

    async def victims(self, happening: Happening, states: Collection[str], most: int = 1) -> list[Row]:
        """Jobs in these states of TrainingJobs that nobody deletes; none where none comes in time."""
        kept = {task.run for task in self.tasks if task.wanted != "deleted"}
        draw = random.Random(happening.draw)  # noqa: S311 -- it draws a story
        for _ in range(int(VICTIM_SECONDS / LOOK_AGAIN_SECONDS)):
            async with self.scheduler:
                found = [row for row in await self.queue() if row.job.state in states]
            chosen = sorted(row.job.name for row in found if run_of(row.job.name) in kept)
            if chosen:
                names = draw.sample(chosen, min(most, len(chosen)))
                return [row for row in found if row.job.name in names]
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return []

    async def tried(self, *words: str, user: str | None = None) -> bool:
        """A command at the site, as root or as this user, while the scheduler can be asked; whether it succeeded: what
        it speaks of may be gone.
        """
        async with self.scheduler:
            done = await asyncio.to_thread(self.stage.site.run, list(words), user)
        return done.returncode == 0

    async def must(self, *words: str) -> str:
        """Likewise, and it raises SandboxError where it does not."""
        async with self.scheduler:
            return await self.stage.on_site(*words)

    def strike(self, row: Row, what: What) -> None:
        self.blows.append(Blow(row.job.name, row.job.job_id, what, row.job.submitted))


def told(rows: Collection[Row]) -> str:
    """Whom it struck, in a line."""
    return ", ".join(f"{row.job.name}={row.job.job_id}" for row in rows)

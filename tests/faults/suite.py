"""Many runs: of calls that go wrong, several at a time in one sandbox, those through other doors in another, and of
what befalls a whole site, one after the other in a third. What each came to is told, and put on record.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from faults import record
from faults.mutation import Mutant
from faults.plan import Plan, by_kind
from faults.room import room
from faults.run import Ran, catches, run
from faults.site_run import site_run
from faults.site_stage import site_stage
from faults.stage import Stage, raised
from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError

AT_ONCE, OTHERS_AT_ONCE = 8, 2
"""Each run has operators killed, whom its neighbours share; and whoever takes over waits for the settle time before it
acts, which is more than a minute over ssh. So where other doors are, fewer neighbours are.
"""
LIFE_EVERY = 20
"""Of so many seeds one is of a site's life."""
_NO_VERDICT = (SandboxError, httpx.HTTPError, TimeoutError, subprocess.TimeoutExpired)
"""By which a run is broken off: nothing is known of it then."""


@dataclass
class Suite:
    """`tried` is the name of the tree in the record; empty: there is none."""

    tried: str = ""
    done: list[Ran] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    wrongly: list[str] = field(default_factory=list)
    ended: Counter[int] = field(default_factory=Counter)
    caught: int = 0
    seconds: float = 0.0

    async def play(self, plans: Sequence[tuple[str, Plan]], mutants: Sequence[Mutant]) -> None:
        """All runs, then the mutants one after the other."""
        began = time.monotonic()
        lives = [(name, plan) for name, plan in plans if plan.seed and plan.seed % LIFE_EVERY == 0]
        calls = [each for each in plans if each not in lives]
        ours = [(name, plan) for name, plan in calls if plan.door == "slurmrestd"]
        others = [each for each in calls if each not in ours]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lives(lives))
            group.create_task(self._together(others, OTHERS_AT_ONCE))
            group.create_task(self._together(ours, AT_ONCE, mutants))
        self.seconds = time.monotonic() - began

    async def _lives(self, plans: Sequence[tuple[str, Plan]]) -> None:
        if not plans:
            return
        async with site_stage() as stage:
            for name, plan in plans:
                await self._one(name, plan, stage, partial(site_run, stage, plan.seed))
            self._leave(stage)

    async def _together(self, plans: Sequence[tuple[str, Plan]], at_once: int, mutants: Sequence[Mutant] = ()) -> None:
        if not plans and not mutants:
            return
        gate = asyncio.Semaphore(at_once)

        async def one(name: str, plan: Plan) -> None:
            async with gate:
                await self._one(name, plan, stage, lambda: run(stage, plan, name))

        async with raised() as stage:
            async with asyncio.TaskGroup() as group:
                for name, plan in plans:
                    group.create_task(one(name, plan))
            for each in mutants:
                await self._mutant(stage, each)
            self._leave(stage)

    async def _mutant(self, stage: Stage, mutant: Mutant) -> None:
        await room()
        try:
            seen = await catches(stage, mutant)
        except _NO_VERDICT as error:
            say.line(f"  mutant {mutant.name}: it came to no verdict: {error!r}")
            self.broken.append(mutant.name)
            return
        self.caught += seen
        say.line(f"  mutant {mutant.name}: {'caught' if seen else 'NOT caught'}")

    async def _one(self, name: str, plan: Plan, stage: Stage, make: Callable[[], Awaitable[Ran]]) -> None:
        await room()
        began = time.monotonic()
        try:
            ran = await make()
        except _NO_VERDICT as error:
            say.line(f"  {name}, {plan.door}: it came to no verdict: {error!r}")
            self.broken.append(name)
            stage.keep_logs(name)
            return
        self.done.append(ran)
        if ran.verdict.defects:
            say.line(f"  {name}: its logs are kept in {stage.keep_logs(name)}")
        if self.tried:
            record.append(record.row(self.tried, ran))
        word = "; ".join(ran.verdict.defects) or "well"
        mishaps = ", ".join([*ran.events, *map(str, ran.plan.happened)]) or "nothing happened"
        say.line(f"  {name}, {plan.door}, {time.monotonic() - began:.0f} s, {mishaps}: {word}")

    def _leave(self, stage: Stage) -> None:
        self.ended += stage.operators.ended
        self.wrongly += stage.operators.wrongly

    def figures(self, mutants: int) -> dict[str, Any]:
        """The last line."""
        return {
            "runs": sum(each.counts for each in self.done),
            "quiet": sum(not each.counts for each in self.done),
            **record.figures(each.verdict for each in self.done),
            "failedSeeds": sorted(each.plan.seed for each in self.done if each.verdict.defects),
            "broken": self.broken,
            "operatorsEnded": {str(code): number for code, number in sorted(self.ended.items())},
            "faultsByKind": by_kind(mishap for each in self.done for mishap in each.plan.happened),
            "eventsByKind": dict(sorted(Counter(event for each in self.done for event in each.events).items())),
            "mutantsCaught": self.caught,
            "mutants": mutants,
            "seconds": round(self.seconds),
        }

    def well(self, mutants: int) -> bool:
        """Whether nothing was found, and the check can find."""
        found = any(each.verdict.defects for each in self.done)
        return not (found or self.broken or self.wrongly) and self.caught == mutants

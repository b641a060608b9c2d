"""How often a site is looked at, and how rarely it is asked for everything."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest

from little_world import World
from passerelle.gateways.memory import Fate, Memory
from passerelle.slurm import JobState
from stories import running, told

LONG = Fate(queued=1, running=1_000_000)


def test_no_look_comes_sooner_than_a_period_after_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    states = Memory.states

    async def timed(self: Memory, job_ids: Collection[str]) -> Mapping[str, JobState]:
        times.append(self.clock())
        return await states(self, job_ids)

    monkeypatch.setattr(Memory, "states", timed)

    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(running(world, key))
        await asyncio.sleep(60)
        times.clear()
        await asyncio.sleep(3000)

    told(story, LONG, period="30s")
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert len(gaps) > 90
    assert min(gaps) >= 30
    assert max(gaps) <= 33.5

"""Two jobs under one marker: a balancer sent a submit twice, and whichever began first holds the run's claim."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from little_world import World
from passerelle.gateways.memory import Fate, Memory
from passerelle.objects import Key
from passerelle.onsite.codes import DUPLICATE
from passerelle.slurm import RemoteJob
from stories import finished, told

WAITS = Fate(queued=100_000, running=300)


async def two_that_wait(world: World) -> Key:
    """The first is on record, the second came late; the operator dies before it has seen that."""
    key = world.api.create("a", timeLimit="50m")
    await world.until(lambda: "jobId" in (world.status(key).get("attempts") or [{}])[0])
    await asyncio.sleep(5)
    await world.end_operator()
    world.site._accept(world.site.batches["1000"])
    return key


def begins_when_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins while it is about to be cancelled."""
    get = Memory.get

    async def late(self: Memory, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        if list(job_ids) == ["1001"] and self._jobs["1001"].fate is WAITS:
            self._jobs["1001"].fate = Fate(queued=self.clock() - self._jobs["1001"].submitted - 0.001, running=300)
        return await get(self, job_ids)

    monkeypatch.setattr(Memory, "get", late)


def turned_away(world: World, job_id: str) -> None:
    """It begins now, and the fence has it leave."""
    queued = world.loop.time() - world.site._jobs[job_id].submitted
    world.site._jobs[job_id].fate = Fate(queued=queued, running=2, end="FAILED", exit_code=DUPLICATE)


def test_a_surplus_job_that_has_begun_is_the_attempt_and_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        key = await two_that_wait(world)
        begins_when_read(monkeypatch)
        await world.start_operator()
        await world.until(finished(world, key))

        assert world.states() == ["CANCELLED", "COMPLETED"]
        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert [each["jobId"] for each in world.status(key)["attempts"]] == ["1001"]

    told(story, WAITS)


def test_a_surplus_job_that_began_as_it_was_cancelled_is_no_end_of_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = Memory.cancel

    async def late(self: Memory, job_id: str) -> None:
        queued = self.clock() - self._jobs[job_id].submitted - 1
        self._jobs[job_id].fate = Fate(queued=queued, running=300)
        await cancel(self, job_id)

    async def story(world: World) -> None:
        key = await two_that_wait(world)
        monkeypatch.setattr(Memory, "cancel", late)
        await world.start_operator()
        await world.until(lambda: world.states() == ["PENDING", "CANCELLED"])
        await asyncio.sleep(60)
        assert world.condition(key, "Finished") == ("False", "Active")
        assert world.states() == ["PENDING", "CANCELLED"]
        world.site._jobs["1000"].fate = Fate(queued=world.loop.time() - world.site._jobs["1000"].submitted, running=60)
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story, WAITS)


def test_where_the_fence_turns_the_other_one_away_nobody_is_told_that_the_run_was_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancel = Memory.cancel

    async def late(self: Memory, job_id: str) -> None:
        self._jobs[job_id].fate = Fate(queued=self.clock() - self._jobs[job_id].submitted - 1, running=300)
        await cancel(self, job_id)

    async def story(world: World) -> None:
        key = await two_that_wait(world)
        monkeypatch.setattr(Memory, "cancel", late)
        await world.start_operator()
        await world.until(lambda: world.states() == ["PENDING", "CANCELLED"])
        turned_away(world, "1000")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        assert world.states() == ["FAILED", "CANCELLED"]

    told(story, WAITS)

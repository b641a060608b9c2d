"""Two jobs under one marker: a balancer sent a submit twice, and whichever began first holds the run's claim."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from little_world import World
from passerelle.batch import Batch
from passerelle.copies import FOLLOWED_SECONDS
from passerelle.errors import Unavailable
from passerelle.gateways.memory import Fate, Memory
from passerelle.objects import Key
from passerelle.onsite.codes import DUPLICATE
from passerelle.slurm import RemoteJob
from stories import Story, finished, running, told

WAITS = Fate(queued=100_000, running=300)
HEARD = '{"v": 1, "t": 1}'
"""What a job writes once it has the claim."""


async def two_that_wait(world: World) -> Key:
    """The first is on record, the second came late; the operator dies before it has seen that."""
    key = world.api.create("a", timeLimit="50m")
    await world.until(lambda: "jobId" in (world.status(key).get("attempts") or [{}])[0])
    await asyncio.sleep(5)
    await world.end_operator()
    world.site._accept(world.site.batches["1000"])
    return key


def begins(world: World, job_id: str, *, running: float = 300, **more: Any) -> None:
    """It begins now."""
    queued = world.loop.time() - world.site._jobs[job_id].submitted
    world.site._jobs[job_id].fate = Fate(queued=queued, running=running, **more)


def test_while_two_wait_neither_is_cancelled_and_the_first_to_begin_is_the_attempt() -> None:
    async def story(world: World) -> None:
        key = await two_that_wait(world)
        await world.start_operator()
        await asyncio.sleep(200)
        assert world.states() == ["PENDING", "PENDING"]
        begins(world, "1001")
        await world.until(running(world, key))
        await asyncio.sleep(60)
        assert world.states() == ["PENDING", "RUNNING"], "it may not have the claim yet"
        world.site.set_comment("1001", HEARD)
        await world.until(lambda: world.states() == ["CANCELLED", "RUNNING"])
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert [each["jobId"] for each in world.status(key)["attempts"]] == ["1001"]

    told(story, WAITS)


def test_of_two_that_begin_at_once_the_one_with_the_claim_is_the_attempt() -> None:
    async def story(world: World) -> None:
        key = await two_that_wait(world)
        await world.start_operator()
        begins(world, "1000", running=2, end="FAILED", exit_code=DUPLICATE)
        await asyncio.sleep(1)
        begins(world, "1001")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.states() == ["FAILED", "COMPLETED"]

    told(story, WAITS)


def test_a_surplus_job_that_has_begun_when_it_is_read_once_more_is_left_to_the_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    get, asked = Memory.get, list[str]()
    cancel = Memory.cancel

    async def begins_when_read(self: Memory, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        if list(job_ids) == ["1001"] and self._jobs["1001"].fate is WAITS:
            queued = self.clock() - self._jobs["1001"].submitted - 0.001
            self._jobs["1001"].fate = Fate(queued=queued, running=2, end="FAILED", exit_code=DUPLICATE)
        return await get(self, job_ids)

    async def counted(self: Memory, job_id: str) -> None:
        asked.append(job_id)
        await cancel(self, job_id)

    async def story(world: World) -> None:
        key = await two_that_wait(world)
        begins(world, "1000")
        world.site.set_comment("1000", HEARD)
        monkeypatch.setattr(Memory, "get", begins_when_read)
        monkeypatch.setattr(Memory, "cancel", counted)
        await world.start_operator()
        await world.until(finished(world, key))

        assert world.states() == ["COMPLETED", "FAILED"], "it began, and left by itself"
        assert asked == []
        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story, WAITS)


def test_a_surplus_job_that_begins_as_it_is_cancelled_is_no_end_of_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = Memory.cancel

    async def late(self: Memory, job_id: str) -> None:
        queued = self.clock() - self._jobs[job_id].submitted - 1
        self._jobs[job_id].fate = Fate(queued=queued, running=300)
        await cancel(self, job_id)

    async def story(world: World) -> None:
        key = await two_that_wait(world)
        monkeypatch.setattr(Memory, "cancel", late)
        begins(world, "1000")
        world.site.set_comment("1000", HEARD)
        await world.start_operator()
        await world.until(lambda: world.states() == ["RUNNING", "CANCELLED"])
        await asyncio.sleep(60)
        assert world.condition(key, "Finished") == ("False", "Active")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story, WAITS)


def test_a_surplus_job_that_was_cancelled_stands_for_nobody_when_the_site_has_lost_the_other() -> None:
    async def story(world: World) -> None:
        key = await two_that_wait(world)
        begins(world, "1000")
        world.site.set_comment("1000", HEARD)
        await world.start_operator()
        await world.until(lambda: world.states() == ["RUNNING", "CANCELLED"])
        await world.end_operator()
        await world.start_operator()
        await world.until(running(world, key))
        world.site.lose_state()
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        await asyncio.sleep(2000)
        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")

    told(story, WAITS)


BEGINS, STAYS = Fate(queued=1, running=2000, comment=HEARD), Fate(queued=5000, running=2000)


def sent_twice(story: Story, monkeypatch: pytest.MonkeyPatch, **site_spec: Any) -> None:
    """Of each submit the site takes two: the first begins, and its answer is lost on the way; the second waits."""
    submit, fates = Memory.submit, itertools.cycle([BEGINS, STAYS])

    async def twice(self: Memory, batch: Batch) -> str:
        await submit(self, batch)
        return await submit(self, batch)

    async def with_fates(world: World) -> None:
        world.site.fates = lambda _: next(fates)
        await story(world)

    monkeypatch.setattr(Memory, "submit", twice)
    told(with_fates, **site_spec)


async def accepted(world: World, key: Key) -> None:
    await world.until(lambda: "jobId" in (world.status(key).get("attempts") or [{}])[0])
    await asyncio.sleep(10)
    assert world.states() == ["RUNNING", "PENDING"]


@pytest.mark.parametrize("accounting", [True, False], ids=["accounting", "none"])
def test_a_deletion_leaves_no_copy_behind(monkeypatch: pytest.MonkeyPatch, *, accounting: bool) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await accepted(world, key)
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"] * 2

    sent_twice(story, monkeypatch, accounting=accounting)


def test_what_is_suspended_has_not_ended_while_a_copy_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await accepted(world, key)
        world.api.edit(key, suspend=True)
        while not world.status(key)["attempts"][0].get("endTime"):
            assert world.status(key)["attempts"][0]["reason"] != "Suspended"
            await asyncio.sleep(0.05)

        assert world.states() == ["CANCELLED"] * 2
        assert [each["reason"] for each in world.status(key)["attempts"]] == ["Suspended"]

    sent_twice(story, monkeypatch)


def test_a_copy_that_somebody_cancels_is_not_the_end_of_what_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await accepted(world, key)
        await world.site.cancel("1001")
        await world.until(running(world, key), 30)
        assert world.status(key)["attempts"][0]["jobId"] == "1000"
        await world.until(finished(world, key), 3000)

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    sent_twice(story, monkeypatch)


def test_a_copy_is_looked_for_once_some_time_after_the_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await accepted(world, key)
        await world.until(running(world, key), FOLLOWED_SECONDS + 15)
        await asyncio.sleep(5)
        assert world.states() == ["RUNNING", "CANCELLED"]
        assert world.status(key)["attempts"][0]["jobId"] == "1000"
        asked = world.site.calls.count("accounted"), world.site.calls.count("find")
        await asyncio.sleep(300)

        assert (world.site.calls.count("accounted"), world.site.calls.count("find")) == asked
        assert world.condition(key, "Running") == ("True", "Running")

    sent_twice(story, monkeypatch)


def test_that_look_waits_for_an_accounting_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await accepted(world, key)
        world.site.faults.accounting_down = True
        await asyncio.sleep(FOLLOWED_SECONDS + 50)  # so long that its next question comes soon: each waits for longer
        assert world.states() == ["RUNNING", "PENDING"]
        world.site.faults.accounting_down = False
        await world.until(running(world, key), 15)

    sent_twice(story, monkeypatch)


def test_that_look_is_made_again_where_the_scheduler_did_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    accounted, get, lost = Memory.accounted, Memory.get, [False, False]

    async def told_of_it(self: Memory, **which: Any) -> Sequence[RemoteJob]:
        rows = await accounted(self, **which)
        lost[0] = not lost[1] and len(rows) == 2
        return rows

    async def once(self: Memory, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        if lost[0]:
            lost[:] = False, True
            raise Unavailable("One answer was lost.", reason="Unreachable")
        return await get(self, job_ids)

    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await accepted(world, key)
        monkeypatch.setattr(Memory, "accounted", told_of_it)
        monkeypatch.setattr(Memory, "get", once)
        await world.until(running(world, key), FOLLOWED_SECONDS + 30)

        assert lost == [False, True]

    sent_twice(story, monkeypatch)


def test_without_accounting_nobody_waits_to_be_followed() -> None:
    async def story(world: World) -> None:
        for number in range(20):
            world.api.create(f"job-{number}", timeLimit="50m")
        await world.until(lambda: len(world.states()) == 20)
        await asyncio.sleep(FOLLOWED_SECONDS + 10)

        assert world.service.watch is not None
        assert world.service.watch._look_ups.copies.take(100) == []
        await asyncio.sleep(FOLLOWED_SECONDS)
        assert world.service.watch._look_ups.copies._due == {}

    told(story, BEGINS, accounting=False)


def test_a_crowd_is_followed_and_deleted_by_few_calls() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"job-{number}", timeLimit="50m") for number in range(60)]
        await world.until(lambda: len(world.states()) == len(keys))
        await asyncio.sleep(10)
        world.site.calls.clear()
        await asyncio.sleep(FOLLOWED_SECONDS + 20)
        assert 1 <= world.site.calls.count("accounted") <= 6
        assert "find" not in world.site.calls
        for key in keys:
            world.api.delete(key)
        await world.until(lambda: not world.api.objects)

        assert world.states() == ["CANCELLED"] * len(keys)
        assert "find" not in world.site.calls

    told(story, Fate(queued=1, running=2000), period="10s")


def test_a_copy_that_comes_within_the_settle_time_outlives_no_deletion() -> None:
    async def story(world: World) -> None:
        world.site.settle_seconds = 20
        key = world.api.create("a", timeLimit="50m")
        await world.until(lambda: "jobId" in (world.status(key).get("attempts") or [{}])[0])
        begun = world.loop.time()
        world.loop.call_later(10, world.site._accept, world.site.batches["1000"])
        world.api.delete(key)
        await world.until(lambda: world.states()[0] == "CANCELLED", 9)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"] * 2
        assert world.loop.time() - begun < 90

    told(story, WAITS)


def test_the_last_look_of_a_deletion_waits_for_no_period() -> None:
    async def story(world: World) -> None:
        world.site.settle_seconds = 30
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key), 300)
        await asyncio.sleep(90)
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 50)

        assert world.states() == ["CANCELLED"]

    told(story, BEGINS, period="60s")

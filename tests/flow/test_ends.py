"""What lives of a run whose end is told, or was about to be: a second job of a submit, and a job that is requeued."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from little_world import World
from passerelle.batch import Batch
from passerelle.copies import FOLLOWED_SECONDS
from passerelle.gateways.memory import Fate, Memory
from passerelle.objects import Key
from passerelle.slurm import JobState
from passerelle.strays import SURVEY_SECONDS
from stories import Story, finished, running, told

NODE_FAILS = Fate(queued=2, running=3, end="NODE_FAIL", exit_code=None)
BOOT_FAILS = Fate(queued=2, running=3, end="BOOT_FAIL", exit_code=None)
FAILS = Fate(queued=1, running=20, end="FAILED", exit_code=3)
LONG = Fate(queued=1, running=100_000)
NO_LOG = Fate(queued=2, running=3, end="FAILED", exit_code=0, exit_signal=53)
NO_ROOT = Fate(queued=2, running=3, end="FAILED", exit_code=212)
WAITS = Fate(queued=5000, running=300)


def sent_twice(story: Story, monkeypatch: pytest.MonkeyPatch, told_of: Fate, second: Fate, **site_spec: Any) -> None:
    """Of each submit the site takes two: the first, whose answer comes, ends before it took the claim."""
    submit, fates = Memory.submit, itertools.cycle([told_of, second])

    async def twice(self: Memory, batch: Batch) -> str:
        job_id = await submit(self, batch)
        self._accept(batch)
        return job_id

    async def with_fates(world: World) -> None:
        world.site.fates = lambda _: next(fates)
        await story(world)

    monkeypatch.setattr(Memory, "submit", twice)
    told(with_fates, **site_spec)


def jobs(world: World, key: Key) -> list[str]:
    return [each.get("jobId", "") for each in world.status(key)["attempts"]]


@pytest.mark.parametrize("accounting", [True, False], ids=["accounting", "none"])
@pytest.mark.parametrize("first", [NODE_FAILS, BOOT_FAILS, NO_LOG, NO_ROOT], ids=["node", "boot", "log", "root"])
def test_a_copy_that_begins_goes_on_where_the_first_may_not_have_begun(
    monkeypatch: pytest.MonkeyPatch, first: Fate, *, accounting: bool
) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(lambda: bool(world.states()) and world.states()[0] in ("NODE_FAIL", "BOOT_FAIL", "FAILED"))
        while world.condition(key, "Succeeded")[0] != "True":
            await asyncio.sleep(1)
            assert world.condition(key, "Succeeded") in (("Unknown", "Active"), ("True", "Completed")), "none is told"

        assert world.states()[1:] == ["COMPLETED"], "nothing else was made"
        assert jobs(world, key) == ["1001"]

    sent_twice(story, monkeypatch, first, Fate(queued=4, running=300), accounting=accounting)


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_copy_that_waits_goes_before_that_end_is_told(monkeypatch: pytest.MonkeyPatch, attempts: int) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m", retry={"maxAttempts": attempts})
        await world.until(lambda: (world.status(key).get("attempts") or [{}])[0].get("reason") == "NodeFailure")
        assert world.states()[:2] == ["NODE_FAIL", "CANCELLED"]
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("False", "NodeFailure")
        assert world.states() == ["NODE_FAIL", "CANCELLED"] * attempts

    sent_twice(story, monkeypatch, NODE_FAILS, WAITS)


def test_a_copy_that_comes_to_light_after_the_end_was_told_goes_and_no_word_is_changed() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: NODE_FAILS
        key = world.api.create("a", timeLimit="50m")
        await world.until(finished(world, key))
        world.site.fates = lambda _: WAITS
        world.site._accept(world.site.batches["1000"])
        world.api.writes.clear()
        await world.until(lambda: world.states() == ["NODE_FAIL", "CANCELLED"], SURVEY_SECONDS + 120)
        await asyncio.sleep(60)

        assert world.condition(key, "Finished") == ("True", "NodeFailure")
        assert world.api.writes == []

    told(story)


def test_a_copy_that_cleans_up_is_no_last_word_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    state, cleans_up = Memory._state, ["1001"]

    def completing(self: Memory, job: Any) -> JobState:
        found = state(self, job)
        flags = {"COMPLETING"} if job.job_id in cleans_up and found.ending is not None else set()
        return JobState(found.base, frozenset(flags))

    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        await world.end_operator()
        world.site.end("1000", "NODE_FAIL")
        world.site.fates = lambda _: Fate(running=1, end="NODE_FAIL", exit_code=None)
        world.site._accept(world.site.batches["1000"])
        await asyncio.sleep(30)
        world.site.fates = lambda _: WAITS
        world.site._accept(world.site.batches["1000"])
        world.site.faults.accounting_lag = 20
        await world.start_operator()
        await asyncio.sleep(10)
        assert world.condition(key, "Finished")[0] == "False"
        await asyncio.sleep(20)
        cleans_up.clear()
        await world.until(finished(world, key), 30)

        assert world.condition(key, "Succeeded") == ("False", "NodeFailure")
        assert world.states() == ["NODE_FAIL", "NODE_FAIL", "CANCELLED"]

    monkeypatch.setattr(Memory, "_state", completing)
    told(story, LONG)


@pytest.mark.parametrize("end", ["it ends", "it is deleted", "it is suspended"])
def test_a_job_that_is_requeued_after_its_end_is_the_run_again(end: str) -> None:
    async def story(world: World) -> None:
        world.site.purge_seconds = 1_000_000.0
        key = world.api.create("a", timeLimit="1h")
        await world.until(finished(world, key))
        assert world.condition(key, "Succeeded") == ("False", "Failed")
        await asyncio.sleep(SURVEY_SECONDS - 200)
        world.site.requeue("1000", Fate(queued=5, running=1000))
        await world.until(running(world, key), 300)
        assert world.condition(key, "Finished") == ("False", "Active")
        if end == "it is deleted":
            world.api.delete(key)
            await world.until(lambda: key not in world.api.objects)
            assert world.states() == ["CANCELLED"]
        elif end == "it is suspended":
            world.api.edit(key, suspend=True)
            await world.until(lambda: world.states() == ["CANCELLED"])
        else:
            await world.until(finished(world, key), 1100)
            assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story, FAILS, period="10s")


async def beside_another(world: World) -> Key:
    """A job that has failed, and was followed, while another one of ours lives."""
    world.site.fates = lambda _: LONG
    await world.until(running(world, world.api.create("other", timeLimit="50m")))
    world.site.fates = lambda _: FAILS
    key = world.api.create("a", timeLimit="50m")
    await world.until(finished(world, key))
    await asyncio.sleep(FOLLOWED_SECONDS + 30)
    world.site.calls.clear()
    return key


def test_a_job_that_is_requeued_is_found_where_others_that_live_are_listed() -> None:
    async def story(world: World) -> None:
        key = await beside_another(world)
        await asyncio.sleep(60)
        assert set(world.site.calls) <= {"probe", "states", "get"}
        assert world.site.calls.count("states") <= 7, "no call more"
        assert world.site.calls.count("get") <= 3, "what runs, once a progress period"
        world.site.requeue("1001", Fate(queued=30, running=100))
        await world.until(lambda: world.condition(key, "Finished") == ("False", "Active"), 12)
        await world.until(running(world, key), 50)
        await world.until(finished(world, key), 150)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert "find" not in world.site.calls

    told(story, period="10s")


def test_a_requeued_job_whose_trainingjob_is_gone_is_read_once_and_left_alone() -> None:
    async def story(world: World) -> None:
        key = await beside_another(world)
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)
        world.site.requeue("1001", Fate(queued=5000))
        await asyncio.sleep(15)
        world.site.calls.clear()
        await asyncio.sleep(60)

        assert world.site.calls.count("get") <= 3
        assert world.states()[1] == "PENDING"
        assert world.service.watch is not None
        assert world.service.watch.live_jobs == 1, "it is a stray, and the survey tells of it"

    told(story, period="10s")


def test_a_job_that_is_requeued_soon_after_its_end_is_found_where_its_submit_is_followed() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(finished(world, key))
        await asyncio.sleep(10)
        world.site.requeue("1000", Fate(queued=5, running=100))
        await world.until(running(world, key), FOLLOWED_SECONDS)
        await world.until(finished(world, key), 150)

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story, FAILS, period="5s")


def test_a_copy_that_runs_beside_a_told_end_is_left_to_the_fence_and_goes_with_its_trainingjob() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(finished(world, key))
        await asyncio.sleep(SURVEY_SECONDS - 200)
        world.site.fates = lambda _: Fate(running=3000)
        world.site._accept(world.site.batches["1000"])
        await asyncio.sleep(400)
        assert world.condition(key, "Succeeded") == ("False", "Failed")
        assert world.states() == ["FAILED", "RUNNING"]
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["FAILED", "CANCELLED"]

    told(story, FAILS, period="10s")

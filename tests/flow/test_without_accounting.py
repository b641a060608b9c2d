"""A site whose gateway has no accounting: what was seen once and is gone is lost, and never made again by itself."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from little_world import Door, Points, World
from passerelle.gateways.base import Accounting
from passerelle.gateways.memory import Fate
from stories import finished, running, told

LONG = Fate(queued=1, running=500)
without_accounting = partial(told, accounting=False)


def test_the_door_is_one_without() -> None:
    assert not isinstance(Door.__new__(Door), Accounting)


def test_a_job_runs_and_its_end_is_seen() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert "accounted" not in world.site.calls
        assert not [each for each in world.site_conditions() if each["type"] == "AccountingAvailable"]

    without_accounting(story)


def test_a_job_that_was_seen_and_is_gone_is_lost_and_not_repeated() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 5})
        await world.until(running(world, key))
        world.site.forget(world.status(key)["attempts"][0]["jobId"])
        await world.until(finished(world, key))
        await asyncio.sleep(100)

        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        assert world.site.snapshot() == []

    without_accounting(story, LONG)


def test_a_job_that_ended_and_was_forgotten_while_nobody_looked_is_lost() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 5})
        await world.until(running(world, key))
        await world.end_operator()
        await asyncio.sleep(world.site.purge_seconds + 60)
        await world.start_operator()
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        assert len(world.states()) == 1

    without_accounting(story)


def test_a_lost_answer_s_job_that_ended_while_nobody_looked_is_found_with_its_end() -> None:
    async def story(world: World) -> None:
        world.site.purge_seconds = 7 * 86_400.0
        world.site.faults.lose_answers = 1
        key = world.api.create("a")
        await world.until(lambda: world.site.faults.lose_answers == 0)
        await world.end_operator()
        await asyncio.sleep(3_600)
        assert world.states() == ["COMPLETED"]
        assert "jobId" not in (world.status(key).get("attempts") or [{}])[0], "nobody knows of it"
        await world.start_operator()
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert len(world.states()) == 1

    without_accounting(story)


def test_a_lost_answer_is_adopted_however_late_the_job_is_listed() -> None:
    async def story(world: World) -> None:
        world.site.settle_seconds = 30.0
        world.site.faults.lose_answers = 1
        world.site.faults.listing_lag = 20.0
        key = world.api.create("a")
        await world.until(running(world, key))

        assert world.states() == ["RUNNING"]

    without_accounting(story, LONG)


def test_a_submit_that_never_arrived_is_made_again_once_the_listing_was_silent_for_long_enough() -> None:
    async def story(world: World) -> None:
        world.site.settle_seconds = 30.0
        world.site.faults.scheduler_down = True
        key = world.api.create("a")
        await asyncio.sleep(5)
        world.site.faults.scheduler_down = False
        await world.until(running(world, key))

        assert world.states() == ["RUNNING"]
        assert [attempt["number"] for attempt in world.status(key)["attempts"]] == [1]

    without_accounting(story, LONG)


@pytest.mark.parametrize("kill_at", range(14))
def test_an_operator_that_dies_at_any_call_leaves_one_job(kill_at: int) -> None:
    async def story(world: World) -> None:
        await world.end_operator()
        points = await world.start_operator(Points(kill_at=kill_at))
        key = world.api.create("a")
        await asyncio.sleep(20)
        await world.end_operator()
        if points.dead:
            await world.start_operator()
            await world.until(running(world, key))
            assert world.states() == ["RUNNING"]

    without_accounting(story, LONG)

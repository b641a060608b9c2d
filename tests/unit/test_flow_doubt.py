"""Two mishaps at once: each by itself is told elsewhere, and together they must end as well."""

from __future__ import annotations

import asyncio

from little_world import World
from passerelle.gateways.memory import Fate
from passerelle.objects import Key
from stories import finished, running, told

LONG = Fate(queued=1, running=2_000)
OTHER = "https://other"


async def unanswered(world: World) -> Key:
    """A TrainingJob whose job is not listed for a while, and the answer to its submit is lost."""
    world.site.settle_seconds = 20
    world.site.faults.listing_lag = world.site.faults.accounting_lag = 10
    world.site.faults.lose_answers = 1
    key = world.api.create("a")
    await world.until(lambda: bool(world.site.snapshot()))
    return key


def test_a_status_that_is_emptied_while_an_answer_is_missing_makes_no_second_job() -> None:
    async def story(world: World) -> None:
        key = await unanswered(world)
        world.api.empty_status(key)
        await world.until(finished(world, key))

        assert world.states() == ["COMPLETED"]
        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story)


def test_a_deletion_waits_for_a_missing_answer_although_the_status_was_emptied() -> None:
    async def story(world: World) -> None:
        key = await unanswered(world)
        world.api.empty_status(key)
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)
        await asyncio.sleep(60)

        assert world.states() == ["CANCELLED"]

    told(story, LONG)


def test_a_deletion_ends_the_second_job_of_a_call_that_came_twice() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        (batch,) = world.site.batches.values()
        world.site._accept(batch)  # nobody was told its id
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED", "CANCELLED"]

    told(story, LONG)

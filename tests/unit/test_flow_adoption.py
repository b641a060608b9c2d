"""Jobs that are found and were not known: of clusters that were rebuilt, and of backups from before them."""

from __future__ import annotations

import asyncio
import copy

from little_world import World
from passerelle.gateways.memory import Fate
from passerelle.objects import Key
from passerelle.v1alpha1.trainingjob import FINALIZER
from stories import running, told

LONG = Fate(queued=1, running=100_000)


async def rebuilt(world: World, name: str) -> Key:
    """The cluster is lost, and nobody has cancelled anything; Git creates this again, with the same runId."""
    await world.end_operator()
    world.api.objects.clear()
    await world.start_operator()
    return world.api.create(name, runId="r1", timeLimit="50m")


def test_a_run_that_a_rebuilt_cluster_adopts_is_not_deleted_without_its_job() -> None:
    async def story(world: World) -> None:
        await world.until(running(world, world.api.create("a", runId="r1", timeLimit="50m")))
        key = await rebuilt(world, "a")
        await world.until(running(world, key))
        assert world.api.objects[key]["metadata"]["finalizers"] == [FINALIZER]
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"]

    told(story, LONG)


def test_a_backup_from_before_the_intent_is_not_deleted_without_its_job() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", suspend=True, timeLimit="50m")
        await asyncio.sleep(5)
        backup, version = copy.deepcopy(world.api.objects), world.api.version
        backup[key]["spec"]["suspend"] = False
        world.api.edit(key, suspend=False)
        await world.until(running(world, key))
        world.api.restore(backup, version)
        await world.until(running(world, key))
        assert world.api.objects[key]["metadata"]["finalizers"] == [FINALIZER]
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"]

    told(story, LONG)

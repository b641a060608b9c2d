"""Jobs that are found and were not known: of clusters that were rebuilt, and of backups from before them."""

from __future__ import annotations

import asyncio
import copy

import pytest

from little_world import World
from passerelle.gateways.memory import Fate
from passerelle.objects import Key
from passerelle.v1alpha1.trainingjob import FINALIZER
from passerelle.views import LOST_SECONDS
from stories import finished, running, told

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


ASKED = {"passerelle.dev/retry-requested-at": "2026-01-01"}
FAILS = Fate(queued=1, running=30, end="FAILED", exit_code=1)


def test_a_retry_that_a_restored_backup_has_not_heard_of_is_not_given_again() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(finished(world, key))
        world.api.annotate(key, **ASKED)
        backup, version = copy.deepcopy(world.api.objects), world.api.version
        await world.until(lambda: len(world.states()) == 2)
        world.api.restore(backup, version)
        await asyncio.sleep(300)

        assert world.states() == ["FAILED"] * 2
        assert [each["reason"] for each in world.status(key)["attempts"]] == ["Failed"] * 2
        assert world.status(key)["lastHandledRetryAt"] == ASKED["passerelle.dev/retry-requested-at"]
        assert world.condition(key, "Finished")[0] == "True"

        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "2026-01-02"})
        await asyncio.sleep(120)
        assert len(world.states()) == 3, "another one that is asked for is given"

    told(story, FAILS)


def test_a_retry_is_not_given_again_by_an_operator_that_begins_after_the_restore() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(finished(world, key))
        world.api.annotate(key, **ASKED)
        backup, version = copy.deepcopy(world.api.objects), world.api.version
        await world.until(lambda: len(world.states()) == 2)
        await world.end_operator()
        world.api.restore(backup, version)
        await world.start_operator()
        await asyncio.sleep(300)

        assert world.states() == ["FAILED"] * 2
        assert world.status(key)["lastHandledRetryAt"] == ASKED["passerelle.dev/retry-requested-at"]

    told(story, FAILS)


def test_a_retry_is_not_given_again_where_the_status_is_lost() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(finished(world, key))
        world.api.annotate(key, **ASKED)
        await world.until(lambda: len(world.states()) == 2)
        await asyncio.sleep(60)
        world.api.empty_status(key)
        await asyncio.sleep(300)

        assert world.states() == ["FAILED"] * 2
        assert world.status(key)["lastHandledRetryAt"] == ASKED["passerelle.dev/retry-requested-at"]

    told(story, FAILS)


def test_a_retry_that_stands_in_git_is_not_given_anew_to_the_run_that_is_taken_up() -> None:
    async def story(world: World) -> None:
        world.api.annotate(world.api.create("a", runId="r1"), **ASKED)
        await asyncio.sleep(120)
        assert world.states() == ["FAILED"]
        key = await rebuilt(world, "a")
        world.api.annotate(key, **ASKED)
        await asyncio.sleep(300)

        assert world.states() == ["FAILED"]
        assert world.status(key)["lastHandledRetryAt"] == ASKED["passerelle.dev/retry-requested-at"]

    told(story, FAILS)


@pytest.mark.parametrize("accounting", [True, False], ids=["accounting", "none"])
def test_an_earlier_attempt_of_which_the_site_knows_nothing_more_has_an_end(*, accounting: bool) -> None:
    """A status of an older backup shows it as open, and what is open is waited for by deletions, and at other sites."""

    async def story(world: World) -> None:
        fates = iter([Fate(queued=1, running=30, end="NODE_FAIL", exit_code=1), Fate(queued=1, running=200)])
        world.site.fates = lambda _: next(fates)
        key = world.api.create("a", retry={"maxAttempts": 3})
        await world.until(running(world, key))
        backup, version = copy.deepcopy(world.api.objects), world.api.version
        await world.until(lambda: len(world.states()) == 2)
        await world.end_operator()
        world.site.forget("1000")
        world.api.restore(backup, version)
        await world.start_operator()
        await world.until(lambda: len(world.status(key)["attempts"]) == 2)
        await asyncio.sleep(LOST_SECONDS + 30)
        assert [each["reason"] for each in world.status(key)["attempts"]] == ["OutcomeLost", ""]
        assert world.condition(key, "Running") == ("True", "Running")
        assert world.condition(key, "Succeeded") == ("Unknown", "Active")
        await world.until(finished(world, key))
        assert world.condition(key, "Succeeded") == ("True", "Completed")

        world.site.faults.gateway_down = True
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 30)

    told(story, accounting=accounting)

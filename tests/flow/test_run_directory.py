"""A run's directory is its fence: whatever becomes of the Site's runRoot, the attempts of a run share one."""

from __future__ import annotations

import asyncio
import re

import pytest

from little_world import World, gateway
from passerelle.gateways.memory import Fate, Memory
from passerelle.objects import Key
from stories import finished, running, told

OLD, NEW = "/scratch/passerelle", "/scratch2/passerelle"
CHAIN = {"checkpoint": {"grace": "1m"}, "retry": {"maxAttempts": 2}}
LONG = Fate(queued=1, running=500)


def directories(site: Memory) -> list[str]:
    """Where each job's script takes its claim."""
    return [re.findall(r"^run=(\S+)", batch.script, re.MULTILINE)[0] for batch in site.batches.values()]


def recorded(world: World, key: Key) -> list[str]:
    return [each["runDirectory"] for each in world.status(key)["attempts"]]


def test_a_later_attempt_lies_where_the_first_one_did() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=60, end="NODE_FAIL", exit_code=1)
        key = world.api.create("a", **CHAIN)
        await world.until(running(world, key))
        await world.edit_site(runRoot=NEW)
        await world.until(lambda: len(world.states()) == 2)
        await world.until(finished(world, key))

        run = f"{OLD}/{world.run_of(key).key}"
        assert directories(world.site) == recorded(world, key) == [run, run]
        logs = [each["logPath"] for each in world.status(key)["attempts"]]
        assert all(log.startswith(f"{OLD}/psr-") for log in logs), logs
        other = world.api.create("b")
        await world.until(lambda: len(world.states()) == 3)
        assert directories(world.site)[2] == f"{NEW}/{world.run_of(other).key}"

    told(story)


def test_an_attempt_that_is_sent_again_is_sent_to_the_same_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(3)
        world.site.faults.lose_answers = 1
        with monkeypatch.context() as patched:
            patched.setattr(Memory, "_listed", lambda _: [])
            key = world.api.create("a")
            await world.until(lambda: bool(world.states()))
            await world.edit_site(runRoot=NEW)
            await world.until(lambda: len(world.states()) == 2, 60)
        await world.until(finished(world, key))

        run = f"{OLD}/{world.run_of(key).key}"
        assert set(directories(world.site)) == {run}, "two jobs, and the claim is one"
        assert recorded(world, key) == [run]

    told(story, accounting=False)


def test_an_adopted_run_stays_where_its_job_lies() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=60, end="NODE_FAIL", exit_code=1)
        key = world.api.create("a", **CHAIN)
        await world.until(running(world, key))
        await world.edit_site(runRoot=NEW)
        world.api.empty_status(key)
        await world.until(lambda: len(world.states()) == 2)

        run = f"{OLD}/{world.run_of(key).key}"
        assert directories(world.site) == recorded(world, key) == [run, run]

    told(story)


def test_on_another_cluster_a_run_lies_where_the_site_says() -> None:
    async def story(world: World) -> None:
        other = world.another("https://other", cluster="other")
        key = world.api.create("a")
        await world.until(running(world, key))
        world.api.edit(key, suspend=True)
        await world.until(lambda: world.states() == ["CANCELLED"])
        await asyncio.sleep(5)
        await world.edit_site(runRoot=NEW, gateway=gateway("https://other"))
        world.api.edit(key, suspend=False)
        await world.until(lambda: bool(other.batches))

        run = world.run_of(key).key
        assert [*directories(world.site), *directories(other)] == [f"{OLD}/{run}", f"{NEW}/{run}"]
        assert recorded(world, key) == [f"{OLD}/{run}", f"{NEW}/{run}"]

    told(story, LONG)


@pytest.mark.parametrize("written", ["/elsewhere/run", "relative", "/a/../../etc/{run}", "/a b;id/{run}", "/{run}"])
def test_a_directory_that_is_not_the_runs_does_not_count(written: str) -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=60, end="NODE_FAIL", exit_code=1)
        key = world.api.create("a", **CHAIN)
        await world.until(running(world, key))
        run = world.run_of(key).key
        world.status(key)["attempts"][0]["runDirectory"] = written.format(run=run)
        world.api.annotate(key, touched="yes")
        await world.until(lambda: len(world.states()) == 2)

        assert directories(world.site) == [f"{OLD}/{run}"] * 2

    told(story)

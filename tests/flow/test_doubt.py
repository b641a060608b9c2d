"""Two mishaps at once: each by itself is told elsewhere, and together they must end as well."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from little_world import NAMESPACE, SITE, KubeClient, World, gateway
from passerelle.batch import Batch
from passerelle.errors import Unavailable
from passerelle.gateways.memory import Fate, Memory
from passerelle.kube import UNAVAILABLE
from passerelle.marker import Run
from passerelle.objects import Key
from passerelle.onsite.codes import DUPLICATE
from passerelle.slurm import JobState
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


def turned_away(run: Run, like: Batch) -> Batch:
    return replace(like, options=replace(like.options, name=run.marker(1)))


def test_a_run_of_which_the_site_knows_only_what_was_turned_away_begins() -> None:
    async def story(world: World) -> None:
        await world.until(finished(world, world.api.create("b")))
        (batch,) = world.site.batches.values()
        world.site.fates = lambda _: Fate(running=1, end="FAILED", exit_code=DUPLICATE)
        world.site._accept(turned_away(Run.of_run_id(NAMESPACE, "a", "r1"), batch))
        world.site.fates = lambda _: Fate(running=5)
        await asyncio.sleep(5)
        key = world.api.create("a", runId="r1")
        await world.until(finished(world, key), 60)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.status(key)["attemptsTotal"] == 1

    told(story)


def test_a_deletion_frees_its_place_under_max_jobs_although_no_watch_tells_of_its_end() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.api.delete(key)
        await asyncio.sleep(0.1)
        with world.api.unwatched():
            await world.until(lambda: key not in world.api.objects)
        world.site.fates = lambda _: Fate(running=5)
        later = world.api.create("b")
        await world.until(finished(world, later), 120)

    told(story, LONG, maxJobs=1)


def test_what_another_finalizer_still_holds_has_no_place_under_max_jobs() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        world.api.objects[key]["metadata"]["finalizers"] = ["example.org/other"]
        world.api.annotate(key, note="held")
        await world.until(running(world, key))
        world.api.delete(key)
        await world.until(lambda: world.api.objects[key]["metadata"]["finalizers"] == ["example.org/other"])
        world.api.annotate(key, note="seen once more")
        world.site.fates = lambda _: Fate(running=5)
        later = world.api.create("b")
        await world.until(finished(world, later), 120)

    told(story, LONG, maxJobs=1)


def test_a_site_that_is_edited_while_its_status_is_written_leads_where_the_edit_says() -> None:
    async def story(world: World) -> None:
        other = world.another(OTHER, cluster="other")
        await asyncio.sleep(5)
        found = world.api.sites[SITE]
        found["spec"]["gateway"] = gateway(OTHER)
        found["metadata"]["generation"] += 1
        world.api._stamped(found)
        world.site.faults.gateway_down = True  # so that there is something to write, and the write conflicts
        await world.until(lambda: world.service.site.generation == 2, 30)
        key = world.api.create("a")
        await world.until(finished(world, key), 60)

        assert (world.states(), world.states(other)) == ([], ["COMPLETED"])

    told(story)


def test_a_conflict_during_an_outage_of_kube_apiserver_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    get = KubeClient.trainingjob
    failed: list[Key] = []

    async def away(self: KubeClient, key: Key) -> dict[str, object]:
        if not failed:
            failed.append(key)
            raise Unavailable("kube-apiserver can't be asked", reason=UNAVAILABLE)
        return await get(self, key)

    monkeypatch.setattr(KubeClient, "trainingjob", away)

    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        with world.api.unwatched():
            world.api.annotate(key, note="unseen")
        await world.until(finished(world, key), 60)

        assert failed == [key]
        assert [each.message for each in caplog.records if each.exc_info] == []

    told(story)


def first_fails(batch: Batch) -> Fate:
    """The node of the first attempt fails; the second one runs for a while."""
    first = batch.options.name.endswith("-1")
    return Fate(queued=1, running=20, end="NODE_FAIL", exit_code=1) if first else Fate(queued=1, running=60)


def attempts(world: World, key: Key) -> list[str]:
    return [each["reason"] for each in world.status(key)["attempts"]]


def test_an_attempt_that_an_older_backup_shows_running_does_not_stay_open() -> None:
    async def story(world: World) -> None:
        world.site.fates = first_fails
        key = world.api.create("a", retry={"maxAttempts": 2})
        await world.until(running(world, key))
        backup = copy.deepcopy(world.api.objects)
        await world.until(lambda: len(world.status(key)["attempts"]) == 2 and running(world, key)(), 120)
        world.api.restore(backup, world.api.version)
        await world.until(finished(world, key), 120)
        assert attempts(world, key) == ["NodeFailure", "Completed"]

        await world.until(finished(world, world.api.create("b", retry={"maxAttempts": 2})), 240)

    told(story, maxJobs=1)


def test_a_deletion_looks_for_the_attempt_that_an_older_backup_does_not_know() -> None:
    async def story(world: World) -> None:
        world.site.fates = first_fails
        key = world.api.create("a", retry={"maxAttempts": 2})
        await world.until(lambda: bool(world.status(key).get("attempts")) and attempts(world, key) == ["NodeFailure"])
        backup = copy.deepcopy(world.api.objects)
        await world.until(lambda: len(world.status(key)["attempts"]) == 2 and running(world, key)(), 120)
        await world.end_operator()
        world.api.restore(backup, world.api.version)
        world.api.delete(key)
        await world.start_operator()
        await world.until(lambda: key not in world.api.objects, 60)

        assert world.states() == ["NODE_FAIL", "CANCELLED"]

    told(story)


def test_whoever_an_act_held_up_that_found_nobody_goes_on_when_a_look_goes_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states, submit = Memory.states, Memory.submit
    tries = 0

    async def slow(self: Memory, job_ids: Collection[str]) -> Mapping[str, JobState]:
        await asyncio.sleep(10)
        return await states(self, job_ids)

    async def unsent(self: Memory, batch: Batch) -> str:
        nonlocal tries
        tries += 1
        if tries == 2:
            await asyncio.sleep(5)  # the next look is under way by then
            raise Unavailable("No route to host.", reason="Unreachable", sent=False)
        return await submit(self, batch)

    async def story(world: World) -> None:
        await world.until(running(world, world.api.create("a", timeLimit="1h")), 60)
        waiting = world.api.create("b", timeLimit="1h", suspend=True)
        await asyncio.sleep(60)
        tried = world.api.create("c", timeLimit="1h")
        await world.until(lambda: world.service.watch is not None and world.service.watch.trouble is not None, 60)
        world.api.edit(waiting, suspend=False)  # its pass finds a site that can't be asked, and waits for it
        await world.until(running(world, tried), 60)
        await world.until(running(world, waiting), 60)

    monkeypatch.setattr(Memory, "states", slow)
    monkeypatch.setattr(Memory, "submit", unsent)
    told(story, LONG, period="2s")


def test_what_another_operator_left_in_doubt_takes_two_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    submit, lost = Memory.submit, list[Batch]()

    async def never_came(self: Memory, batch: Batch) -> str:
        if lost:
            return await submit(self, batch)
        lost.append(batch)
        raise Unavailable("The answer was lost.", reason="Unreachable")

    async def story(world: World) -> None:
        monkeypatch.setattr(Memory, "submit", never_came)
        key = world.api.create("a")
        await world.until(lambda: bool(lost))
        await world.end_operator()
        world.site.calls.clear()
        await world.start_operator()
        await world.until(lambda: "jobId" in (world.status(key).get("attempts") or [{}])[0])

        assert world.site.calls.count("find") == 2

    told(story, LONG, accounting=False)

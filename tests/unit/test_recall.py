"""An operator that starts anew finds its jobs by their ids, believes none that the site does not confirm, and concludes
nothing from an end before it has looked for the run's other jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest

from little_world import World
from passerelle.gateways.base import Gateway, Identity, Listing, Traits
from passerelle.gateways.memory import Fate
from passerelle.marker import Run
from passerelle.objects import Key
from passerelle.picture import Picture
from passerelle.recall import MOST, recall
from passerelle.slurm import JobState, RemoteJob
from passerelle.views import Inquiry, Remembered
from stories import finished, running, told

WAITS, RUNS = JobState("PENDING"), JobState("RUNNING")
WAITING = Fate(queued=10_000)


def run(number: int) -> Run:
    return Run(f"psr-{number:026}")


def remembered(number: int, state: str = "PENDING") -> Remembered:
    return Remembered(1, run(number).marker(1), str(number), state, "Priority")


def job(number: int, state: JobState = WAITS, name: str = "", **facts: object) -> RemoteJob:
    made = RemoteJob(
        job_id=str(number), name=name or run(number).marker(1), user="us", cluster="c", state=state, submit_time=7
    )
    return replace(made, **facts)  # type: ignore[arg-type]


class Door:
    """A site with these jobs, and what it was asked for."""

    traits = Traits(listing=Listing.STATES)

    def __init__(self, live: Sequence[RemoteJob], rows: Sequence[RemoteJob] | None) -> None:
        self.live = live
        self.rows = rows
        self.read: set[str] = set()
        self.searched: set[str] = set()

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        return {each.job_id: each.state for each in self.live if each.job_id in job_ids}

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        self.read |= set(job_ids)
        return [each for each in self.live if each.job_id in job_ids]

    async def all_of(self, job_ids: Collection[str]) -> tuple[list[RemoteJob], set[str]]:
        return list(await self.get(job_ids)), set()

    async def accounted(
        self, *, names: Collection[str] = (), job_ids: Collection[str] = (), **_: float
    ) -> Sequence[RemoteJob]:
        raise AssertionError((names, job_ids))  # it is asked through the look, which tells of its trouble

    async def search(self, job_ids: Collection[str]) -> list[RemoteJob] | None:
        self.searched |= set(job_ids)
        return None if self.rows is None else [each for each in self.rows if each.job_id in job_ids]


async def asked(door: Door, *jobs: Remembered, traits: Traits | None = None) -> tuple[list[RemoteJob], Picture]:
    picture = Picture()
    picture.meet(Identity("c", "us"))
    for each in jobs:
        picture.ask(run(int(each.job_id)), Inquiry(highest=1, thorough=False, remembered=each))
    door.traits = traits or door.traits
    found, _ = await recall(cast("Gateway", door), picture, door.search, door.all_of)
    return found, picture


async def test_who_waits_is_confirmed_by_accounting_and_keeps_why() -> None:
    door = Door([job(1)], [replace(job(1, JobState("PENDING")), state_reason="None?", live=False, nodes="?")])
    (found,), _ = await asked(door, remembered(1))

    assert (door.searched, door.read) == ({"1"}, set())
    assert (found.state, found.state_reason, found.nodes, found.live, found.submit_time) == (
        WAITS,
        "Priority",
        "",
        True,
        7,
    )


@pytest.mark.parametrize(
    "before,now", [("RUNNING", RUNS), ("PENDING", RUNS), ("RUNNING", WAITS), ("PENDING", JobState("SUSPENDED"))]
)
async def test_what_runs_or_has_changed_is_read_in_full(before: str, now: JobState) -> None:
    door = Door([job(1, now)], [])
    found, _ = await asked(door, remembered(1, before))

    assert (found, door.searched, door.read) == ([job(1, now)], set(), {"1"})


@pytest.mark.parametrize("rows", [[], None], ids=["lags behind", "can't be asked"])
async def test_what_accounting_does_not_tell_is_read_in_full(rows: list[RemoteJob] | None) -> None:
    door = Door([job(1)], rows)
    found, _ = await asked(door, remembered(1))

    assert (found, door.read) == ([job(1)], {"1"})


@pytest.mark.parametrize("state", [WAITS, RUNS])
async def test_an_id_that_is_another_job_s_by_now_confirms_nothing(state: JobState) -> None:
    """A site that has lost its state counts from 1 again."""
    other = job(1, state, name="somebody-else")
    found, picture = await asked(Door([other], [replace(other, live=False)]), remembered(1))

    assert found == []
    assert picture.turn(9) == {run(1)}, "it is looked up by its marker"


@pytest.mark.parametrize("live", [[], [job(1, JobState("COMPLETED"))]], ids=["is gone", "has ended"])
async def test_a_job_that_lives_no_more_is_not_told_here(live: list[RemoteJob]) -> None:
    ended = replace(job(1, JobState("COMPLETED")), live=False)
    found, picture = await asked(Door(live, [ended]), remembered(1))

    assert found == []
    assert picture.remembered(9) == {}, "it is asked for by its id once"


@pytest.mark.parametrize("listing", [Listing.RECORDS, Listing.EACH])
async def test_a_gateway_that_lists_whole_records_is_asked_for_nothing_else(listing: Listing) -> None:
    door = Door([job(1)], [job(1)])
    found, _ = await asked(door, remembered(1), traits=Traits(listing=listing))

    assert (found, door.read, door.searched) == ([], set(), set())


async def test_so_many_at_a_time() -> None:
    door = Door([], [])
    _, picture = await asked(door, *(remembered(number) for number in range(1, MOST + 11)))

    assert len(picture.remembered(MOST)) == 10


def test_a_restart_with_a_crowd_that_waits_takes_three_calls_and_no_write() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"job-{number}") for number in range(40)]
        await world.until(lambda: all(world.condition(key, "Submitted")[0] == "True" for key in keys))
        await asyncio.sleep(30)
        await world.end_operator()
        world.site.calls.clear()
        writes = list(world.api.writes)
        await world.start_operator()
        await asyncio.sleep(0.1)
        assert world.service.watch is not None
        assert (world.service.watch.live_jobs, world.service.watch.looked_for) == (0, len(keys))
        await asyncio.sleep(3)
        assert (world.service.watch.live_jobs, world.service.watch.looked_for) == (len(keys), 0)
        assert world.api.writes == writes
        calls = world.site.calls
        assert (calls.count("find"), calls.count("accounted")) == (0, 1)
        assert calls.count("states") <= 4, "one of them, and one a look"
        assert "get" not in calls[: calls.index("accounted") + 1]

    told(story, WAITING)


def test_a_job_that_ended_while_nobody_looked_is_told_after_a_restart() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        await world.end_operator()
        await asyncio.sleep(400)  # the scheduler has forgotten it, too
        await world.start_operator()
        await world.until(finished(world, key), 20)

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story)


async def restarted_beside_another(world: World, fate: Fate) -> tuple[Key, str, str]:
    """A TrainingJob and its job's id, whose operator starts anew; and another job under the same marker, that waits."""
    world.site.fates = lambda _: fate
    key = world.api.create("a")
    await world.until(lambda: "submitTime" in (world.status(key).get("attempts") or [{}])[-1])
    first = world.site.snapshot()[0].job_id
    await world.end_operator()
    world.site.fates = lambda _: WAITING
    second = await world.site.submit(world.site.batches[first])
    world.site.calls.clear()
    await world.start_operator()
    await asyncio.sleep(10)
    assert world.site.calls.count("find") == 0, "one is known, by its id"
    return key, first, second


def test_when_a_job_that_was_found_again_ends_the_run_s_other_jobs_are_looked_for() -> None:
    """Its node fails, and another one under the same marker waits: nobody else would look for that."""

    async def story(world: World) -> None:
        key, first, _ = await restarted_beside_another(world, Fate(queued=1, running=10_000))
        assert world.states() == ["RUNNING", "PENDING"]
        world.site.end(first, "NODE_FAIL")
        await asyncio.sleep(10)

        (attempt,) = world.status(key)["attempts"]
        assert (attempt["jobId"], attempt["state"]) == (first, "NODE_FAIL")
        assert world.states() == ["NODE_FAIL", "CANCELLED"]

    told(story)


def test_when_a_job_that_was_found_again_is_cancelled_as_it_waits_another_one_is_the_attempt() -> None:
    async def story(world: World) -> None:
        key, first, second = await restarted_beside_another(world, WAITING)
        assert world.states() == ["PENDING", "PENDING"]
        await world.site.cancel(first)
        await asyncio.sleep(10)

        (attempt,) = world.status(key)["attempts"]
        assert (attempt["jobId"], attempt["state"]) == (second, "PENDING")
        assert world.condition(key, "Finished")[0] == "False"

    told(story)


FOUND = Run("psr-" + "a" * 26)


def found_again() -> Picture:
    """With a run whose job the site has confirmed, and that was not asked for others."""
    picture = Picture()
    picture.meet(Identity("c", "us"))
    picture.ask(FOUND, Inquiry(highest=1, thorough=False))
    picture.take_in(job(1, RUNS, FOUND.marker(1)))
    view = picture.views[FOUND]
    view.recalled = view.complete = view.quiet = True
    picture.asked.clear()
    return picture


def test_the_end_of_a_job_that_was_found_again_counts_once_its_run_was_looked_up() -> None:
    picture, ended = found_again(), job(1, JobState("NODE_FAIL"), FOUND.marker(1))

    assert picture.take_in(ended) is None
    assert picture.seen(FOUND, (), None).jobs == ((1, job(1, RUNS, FOUND.marker(1))),), "it stands as it was"
    assert picture.turn(9) == {FOUND}
    assert picture.take_in(ended) == FOUND
    assert picture.seen(FOUND, (), None).jobs == ((1, ended),)


def test_what_one_site_confirmed_another_has_not() -> None:
    picture = found_again()

    picture.meet(Identity("c", "us"))
    view = picture.views[FOUND]
    assert (view.recalled, view.complete, view.quiet) == (True, True, True), "it is the same one"

    picture.meet(Identity("elsewhere", "us"))
    assert (view.recalled, view.complete, view.quiet) == (False, False, False)
    assert picture.turn(9) == {FOUND}

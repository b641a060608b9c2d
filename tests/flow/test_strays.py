"""Jobs of ours that no TrainingJob here knows: told of, never cancelled, and asked for rarely."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection
from dataclasses import replace

import pytest

from little_world import World
from passerelle.errors import Unavailable
from passerelle.gateways.base import Identity
from passerelle.gateways.memory import Fate, Memory
from passerelle.marker import Run
from passerelle.picture import Picture
from passerelle.slurm import JobState, RemoteJob
from passerelle.strays import FIRST_SECONDS, SURVEY_SECONDS, Strays
from stories import finished, running, told

LONG = Fate(queued=1, running=100_000)


def strays(world: World) -> str:
    """What the Site says of them; nothing where there are none."""
    found = [each for each in world.site_conditions() if each["type"] == "JobsKnown"]
    assert all((each["status"], each["reason"]) == ("False", "StrayJobs") for each in found)
    return found[0]["message"] if found else ""


def run_elsewhere(world: World, job_id: str, number: int = 1) -> str:
    """Another cluster submits as the same user something like this job; its marker."""
    like = world.site.batches[job_id]
    marker = Run("psr-" + f"{number:02}".translate({48 + digit: 97 + digit for digit in range(10)}) * 13).marker(1)
    world.site._accept(replace(like, options=replace(like.options, name=marker)))
    return marker


def test_a_job_of_another_cluster_is_told_of_and_left_alone() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key), 300)
        await asyncio.sleep(SURVEY_SECONDS / 2)
        marker = run_elsewhere(world, "1000")
        await world.until(lambda: bool(strays(world)), FIRST_SECONDS + SURVEY_SECONDS / 2 + 120)

        assert f"job 1001 ({marker}) belongs to no TrainingJob here" in strays(world)
        assert len(world.service.watch.strays() if world.service.watch else []) == 1
        assert world.site_conditions()[0]["reason"] == "Answering", "nothing is wrong with the site"
        await world.until(lambda: not strays(world), 2 * SURVEY_SECONDS)
        assert world.states() == ["TIMEOUT"] * 2
        assert "cancel" not in world.site.calls

    told(story, LONG, period="60s")


def test_ten_of_many_are_named() -> None:
    async def story(world: World) -> None:
        await world.until(running(world, world.api.create("a", timeLimit="50m")))
        for number in range(13):
            run_elsewhere(world, "1000", number)
        await world.end_operator()
        await world.start_operator()
        await world.until(lambda: bool(strays(world)))

        assert strays(world).count("psr-") == 10
        assert " and 3 more belong to no TrainingJob here" in strays(world)

    told(story, LONG)


def test_what_is_abandoned_is_told_of_until_it_ends() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        world.site.faults.gateway_down = True
        world.api.annotate(key, **{"passerelle.dev/abandon": "true"})
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)
        world.site.faults.gateway_down = False
        await world.end_operator()
        await world.start_operator()
        await world.until(lambda: "job 1000 (" in strays(world))
        await world.site.cancel("1000")
        await world.until(lambda: not strays(world), SURVEY_SECONDS + 120)

    told(story, LONG, period="30s")


def test_no_job_is_a_stray_before_all_trainingjobs_are_in_view() -> None:
    """A listing of ten thousand takes a while; and where kube-apiserver is away, none is there."""

    async def story(world: World) -> None:
        await world.until(running(world, world.api.create("a", timeLimit="50m")))
        run_elsewhere(world, "1000")
        await world.end_operator()
        await world.start_operator(whole=False)
        await asyncio.sleep(120)
        assert not strays(world)
        assert world.reconciler is not None
        world.reconciler.begin()
        await world.until(lambda: "job 1001 (" in strays(world), 90)

    told(story, LONG)


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "too much for the site"])
def test_at_rest_all_jobs_are_listed_once_an_hour(monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> None:
    listings = 0
    find = Memory.find

    async def counted(self: Memory, ended_of: Collection[Run]) -> list[RemoteJob]:
        nonlocal listings
        listings += 1
        if fails:
            raise Unavailable("The answer is too large.", reason="AnswerTooLarge")
        return list(await find(self, ended_of))

    async def story(world: World) -> None:
        await asyncio.sleep(FIRST_SECONDS - 1)
        assert listings == 0, "the beginning has other calls to make"
        await asyncio.sleep(121)
        assert listings == 1
        await asyncio.sleep(3 * SURVEY_SECONDS)

        assert listings in (3, 4), "a look comes once a minute"
        assert world.site_conditions()[0]["reason"] == "Answering"

    monkeypatch.setattr(Memory, "find", counted)
    told(story, period="60s")


def test_a_survey_waits_for_the_hour_s_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        budget = world.service.courtesy.budget
        with monkeypatch.context() as patched:
            patched.setattr(budget, "room", lambda _: 0.0)
            await asyncio.sleep(FIRST_SECONDS + 200)
            assert world.site.calls.count("find") == 0
        await asyncio.sleep(70)

        assert world.site.calls.count("find") == 1

    told(story, period="60s")


HERE = Identity("alps", "us")
STRAY = RemoteJob(
    job_id="7",
    name=Run("psr-" + "a" * 26).marker(1),
    user=HERE.user,
    cluster=HERE.cluster,
    state=JobState("RUNNING"),
    submit_time=1,
)


def listed(*jobs: RemoteJob) -> Strays:
    picture, found = Picture(), Strays(lambda: 0.0)
    picture.meet(HERE)
    found.listed(jobs, picture)
    return found


@pytest.mark.parametrize("other", [Identity("alps", "colleague"), Identity("elsewhere", "us")], ids=str)
def test_what_a_former_user_or_cluster_had_is_told_of_no_more(other: Identity) -> None:
    found = listed(STRAY)

    assert [each.number for each in found.found(HERE)] == ["7"]
    assert found.found(other) == found.found(None) == ()


@pytest.mark.parametrize("others", [{"user": "colleague"}, {"cluster": "elsewhere"}], ids=str)
def test_jobs_of_other_users_and_clusters_are_no_strays_of_ours(others: dict[str, str]) -> None:
    theirs = replace(STRAY, job_id="8", **others)  # type: ignore[arg-type]  # these are texts

    assert [each.number for each in listed(STRAY, theirs).found(HERE)] == ["7"]


def test_where_the_hours_calls_run_short_all_jobs_are_listed_every_two_hours() -> None:
    async def story(world: World) -> None:
        await world.until(running(world, world.api.create("a", timeLimit="50m")))
        for_long = replace(world.site.batches["1000"].options, time_limit_minutes=10_000)
        world.site._jobs["1000"].batch = replace(world.site.batches["1000"], options=for_long)
        await asyncio.sleep(SURVEY_SECONDS)
        run_elsewhere(world, "1000")
        asked = world.site.calls.count("find")
        await world.until(lambda: bool(strays(world)), 2 * SURVEY_SECONDS + 120)

        assert world.site.calls.count("find") == asked + 1
        assert any(each["type"] == "WithinBudget" for each in world.site_conditions())
        await asyncio.sleep(6 * SURVEY_SECONDS)
        assert world.site.calls.count("find") in (asked + 3, asked + 4)

    told(story, LONG, period="10s", callsPerHour=600)


def test_a_later_attempt_that_a_restored_status_has_not_heard_of_is_found_though_all_on_record_has_ended() -> None:
    async def story(world: World) -> None:
        fates = iter([Fate(queued=1, running=30, end="FAILED", exit_code=1), LONG])
        world.site.fates = lambda _: next(fates)
        key = world.api.create("a", timeLimit="50m")
        await world.until(finished(world, key))
        backup, version = copy.deepcopy(world.api.objects), world.api.version
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "2026-01-01"})
        await world.until(running(world, key))
        await world.end_operator()
        world.api.restore(backup, version)
        await world.start_operator()
        await world.until(running(world, key), FIRST_SECONDS + 60)
        assert not strays(world)
        asked = world.site.calls.count("find")
        await asyncio.sleep(300)
        assert world.site.calls.count("find") == asked
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["FAILED", "CANCELLED"]

    told(story)


def test_no_survey_begins_while_another_site_of_the_host_has_its_jobs_listed() -> None:
    async def story(world: World) -> None:
        host = world.service.courtesy.host
        host.listing = True
        await asyncio.sleep(3 * FIRST_SECONDS)
        assert "find" not in world.site.calls
        host.listing = False
        await asyncio.sleep(60)
        assert world.site.calls.count("find") == 1
        assert not host.listing

    told(story, period="30s")


def test_a_site_that_leads_to_the_same_machine_as_the_same_user_takes_over_no_job() -> None:
    async def story(world: World) -> None:
        await world.one_more_site("twin")
        keys = [world.api.create(f"job-{number}", site="twin", timeLimit="50m") for number in range(3)]
        await world.until(lambda: all(running(world, key)() for key in keys), 300)
        await asyncio.sleep(FIRST_SECONDS + 300)

        assert world.service.watch is not None
        assert world.service.watch.live_jobs == 0
        assert not strays(world), "they have a TrainingJob"

    told(story, LONG, period="30s")

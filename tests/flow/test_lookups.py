"""Look-ups by marker: what one object, one call or a silent accounting may cost the others of a Site."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from little_world import World
from passerelle.errors import Unavailable
from passerelle.gateways.base import DAY_SECONDS, HORIZON_SECONDS, Identity
from passerelle.gateways.memory import Fate, Memory
from passerelle.gateways.slurmrestd.asking import NAMES_PER_CALL
from passerelle.lookups import LookUps
from passerelle.marker import ATTEMPT_LIMIT, Run
from passerelle.names import NAMES_OF_A_RUN, beyond
from passerelle.picture import Picture
from passerelle.slurm import JobState, RemoteJob
from passerelle.v1alpha1.trainingjob import FINALIZER
from passerelle.views import Inquiry
from stories import finished, running, told

LONG = Fate(queued=1, running=100_000)
RUN = Run("psr-" + "a" * 26)


def job_of(attempt: int, state: str = "RUNNING") -> RemoteJob:
    return RemoteJob(
        job_id="7", name=RUN.marker(attempt), user="u", cluster="c", state=JobState(state), submit_time=1, start_time=2
    )


@pytest.mark.parametrize("number", [ATTEMPT_LIMIT, ATTEMPT_LIMIT + 1])
def test_an_attempt_s_number_in_one_status_does_not_stop_the_site(number: int) -> None:
    async def story(world: World) -> None:
        key = world.api.create("evil", suspend=True)
        await asyncio.sleep(10)
        found = world.api.objects[key]
        found["metadata"]["finalizers"] = [FINALIZER]
        attempt = {"number": number, "marker": "x", "cluster": "memory", "user": "startup"}
        found["status"]["attempts"] = [{**attempt, "runDirectory": "/x", "scriptDigest": ""}]
        world.api._tell(world.api._stamped(found))
        await asyncio.sleep(60)
        new = world.api.create("new")
        await world.until(finished(world, new), 120)

        assert world.site_conditions()[0]["status"] == "True"

    told(story)


def test_the_last_attempt_that_has_a_name_is_followed_by_none() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(5)
        found = world.api.objects[key]
        found["metadata"]["finalizers"] = [FINALIZER]
        attempt = {"number": ATTEMPT_LIMIT, "marker": "x", "cluster": "memory", "user": "startup", "jobId": "1"}
        ended = {"endTime": "2026-01-01T00:00:00Z", "reason": "Failed", "state": "FAILED"}
        found["status"]["attempts"] = [{**attempt, **ended, "runDirectory": "/x", "scriptDigest": ""}]
        world.api.edit(key, suspend=False)
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "now"})
        await asyncio.sleep(60)

        assert world.condition(key, "Finished") == ("True", "Failed")
        assert world.states() == []

    told(story)


def test_a_look_up_names_no_attempt_beyond_the_last_one_and_not_all_before_it() -> None:
    picture = Picture()
    picture.meet(Identity("c", "u"))
    picture.ask(RUN, Inquiry(highest=1, thorough=False))
    assert picture.names([RUN]) == {RUN: (1, 3)}
    picture.take_in(job_of(99_990))
    assert picture.names([RUN]) == {RUN: (99_992 - NAMES_OF_A_RUN, 99_992)}
    picture.take_in(job_of(ATTEMPT_LIMIT))
    assert picture.names([RUN]) == {RUN: (ATTEMPT_LIMIT + 1 - NAMES_OF_A_RUN, ATTEMPT_LIMIT + 1)}

    assert beyond({RUN: (1, 99_992)}, [job_of(99_991)]) == {RUN: (99_992, ATTEMPT_LIMIT + 1)}
    assert beyond({RUN: (1, ATTEMPT_LIMIT + 1)}, [job_of(ATTEMPT_LIMIT)]) == {}


def test_a_call_that_fails_now_and_then_does_not_keep_a_crowd_from_its_look_ups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = Memory.accounted, 0

    async def accounted(
        self: Memory, *, names: Collection[str] = (), job_ids: Collection[str] = (), **how: float
    ) -> Sequence[RemoteJob]:
        nonlocal calls
        asked = sorted(names)
        rows: list[RemoteJob] = []
        for start in range(0, len(asked), NAMES_PER_CALL):  # as slurmrestd's driver does
            calls += 1
            if calls % 7 == 0:
                raise Unavailable("The answer was lost.", reason="Unreachable")
            rows += await real(self, names=asked[start : start + NAMES_PER_CALL], within=how["within"])
        return rows

    monkeypatch.setattr(Memory, "accounted", accounted)

    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}") for number in range(300)]  # 18 calls
        await asyncio.sleep(300)

        assert len(world.states()) == len(keys)
        assert calls < 40
        assert world.site.calls.count("find") <= 10

    told(story, LONG, period="30s")


def test_while_accounting_is_silent_jobs_that_the_scheduler_has_forgotten_cost_few_searches() -> None:
    """Its daemon takes 45 s to say that it can't, and each look would ask it again."""

    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(3)]
        await world.until(lambda: all(running(world, key)() for key in keys), 120)
        await asyncio.sleep(100)
        world.site.faults.accounting_down = True
        for key in keys:
            world.site.end(world.status(key)["attempts"][0]["jobId"], "COMPLETED")
        world.site.purge()
        world.site.calls.clear()
        await asyncio.sleep(3600)
        assert 4 <= world.site.calls.count("accounted") <= 10
        assert world.site.calls.count("states") > 100, "looks go on"
        assert not any(finished(world, key)() for key in keys)
        world.site.faults.accounting_down = False
        await world.until(lambda: all(finished(world, key)() for key in keys), 910)
        assert {world.condition(key, "Succeeded") for key in keys} == {("True", "Completed")}

    told(story, LONG, period="30s")


def test_while_accounting_is_silent_new_trainingjobs_cost_no_full_listing_and_few_searches() -> None:
    """None of them may have a job, so a listing could tell nothing of them."""

    async def story(world: World) -> None:
        await asyncio.sleep(200)
        world.site.faults.accounting_down = True
        world.site.calls.clear()
        for number in range(10):
            world.api.create(f"j{number}")
            await asyncio.sleep(360)
        assert world.site.calls.count("find") <= 1, "the hour's"
        assert 4 <= world.site.calls.count("accounted") <= 10
        world.site.faults.accounting_down = False
        await world.until(lambda: len(world.states()) == 10, 910)

    told(story, LONG, period="30s")


def test_an_end_is_told_before_the_look_ups_by_marker_which_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    told_meanwhile: list[str] = []

    async def story(world: World) -> None:
        async def slow(_: LookUps, *__: float) -> set[Run]:
            if world.states() == ["COMPLETED"]:
                await asyncio.sleep(20)
                told_meanwhile.append(world.condition(key, "Finished")[0])
            return set()

        key = world.api.create("a")
        await world.until(running(world, key))
        monkeypatch.setattr(LookUps, "asked", slow)
        await world.until(lambda: bool(told_meanwhile), 120)

    told(story)
    assert told_meanwhile == ["True"]


def test_accounting_is_asked_for_jobs_that_are_gone_no_further_back_than_these_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, reach = Memory.accounted, list[float]()

    async def accounted(self: Memory, **which: Any) -> Sequence[RemoteJob]:
        reach.extend([which["within"]] if which.get("job_ids") else [])
        return await real(self, **which)

    monkeypatch.setattr(Memory, "accounted", accounted)

    async def story(world: World) -> None:
        world.site.purge_seconds = 0.0
        old = world.api.create("old", runId="of-last-month", timeLimit="50m")
        await world.until(running(world, old))
        world.site.fates = lambda _: Fate(queued=1, running=20)
        young = world.api.create("young")
        await world.until(finished(world, young))
        assert len(reach) == 1
        assert DAY_SECONDS <= reach[0] <= DAY_SECONDS + 120
        await world.until(finished(world, old), 3100)

        assert reach[1] >= HORIZON_SECONDS

    told(story, LONG)

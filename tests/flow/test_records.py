"""Full records keep the pace of news, whatever they are read for, and no look waits long for them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Sequence

import pytest

from flow.test_courtesy import LONG, most_in_a_second
from little_world import AccountedDoor, World
from passerelle.gateways import meter
from passerelle.gateways.budget import READ_OF_A_JOB
from passerelle.gateways.memory import Fate
from passerelle.gateways.pace import BURST_SECONDS
from passerelle.gateways.purpose import Purpose, purpose
from passerelle.objects import Key
from passerelle.profiles.machine import ACTS_PER_SECOND
from passerelle.records import PIECE
from passerelle.slurm import RemoteJob
from passerelle.watch import SiteWatch
from stories import running, told

RATE = READ_OF_A_JOB * ACTS_PER_SECOND
JOBS = 600


@pytest.fixture
def read() -> dict[str, list[float]]:
    """Of each job's record, likewise."""
    return {}


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch, read: dict[str, list[float]]) -> list[float]:
    """When each record was asked for, but those that an end needs, of a door that is asked one by one."""
    get, times = AccountedDoor.get, list[float]()

    async def one_by_one(self: AccountedDoor, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        for _ in range(len(job_ids) - 1):
            meter.called()  # the site itself counts one
        if purpose() is not Purpose.END:
            now = asyncio.get_running_loop().time()
            times.extend([now] * len(job_ids))
            for job_id in job_ids:
                read.setdefault(job_id, []).append(now)
        return await get(self, job_ids)

    monkeypatch.setattr(AccountedDoor, "get", one_by_one)
    return times


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each look took."""
    look, took = SiteWatch.look, list[float]()

    async def timed(self: SiteWatch) -> None:
        began = asyncio.get_running_loop().time()
        await look(self)
        took.append(asyncio.get_running_loop().time() - began)

    monkeypatch.setattr(SiteWatch, "look", timed)
    return took


async def crowd(world: World) -> list[Key]:
    keys = [world.api.create(f"j{number}", timeLimit="30h") for number in range(JOBS)]
    await world.until(lambda: all(running(world, key)() for key in keys), 300)
    await asyncio.sleep(60)
    return keys


def test_progress_is_read_at_a_pace(times: list[float], read: dict[str, list[float]], looks: list[float]) -> None:
    async def story(world: World) -> None:
        keys = await crowd(world)
        await asyncio.sleep(240)
        times.clear()
        read.clear()
        looks.clear()
        for _ in range(2):
            for number, key in enumerate(keys):
                world.site.set_comment(
                    world.status(key)["attempts"][0]["jobId"],
                    f'{{"v":1,"s":{number + 1},"n":1000,"t":{int(world.loop.time())}}}',
                )
            await asyncio.sleep(120)
        apart = [after - at for each in read.values() for at, after in itertools.pairwise(each)]
        assert len(read) == JOBS
        assert 60 <= min(apart) <= max(apart) <= 70, "once a progress period, at the look after its end"
        assert 3 * JOBS <= len(times) <= 4 * JOBS
        assert most_in_a_second(times) <= RATE * BURST_SECONDS + RATE + PIECE
        assert max(looks) < 8
        assert all(world.status(key)["progress"]["step"] == number + 1 for number, key in enumerate(keys))

    told(story, LONG, profile="meluxina-gpu", period="30s", commentPeriod="60s", callsPerHour=1_000_000)


def test_after_a_restart_what_runs_is_read_at_a_pace_and_what_waits_is_found_at_once(
    times: list[float], looks: list[float]
) -> None:
    async def story(world: World) -> None:
        await crowd(world)
        world.site.fates = lambda _: Fate(queued=1_000_000)
        waiting = [world.api.create(f"waits-{number}", timeLimit="30h") for number in range(200)]
        await world.until(lambda: all(world.status(key).get("attempts") for key in waiting), 60)
        await asyncio.sleep(120)
        await world.end_operator()
        times.clear()
        looks.clear()
        await world.start_operator()
        await asyncio.sleep(10)
        assert world.service.watch is not None
        assert world.service.watch.live_jobs >= len(waiting) + RATE * BURST_SECONDS
        late = world.api.create("late", timeLimit="1h")
        await world.until(lambda: world.condition(late, "Submitted")[0] == "True", 12)
        await world.until(lambda: world.service.watch is not None and world.service.watch.looked_for == 0, 30)

        assert len(times) < 1.1 * JOBS, "each once"
        assert most_in_a_second(times) <= RATE * BURST_SECONDS + RATE + PIECE
        assert max(looks) < 8

    told(story, LONG, profile="meluxina-gpu", period="30s", progressPeriod="1000s", callsPerHour=1_000_000)


def test_while_a_crowd_s_news_are_read_others_are_looked_up(times: list[float], looks: list[float]) -> None:
    async def story(world: World) -> None:
        start = world.loop.time() + 300
        world.site.fates = lambda _: Fate(queued=start - world.loop.time(), running=100_000)
        keys = [world.api.create(f"j{number}", timeLimit="30h") for number in range(2 * JOBS)]
        await asyncio.sleep(298)
        times.clear()
        looks.clear()
        await world.until(lambda: len(times) > 200, 60)
        late = world.api.create("late", timeLimit="1h")
        await world.until(lambda: world.condition(late, "Submitted")[0] == "True", 15)
        assert not all(running(world, key)() for key in keys), "and the others go on"
        await world.until(lambda: all(running(world, key)() for key in keys), 60)

        assert most_in_a_second(times) <= RATE * BURST_SECONDS + RATE + PIECE
        assert times[2 * JOBS - 1] - times[0] <= 2 * JOBS / RATE + 8, "it is no slower than need be"
        assert max(looks) < 8

    told(story, LONG, profile="meluxina-gpu", period="30s", progressPeriod="1000s", callsPerHour=1_000_000)


def test_what_is_no_longer_known_is_not_waited_for(times: list[float]) -> None:
    async def story(world: World) -> None:
        await crowd(world)
        looks = world.service.watch._looks if world.service.watch is not None else None
        assert looks is not None
        looks._news = ["of another life"]
        assert looks.behind
        await looks.go_on(30)
        assert not looks.behind
        assert times

    told(story, LONG, profile="meluxina-gpu", period="30s", callsPerHour=1_000_000)

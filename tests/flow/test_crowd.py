"""Many TrainingJobs at once: what is held in memory, how many calls it takes, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from little_world import KubeClient, World
from passerelle.gateways.memory import Fate, Memory, Shape
from passerelle.objects import Key, TrainingJob
from passerelle.reconcile import Reconciler
from passerelle.slurm import RemoteJob
from passerelle.work import WorkQueue
from stories import running, told

CROWD = 60


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches, 40 KB each, were in memory at the beginning of each pass."""
    found: list[int] = []
    one_pass = Reconciler._pass

    async def counted(self: Reconciler, job: TrainingJob) -> float | None:
        found.append(sum(each.batch is not None for each in self._memory.values()))
        return await one_pass(self, job)

    monkeypatch.setattr(Reconciler, "_pass", counted)
    return found


def accepted(world: World) -> int:
    return sum("jobId" in each for body in world.api.objects.values() for each in body["status"].get("attempts", []))


def test_what_has_an_intent_is_submitted_before_there_are_more_intents(batches: list[int]) -> None:
    async def story(world: World) -> None:
        for number in range(CROWD):
            world.api.create(f"job-{number}")
        await asyncio.sleep(5)
        assert accepted(world) == CROWD

    told(story, Fate(queued=1_000))
    assert max(batches) <= 16  # the queue's workers


def test_a_site_s_queue_has_a_lane_for_each_namespace() -> None:
    async def story(world: World) -> None:
        waits = [Key("team-a", "1"), Key("team-a", "2"), Key("team-b", "1")]
        for key in waits:
            world.service.queue.add(key)
        assert [world.service.queue._next() for _ in waits] == [waits[0], waits[2], waits[1]]
        world.service.queue._queued.clear()

    told(story)


def test_what_was_never_there_is_no_news_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a crowd of new TrainingJobs that were looked up is not worked on before a job that ended."""
    first: dict[str, list[bool]] = {}
    add = WorkQueue.add

    def noted(self: WorkQueue[Key], key: Key, **named: bool) -> None:
        first.setdefault(key.name, []).append(named.get("first", False))
        add(self, key, **named)

    monkeypatch.setattr(WorkQueue, "add", noted)

    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))

    told(story)
    assert first["a"] == [False, False, False, True]  # created, looked up, waits in Slurm's queue; has started


def test_no_batch_waits_in_memory_where_the_site_refuses_them_all(batches: list[int]) -> None:
    async def story(world: World) -> None:
        world.site.shape = Shape(max_jobs=0)
        for number in range(CROWD):
            world.api.create(f"job-{number}")
        await asyncio.sleep(20)
        batches.clear()
        await asyncio.sleep(100)
        assert accepted(world) == 0
        assert batches

    told(story)
    assert max(batches) == 0


def test_a_look_asks_for_so_many_runs_and_the_rest_waits_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("passerelle.lookups.LOOK_UPS_PER_LOOK", 10)

    async def story(world: World) -> None:
        await asyncio.sleep(2)
        world.site.calls.clear()
        for number in range(CROWD):
            world.api.create(f"job-{number}")
        await asyncio.sleep(5)
        assert accepted(world) == CROWD
        assert world.site.calls.count("accounted") == CROWD / 10

    told(story, Fate(queued=1_000))


def test_of_a_crowd_that_changed_the_first_are_told_while_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("passerelle.records.LARGEST_PIECE", 8)
    running: list[int] = []
    get = Memory.get

    async def told_by_now(self: Memory, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        await asyncio.sleep(0.1)
        running.append(sum(condition(body, "Running") == "True" for body in world_of[0].api.objects.values()))
        return await get(self, job_ids)

    world_of: list[World] = []

    async def story(world: World) -> None:
        world_of.append(world)
        for number in range(20):
            world.api.create(f"job-{number}")
        await asyncio.sleep(20)
        monkeypatch.setattr(Memory, "get", told_by_now)
        await asyncio.sleep(5)

    told(story, Fate(queued=21, running=1_000))
    assert [each for each in running if each][:2] == [8, 16]


def condition(body: dict[str, Any], kind: str) -> str:
    return next((each["status"] for each in body["status"].get("conditions", []) if each["type"] == kind), "")


def test_that_a_job_was_accepted_is_an_event_unless_a_crowd_s_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    write = KubeClient.event

    async def slow(self: KubeClient, **facts: Any) -> None:
        await asyncio.sleep(0.02)
        await write(self, **facts)

    monkeypatch.setattr(KubeClient, "event", slow)

    async def story(world: World) -> None:
        for number in range(300):
            world.api.create(f"job-{number}")
        await asyncio.sleep(60)
        reasons = Counter(reason for _, reason, _ in world.api.events)
        assert reasons["Submitted"] == 300
        assert 0 < reasons["Planned"] < 200

    told(story, Fate(queued=1_000))


def test_a_site_that_takes_no_more_jobs_hears_from_a_few_and_is_filled_when_it_does() -> None:
    async def story(world: World) -> None:
        world.site.shape = Shape(max_jobs=20)
        keys = [world.api.create(f"job-{number:03}") for number in range(200)]
        await asyncio.sleep(100)
        assert accepted(world) == 20
        submits = world.site.calls.count("submit")
        assert submits <= 20 + 16 * 3, "as many as there are workers are refused, and try again"
        held = [world.condition(key, "Submitted") for key in keys if not world.status(key)["attempts"]]
        assert len(held) >= 200 - 20 - 16
        assert set(held) == {("False", "TooManyJobs")}

        world.site.shape = Shape()
        await asyncio.sleep(300)
        assert accepted(world) == 200
        assert world.site.calls.count("submit") <= submits + 200

    told(story, Fate(queued=10_000))


def test_where_a_job_of_ours_ends_the_oldest_that_waits_tries_at_once() -> None:
    async def story(world: World) -> None:
        world.site.shape = Shape(max_jobs=20)
        keys = [world.api.create(f"job-{number:03}") for number in range(100)]
        await asyncio.sleep(600)  # their back-offs have grown
        for _ in range(10):
            live = next(job.job_id for job in world.site.snapshot() if job.state.base == "PENDING")
            await world.site.cancel(live)
            await asyncio.sleep(5)
        waited = [key for key in keys if not world.status(key)["attempts"]]

        assert accepted(world) >= 20 + 8
        assert len(waited) <= 100 - 20 - 16 - 8 + 2

    told(story, Fate(queued=10_000))


@pytest.mark.parametrize("comment,most", [('{"v": 1, "s": 5}', 0), ("", 5)], ids=["heard", "silent"])
def test_a_job_that_runs_and_is_heard_of_needs_no_pass_of_its_own(comment: str, most: int, batches: list[int]) -> None:
    """Of ten thousand that run, passes in which nothing is new would take a tenth of a core."""

    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        await asyncio.sleep(150)
        batches.clear()
        await asyncio.sleep(350)
        assert (len(batches) > 0) is (most > 0)
        assert len(batches) <= most

    told(story, Fate(queued=1, running=2_000, comment=comment))

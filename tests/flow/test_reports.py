"""Runs at a site whose gateway tells no comment and has files: status, chains and ends live on what lies there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import virtual_time
from flow.test_chain import CHAIN, FAILED, LIMIT_SECONDS, fates, message, reasons, stopped, timed_out
from little_world import AccountedDoor, Door, World
from passerelle.errors import Unavailable
from passerelle.gateways.memory import Fate
from passerelle.gateways.memory_files import File
from passerelle.marker import Run
from passerelle.objects import Key
from passerelle.reports import READS_PER_LOOK
from passerelle.slurm import RemoteJob
from stories import finished, running

BROKEN: list[Exception] = []
"""How every read of a file ends, while there is one."""


class Mute(AccountedDoor):
    """Tells no comment, and has files."""

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        return _mute(await super().get(job_ids))

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        return _mute(await super().find(ended_of))

    async def accounted(
        self, *, names: Collection[str] = (), job_ids: Collection[str] = (), **how: float
    ) -> Sequence[RemoteJob]:
        return _mute(await super().accounted(names=names, job_ids=job_ids, **how))

    async def size(self, path: str) -> int | None:
        return await self.site.size(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        if BROKEN:
            raise BROKEN[0]
        return await self.site.read(path, offset, length)


def _mute(jobs: Sequence[RemoteJob]) -> list[RemoteJob]:
    return [replace(job, comment="") for job in jobs]


def told(story: Callable[[World], Awaitable[None]], door: type[Door] = Mute) -> None:
    async def main() -> None:
        BROKEN.clear()
        world = World()
        world.door = door
        await world.start_operator()
        try:
            await story(world)
        finally:
            await world.end_operator()

    virtual_time.run(main())


def write(world: World, run: Run, attempt: int, job_id: str, told: dict[str, Any]) -> None:
    """What the relay or the epilogue of this job leaves."""
    content = json.dumps({"jobId": job_id, "restartCount": 0, "record": told}).encode()
    world.site.files[f"/scratch/passerelle/{run.key}/report-{attempt}.json"] = File(content)


def reporting(world: World, key: Key, *each: Fate) -> None:
    """These are the attempts' fates, and each one's comment stands in its report file instead."""
    run, given = world.run_of(key), fates(*each)

    def fate(batch: Any) -> Fate:
        found = given(batch)
        attempt = int(batch.options.name.rpartition("-")[2])
        if found.comment:
            write(world, run, attempt, str(world.site.first_job_id + attempt - 1), json.loads(found.comment))
        return found

    world.site.fates = fate


def test_the_progress_of_a_running_job_comes_from_its_report_file() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500)
        key = world.api.create("a")
        await world.until(running(world, key))
        write(world, world.run_of(key), 1, "1000", {"v": 1, "t": 1, "s": 7, "n": 70, "m": {"loss": 0.5}})
        await world.until(lambda: "progress" in world.status(key), 40)
        progress = world.status(key)["progress"]
        assert (progress["step"], progress["percentage"], progress["metrics"]) == (
            7,
            10,
            [{"name": "loss", "value": "0.5"}],
        )
        assert world.condition(key, "ProgressAvailable") == ("", "")

    told(story)


def test_a_failing_rank_is_named_as_by_a_comment() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        end = {"code": 3, "signal": None, "rank": 2, "err": "KeyError"}
        reporting(world, key, replace(FAILED, comment=json.dumps({"v": 1, "s": 4, "end": end})))
        await world.until(finished(world, key))

        assert "rank 2 exited with code 3" in message(world, key)
        assert "KeyError" in message(world, key)
        assert world.status(key)["attempts"][0]["exit"] == {"code": 3, "rank": 2}

    told(story)


def test_a_chain_counts_the_steps_of_report_files() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", **CHAIN)
        reporting(world, key, timed_out(1, 40), stopped(41, 80), stopped(1, 80))
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        assert world.condition(key, "Succeeded") == ("False", "NoProgress")
        assert [each["lastStep"] for each in world.status(key)["attempts"]] == [40, 80, 80]
        assert reasons(world, key) == ["TimeLimit", "Stopped", "Stopped"]

    told(story)


def test_an_end_that_came_while_the_operator_was_away_is_explained_all_the_same() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        end = {"code": 3, "signal": None, "rank": 2, "err": "KeyError"}
        reporting(world, key, replace(FAILED, comment=json.dumps({"v": 1, "s": 4, "end": end})))
        await world.until(running(world, key))
        await world.end_operator()
        await asyncio.sleep(100)
        world.site.purge()  # accounting alone knows it
        await world.start_operator()
        await world.until(finished(world, key))

        assert "rank 2 exited with code 3" in message(world, key)

    told(story)


def test_files_that_can_not_be_read_hide_no_end_and_stop_no_look() -> None:
    async def story(world: World) -> None:
        BROKEN.append(Unavailable("The files are away.", reason="FileFailed"))
        world.site.fates = lambda _: replace(FAILED, running=20)
        key = world.api.create("a")
        other = world.api.create("b")
        await world.until(lambda: world.condition(key, "Running")[1] == "Ending")
        assert world.service.trouble is None, "the site answers"
        await world.until(finished(world, key), 90)
        await world.until(finished(world, other), 10)

        assert "Its report could not be read: The files are away." in message(world, key)

    told(story)


def test_a_chain_waits_for_the_report_that_it_goes_on_from() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", **CHAIN)
        reporting(world, key, stopped(1, 40), stopped(41, 80), Fate(queued=1, running=20))
        await world.until(lambda: len(world.site.snapshot()) == 2 and world.states()[1] == "RUNNING", 3 * LIMIT_SECONDS)
        BROKEN.append(Unavailable("The files are away.", reason="FileFailed"))
        await world.until(lambda: world.condition(key, "Running")[1] == "Ending", 2 * LIMIT_SECONDS)
        await asyncio.sleep(30)
        assert len(world.site.snapshot()) == 2, "nothing is concluded meanwhile"
        BROKEN.clear()
        await world.until(finished(world, key), 2 * LIMIT_SECONDS)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert [each.get("lastStep") for each in world.status(key)["attempts"]] == [40, 80, None]

    told(story)


def test_a_job_that_is_never_heard_of_says_where_its_report_was_looked_for() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500)
        key = world.api.create("a")
        await world.until(lambda: world.condition(key, "ProgressAvailable") == ("False", "ReportMissing"), 300)
        conditions = {each["type"]: each["message"] for each in world.status(key)["conditions"]}

        assert f"/scratch/passerelle/{world.run_of(key).key}/report-1.json" in conditions["ProgressAvailable"]

    told(story)


def test_the_report_of_a_run_whose_status_was_emptied_is_found() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500)
        key = world.api.create("a")
        await world.until(running(world, key))
        world.api.empty_status(key)
        write(world, world.run_of(key), 1, "1000", {"v": 1, "t": 1, "s": 7})
        await world.until(lambda: world.status(key).get("progress", {}).get("step") == 7, 40)

    told(story)


def test_no_name_in_a_report_file_stops_the_looks_at_its_site() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=300)
        forger, other = world.api.create("a"), world.api.create("b")
        for key in (forger, other):
            await world.until(running(world, key))
        one, two = (world.status(key)["attempts"][0]["jobId"] for key in (forger, other))
        write(world, world.run_of(forger), 1, one, {"v": 1, "t": 1, "m": {"\ud800": 1}})
        await asyncio.sleep(60)
        write(world, world.run_of(other), 1, two, {"v": 1, "t": 1, "s": 7})

        await world.until(lambda: world.status(other).get("progress", {}).get("step") == 7, 60)
        assert world.service.trouble is None
        await world.until(finished(world, forger))

    told(story)


def test_of_many_jobs_that_run_each_has_its_turn() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=5_000)
        keys = [world.api.create(f"j{number}") for number in range(READS_PER_LOOK + 8)]
        for key in keys:
            await world.until(running(world, key))
        for key in keys:
            job_id = world.status(key)["attempts"][0]["jobId"]
            write(world, world.run_of(key), 1, job_id, {"v": 1, "t": 1, "s": 7})

        await world.until(lambda: all("progress" in world.status(key) for key in keys), 120)

    told(story)


class Stale(AccountedDoor):
    """Its jobs' comments stand still, and it has files."""

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        return [replace(job, comment='{"v": 1, "t": 10, "s": 5}') for job in await super().get(job_ids)]

    async def size(self, path: str) -> int | None:
        return await self.site.size(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        return await self.site.read(path, offset, length)


def test_progress_goes_on_in_the_file_where_the_comment_stands_still_and_never_back() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500)
        key = world.api.create("a")
        await world.until(lambda: world.status(key).get("progress", {}).get("step") == 5, 60)
        write(world, world.run_of(key), 1, "1000", {"v": 1, "t": 99, "s": 50})
        await world.until(lambda: world.status(key)["progress"]["step"] == 50, 100)
        seen = set()
        for _ in range(100):
            await asyncio.sleep(1)
            seen.add(world.status(key)["progress"]["step"])

        assert seen == {50}

    told(story, Stale)


class Forgetful(Door):
    """Has files, and no accounting."""

    async def size(self, path: str) -> int | None:
        return await self.site.size(path)

    read = Mute.read


def test_an_end_that_waits_for_its_report_outlives_the_sites_memory_of_the_job() -> None:
    async def story(world: World) -> None:
        BROKEN.append(Unavailable("The files are away.", reason="FileFailed"))
        world.site.fates = lambda _: replace(FAILED, running=20)
        key = world.api.create("a")
        await world.until(lambda: world.condition(key, "Running")[1] == "Ending")
        world.site.forget(world.status(key)["attempts"][0]["jobId"])
        await world.until(finished(world, key), 200)

        assert world.condition(key, "Succeeded") == ("False", "Failed")
        assert "Its report could not be read: The files are away." in message(world, key)

    told(story, Forgetful)

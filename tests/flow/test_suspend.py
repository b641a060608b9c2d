"""Suspending a running job: what has checkpoints may save first, within its grace. In memory and virtual time."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

import virtual_time
from little_world import AccountedDoor, Points, World
from passerelle.actions import Cancel, Rest
from passerelle.acts import STOP_SECONDS
from passerelle.errors import Deferred, PasserelleError, Rejected, Unavailable
from passerelle.gateways.memory import Fate
from passerelle.objects import Key
from passerelle.passes import Memory
from stories import Story, finished, running, told

GRACE = 60
"""Seconds, as in CHAIN."""
CHAIN = {"checkpoint": {"grace": "1m"}, "retry": {"maxAttempts": 2}}


async def suspended(world: World, key: Key) -> None:
    await world.until(running(world, key), 120)
    world.api.edit(key, suspend=True)


def ended(world: World) -> bool:
    return all(job.state.ending is not None for job in world.site.snapshot())


def test_a_trainer_that_saves_within_its_grace_is_not_cancelled() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=400, stops_after=40)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(20)

        assert world.condition(key, "Running") == ("True", "Stopping")
        assert (world.status(key)["summary"], world.status(key)["reason"]) == ("Suspended", "Stopping")
        await world.until(lambda: ended(world), 60)
        await asyncio.sleep(60)
        assert (world.status(key)["summary"], world.status(key)["reason"]) == ("Suspended", "")
        assert "cancel" not in world.site.calls
        assert [signal for _, signal in world.site.signals] == ["USR1"]
        assert world.condition(key, "Submitted") == ("False", "Suspended")
        assert world.states() == ["FAILED"]

        world.site.fates = lambda _: Fate(queued=1, running=20)
        world.api.edit(key, suspend=False)
        await world.until(finished(world, key), 120)
        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert [each["reason"] for each in world.status(key)["attempts"]] == ["Suspended", "Completed"]
        assert world.status(key)["attemptsSuspended"] == 1

    told(story)


def test_a_trainer_that_goes_on_is_cancelled_after_its_grace() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(GRACE)
        assert not ended(world)
        assert world.site.calls.count("warn") >= 2, "what did not arrive is sent again"

        await world.until(lambda: ended(world), STOP_SECONDS + LOOKS)

        assert world.states() == ["CANCELLED"]
        await asyncio.sleep(5)
        assert world.condition(key, "Submitted") == ("False", "Suspended")

    told(story)


@pytest.mark.parametrize("spec", [{}, CHAIN], ids=["no checkpoint", "no way to warn"])
def test_what_can_not_save_is_cancelled_at_once(spec: dict[str, object]) -> None:
    async def story(world: World) -> None:
        world.site.faults.signals_refused = bool(spec)
        world.site.fates = lambda _: Fate(queued=1, running=500, stops_after=1)
        key = world.api.create("a", **spec)
        await suspended(world, key)
        await world.until(lambda: ended(world), 10)

        assert world.states() == ["CANCELLED"]
        assert world.site.signals == []

    told(story)


class Writing(AccountedDoor):
    """A door that signals no batch script and writes files, before jobs that look for a stop request."""

    async def size(self, path: str) -> int | None:
        return await self.site.size(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        return await self.site.read(path, offset, length)

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        if TROUBLE:
            raise TROUBLE[0]
        await self._step("before write")
        await self.site.write(path, content, mode=mode)
        asyncio.get_running_loop().call_later(LOOKS, self._seen)
        await self._step("after write")

    async def make_directory(self, path: str) -> None:
        raise AssertionError(path)

    def _seen(self) -> None:
        """The jobs have looked: to them it is what Slurm's signal would have been."""
        for job in self.site._jobs.values():
            job.warned = job.warned or self.site.clock()


LOOKS = 30
"""Seconds between two looks of a job for a stop request."""
TROUBLE: list[PasserelleError] = []
"""How every write ends, while there is one."""


def written(story: Story) -> None:
    async def main() -> None:
        TROUBLE.clear()
        world = World()
        world.door = Writing
        world.site.faults.signals_refused = True
        await world.start_operator()
        try:
            await story(world)
        finally:
            await world.end_operator()

    virtual_time.run(main())


def test_a_trainer_that_no_signal_reaches_is_asked_by_a_file_in_its_run_directory() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=400, stops_after=GRACE)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await world.until(lambda: ended(world), LOOKS + GRACE + 10)
        await asyncio.sleep(60)

        assert "cancel" not in world.site.calls, "it had its whole grace after it had seen the request"
        assert list(world.site.files) == [f"/scratch/passerelle/{world.run_of(key).key}/stop-1"]
        assert world.condition(key, "Submitted") == ("False", "Suspended")

        world.site.fates = lambda _: Fate(queued=1, running=20)
        world.api.edit(key, suspend=False)
        await world.until(finished(world, key), 120)
        assert world.states() == ["FAILED", "COMPLETED"]

    written(story)


def test_where_no_request_can_be_left_the_job_is_cancelled_at_once() -> None:
    async def story(world: World) -> None:
        TROUBLE.append(Rejected("No room."))
        world.site.fates = lambda _: Fate(queued=1, running=500, stops_after=1)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await world.until(lambda: ended(world), 10)

        assert world.states() == ["CANCELLED"]

    written(story)


@pytest.mark.parametrize(
    "trouble",
    [Unavailable("The files are away."), Rejected("Its disk or quota may be full.", transient=True)],
    ids=["files are away", "disk is full"],
)
def test_a_request_that_did_not_arrive_is_left_again(trouble: PasserelleError) -> None:
    async def story(world: World) -> None:
        TROUBLE.append(trouble)
        world.site.fates = lambda _: Fate(queued=1, running=500, stops_after=1)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(20)
        assert world.states() == ["RUNNING"]
        TROUBLE.clear()
        await world.until(lambda: ended(world), LOOKS + 10)

        assert world.states() == ["FAILED"]

    written(story)


def test_a_grace_begins_when_the_site_may_be_asked() -> None:
    async def story(world: World) -> None:
        TROUBLE.append(Deferred("The site is spared.", retry_after=30))
        world.site.fates = lambda _: Fate(queued=1, running=500, stops_after=1)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(GRACE + STOP_SECONDS + 60)
        assert world.states() == ["RUNNING"]
        TROUBLE.clear()
        await world.until(lambda: ended(world), 30 + LOOKS + 10)

        assert world.states() == ["FAILED"], "it has saved"

    written(story)


def test_a_waiting_job_is_cancelled_at_once() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=5_000)
        key = world.api.create("a", **CHAIN)
        await world.until(lambda: bool(world.site.snapshot()), 60)
        world.api.edit(key, suspend=True)
        await world.until(lambda: ended(world), 20)

        assert world.states() == ["CANCELLED"]
        assert world.site.signals == []

    told(story)


def test_a_grace_is_not_begun_anew_by_an_operator_that_takes_over() -> None:
    async def main() -> None:
        world = World()
        world.site.fates = lambda _: Fate(queued=1, running=500)
        await world.start_operator()
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(50)
        await world.end_operator()
        await asyncio.sleep(20)
        await world.start_operator()
        await world.until(lambda: ended(world), 60)
        await world.end_operator()

        assert world.states() == ["CANCELLED"]

    virtual_time.run(main())


def test_what_is_deleted_is_not_waited_for() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(5)
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 30)

        assert world.states() == ["CANCELLED"]

    told(story)


def test_a_run_that_is_resumed_within_its_grace_goes_on_in_another_attempt() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=400, stops_after=40)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(5)
        world.site.fates = lambda _: Fate(queued=1, running=20)
        world.api.edit(key, suspend=False)
        await world.until(finished(world, key), 200)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.states() == ["FAILED", "COMPLETED"]

    told(story)


def test_whoever_ends_a_resumed_attempt_later_is_somebody_else() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(5)
        assert world.status(key)["attempts"][0]["suspended"]
        world.api.edit(key, suspend=False)
        await asyncio.sleep(100)
        assert not world.status(key)["attempts"][0]["suspended"]
        await world.site.cancel("1000")
        await world.until(finished(world, key), 60)

        assert world.condition(key, "Succeeded") == ("False", "Cancelled")
        assert world.states() == ["CANCELLED"]

    told(story)


def test_a_resumed_attempt_that_stops_late_for_what_it_was_told_is_not_counted() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500, stops_after=200)
        key = world.api.create("a", checkpoint={"grace": "4m"})
        await suspended(world, key)
        await asyncio.sleep(5)
        world.site.fates = lambda _: Fate(queued=1, running=20)
        world.api.edit(key, suspend=False)
        await world.until(finished(world, key), 400)

        assert world.states() == ["FAILED", "COMPLETED"]
        assert [each["reason"] for each in world.status(key)["attempts"]] == ["Suspended", "Completed"]
        assert world.status(key)["attemptsSuspended"] == 1

    told(story)


def test_who_is_suspended_again_has_its_whole_grace_again() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=1, running=500)
        key = world.api.create("a", **CHAIN)
        await suspended(world, key)
        await asyncio.sleep(5)
        world.api.edit(key, suspend=False)
        await asyncio.sleep(130)
        world.api.edit(key, suspend=True)
        await asyncio.sleep(GRACE)

        assert world.states() == ["RUNNING"]

    told(story)


def test_a_cancel_that_may_be_on_its_way_is_still_ours() -> None:
    memory, attempt = Memory(), Mock(suspended=True)

    assert not memory.lives_on(Rest("Active"), attempt, "1", seen_at=1000.0, now=1000.0)
    assert not memory.lives_on(Rest("Active"), attempt, "1", seen_at=1000.0, now=1100.0), "nobody has seen it since"
    assert memory.lives_on(Rest("Active"), attempt, "1", seen_at=1060.0, now=1100.0)
    memory.cancelled["1"] = 1030.0
    assert not memory.lives_on(Rest("Active"), attempt, "1", seen_at=1060.0, now=1100.0)
    assert not memory.lives_on(Cancel("Suspended"), attempt, "1", seen_at=1200.0, now=1200.0)
    assert not memory.lives_on(Rest("Active"), attempt, "1", seen_at=1300.0, now=1300.0), "it was resumed anew"


def _dies_at(kill_at: int) -> Points:
    points = Points(kill_at)

    async def main() -> None:
        world = World(period="5s")  # looks are what a life costs; all that befalls a job lasts longer
        world.site.fates = lambda _: Fate(queued=6, running=400, stops_after=30)
        await world.start_operator(points)
        key = world.api.create("a", **CHAIN)
        await asyncio.sleep(12)
        world.api.edit(key, suspend=True)
        await asyncio.sleep(20)
        await world.end_operator()
        await world.start_operator()
        await asyncio.sleep(120)
        assert ended(world)
        world.site.fates = lambda _: Fate(queued=6, running=20)
        world.api.edit(key, suspend=False)
        await world.until(finished(world, key), 200)
        await world.end_operator()

        names = [job.name for job in world.site.snapshot()]
        assert len(names) == len(set(names))
        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.states()[-1] == "COMPLETED"
        assert set(world.states()[:-1]) <= {"FAILED", "CANCELLED"}

    virtual_time.run(main())
    return points


def test_an_operator_that_dies_at_any_call_of_a_suspension_loses_nothing() -> None:
    whole = _dies_at(10_000)
    assert "before warn" in whole.names
    for kill_at in range(len(whole.names)):
        assert _dies_at(kill_at).dead, f"point {kill_at} was never reached"

"""Attempts that site and status have forgotten, and the run directory has not."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from little_world import CarryingDoor, World
from passerelle import claims
from passerelle.errors import PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Entry
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.marker import Run
from passerelle.objects import Key
from passerelle.onsite import claim, places
from passerelle.slurm import RemoteJob
from stories import finished, running, told

LOST = ("Unknown", "OutcomeLost")
WEEK = 7 * 86_400


class FilesAlone(CarryingDoor):
    """Some gateways list no directory."""

    entries = rename = remove = append = digest = None  # type: ignore[assignment]  # so it is no Transfer


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounting reaches back a week."""
    real = Memory.accounted

    async def accounted(
        self: Memory, *, names: Collection[str] = (), job_ids: Collection[str] = (), **how: float
    ) -> Sequence[RemoteJob]:
        rows = await real(self, names=names, job_ids=job_ids)
        return [row for row in rows if row.end_time is None or self.clock() - row.end_time < WEEK]

    monkeypatch.setattr(Memory, "accounted", accounted)


def left(world: World, run: Run, attempt: int) -> None:
    """What an attempt leaves in its run directory."""
    directory = f"/scratch/passerelle/{run.key}"
    world.site.files[claims.owner(directory, attempt)] = File(b"{}")
    world.site.files[places.report(directory, attempt)] = File(b"{}")


async def forgotten(world: World, key: Key) -> None:
    await world.end_operator()
    await asyncio.sleep(8 * 86_400)
    world.api.empty_status(key)
    await world.start_operator()


def run_of_id(key: Key) -> Run:
    return Run.of_run_id(key.namespace, key.name, "r")


def test_a_claim_is_where_the_batch_script_takes_it(tmp_path: Path) -> None:
    me: claim.Owner = {"cluster": "c", "jobId": "1", "restartCount": 0, "submitTime": "now"}
    claim.take(str(tmp_path), 3, me)
    assert Path(claims.owner(str(tmp_path), 3)).exists()


@pytest.mark.parametrize("door", [CarryingDoor, FilesAlone])
def test_a_run_that_all_but_its_claims_have_forgotten_is_not_trained_again(door: type[CarryingDoor]) -> None:
    async def story(world: World) -> None:
        world.door = door
        await world.end_operator()
        await world.start_operator()
        key = world.api.create("a")
        await world.until(finished(world, key))
        for attempt in (1, 3):  # the second one was cancelled before it began
            left(world, world.run_of(key), attempt)
        await forgotten(world, key)
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == LOST
        assert [(each["number"], each["reason"]) for each in world.status(key)["attempts"]] == [(3, "OutcomeLost")]
        assert len(world.states()) == 1
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "now"})
        await world.until(running(world, key))
        assert [each["number"] for each in world.status(key)["attempts"]] == [3, 4]

    told(story, files=True)


def test_a_run_id_in_a_rebuilt_cluster_finds_the_claims_of_before() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", runId="r")
        await world.until(finished(world, key))
        left(world, run_of_id(key), 1)
        await world.end_operator()
        del world.api.objects[key]
        await asyncio.sleep(8 * 86_400)
        await world.start_operator()
        key = world.api.create("a", runId="r")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == LOST
        assert len(world.states()) == 1

    told(story, files=True)


def test_where_no_claim_is_left_the_first_attempt_is_made() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", runId="r")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.site.calls.count("entries") == 1

    told(story, files=True)


def test_a_new_trainingjob_costs_no_look_at_files() -> None:
    async def story(world: World) -> None:
        await world.until(finished(world, world.api.create("a")))
        assert not {"entries", "size"} & set(world.site.calls)

    told(story, files=True)


def test_a_trainingjob_that_waited_long_is_looked_for_too() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", suspend=True)  # and its finalizer is lost with a backup
        left(world, world.run_of(key), 1)
        await asyncio.sleep(2 * 3600)
        world.api.edit(key, suspend=False)
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == LOST
        assert world.states() == []

    told(story, files=True)


@pytest.mark.parametrize("error", [Unavailable("No answer.", reason="Unreachable"), Unauthorized("No.", reason="No")])
def test_while_the_files_can_t_be_reached_nothing_is_submitted(
    error: PasserelleError, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: CarryingDoor, __: str) -> Sequence[Entry] | None:
        raise error.with_traceback(None)

    async def story(world: World) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(CarryingDoor, "entries", away)
            key = world.api.create("a", runId="r")
            await asyncio.sleep(60)
            assert world.condition(key, "Submitted") == ("False", error.reason)
            assert world.states() == []
        await world.until(finished(world, key))

    told(story, files=True)


def test_files_that_the_site_does_not_show_stop_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed(_: CarryingDoor, __: str) -> Sequence[Entry] | None:
        raise Rejected("Permission denied.", reason="NotRead")

    async def story(world: World) -> None:
        monkeypatch.setattr(CarryingDoor, "entries", closed)
        await world.until(finished(world, world.api.create("a", runId="r")))

    told(story, files=True)

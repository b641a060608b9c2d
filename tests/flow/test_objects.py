"""What becomes of TrainingJobs: unseen deletions, names used again, releases that go back, writes that are refused."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection, Sequence
from unittest.mock import Mock

import pytest
from kubernetes.aio.client.exceptions import ApiException

from little_world import World, copied
from passerelle.errors import Unavailable
from passerelle.gateways.memory import Fate, Memory
from passerelle.objects import Key
from passerelle.onsite.codes import DUPLICATE
from passerelle.slurm import RemoteJob
from stories import finished, made_of, running, told

FILES = [{"configMap": "code", "path": "/workspace"}]


def test_a_deletion_during_a_look_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    accounted = Memory.accounted

    async def slow(
        self: Memory, *, names: Collection[str] = (), job_ids: Collection[str] = (), within: float
    ) -> Sequence[RemoteJob]:
        await asyncio.sleep(2)
        return await accounted(self, names=names, job_ids=job_ids, within=within)

    async def story(world: World) -> None:
        await asyncio.sleep(3)
        monkeypatch.setattr(Memory, "accounted", slow)
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(1)
        assert world.site.calls[-1] == "probe", "its look-up is in hand"
        world.api.delete(key)
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert world.service.trouble is None

    told(story)


def test_a_late_word_of_a_deletion_spares_the_next_of_that_name() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(3)
        (observe,) = world.api.watchers
        with world.api.unwatched():
            old = copy.deepcopy(world.api.objects[key])
            world.api.delete(key)
            world.api.create("a")
        observe(copy.deepcopy(world.api.objects[key]), False)
        observe(old, True)
        await world.until(finished(world, key))

        assert world.states() == ["COMPLETED"]

    told(story)


def test_an_unseen_deletion_leaves_nothing_that_a_later_outage_trips_over() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(3)
        with world.api.unwatched():
            world.api.delete(key)
        world.api.create("a", suspend=True)
        await asyncio.sleep(5)
        world.api.delete(key)
        await asyncio.sleep(5)
        world.site.faults.gateway_down = True
        await asyncio.sleep(5)
        world.site.faults.gateway_down = False
        await asyncio.sleep(60)

        assert world.service.trouble is None
        await world.until(finished(world, world.api.create("b")), 60)

    told(story)


def test_who_is_missing_in_a_listing_is_looked_for() -> None:
    async def story(world: World) -> None:
        lost, kept, created = (world.api.create(name, files=FILES) for name in ("lost", "kept", "created"))
        await asyncio.sleep(3)
        with world.api.unwatched():
            world.api.delete(lost)
        for lister in world.api.listers:
            lister(copy.deepcopy(world.api.objects[kept]))
        await asyncio.sleep(60)
        world.api.calls.clear()
        await asyncio.sleep(300)

        passes = world.api.calls.count("config map")
        assert 2 * 9 <= passes <= 2 * 11, "two TrainingJobs wait for a ConfigMap, not three"
        assert world.condition(created, "Accepted") == ("False", "ConfigMapNotFound")
        assert "get" not in world.api.calls, "who is there is not doubted for ever"

    told(story)


def test_an_unseen_deletion_frees_its_place_under_max_jobs() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        with world.api.unwatched():
            world.api.objects[key]["metadata"]["finalizers"] = []  # somebody forced it
            world.api.delete(key)
        world.site.fates = lambda _: Fate(running=5)
        world.api.create("a")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story, Fate(queued=1, running=400), maxJobs=1)


def test_a_restored_etcd_is_believed_and_its_run_is_adopted_again() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        backup, version = copy.deepcopy(world.api.objects), world.api.version
        await world.until(running(world, key))
        world.api.restore(backup, version)
        assert "status" not in world.api.objects[key]
        await world.until(running(world, key), 30)

        assert world.states() == ["RUNNING"]

    told(story, Fate(running=2_000))


def test_of_a_restored_status_no_earlier_attempt_stays_open() -> None:
    """Else its site would be asked about it for ever, and could never be left alone."""

    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 2})
        await world.until(running(world, key))
        backup, version = copy.deepcopy(world.api.objects), world.api.version
        world.site.end(world.status(key)["attempts"][0]["jobId"], "NODE_FAIL")
        await world.until(lambda: running(world, key)() and len(world.status(key)["attempts"]) == 2)
        world.api.restore(backup, version)
        await world.until(finished(world, key))

        reasons = [(each["number"], each["reason"]) for each in world.status(key)["attempts"]]
        assert reasons == [(1, "NodeFailure"), (2, "Completed")]
        assert world.states() == ["NODE_FAIL", "COMPLETED"]
        world.site.faults.gateway_down = True
        await asyncio.sleep(5)
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 30)

    told(story, Fate(queued=1, running=60))


def test_an_emptied_status_beside_a_job_that_the_fence_turned_away_comes_to_an_end() -> None:
    """Whose the claim was, nobody knows any more: another job of the attempt is turned away, too."""

    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(lambda: world.states() == ["FAILED"])
        await world.end_operator()
        world.api.empty_status(key)
        await world.start_operator()
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        assert world.states() == ["FAILED", "FAILED"]

    told(story, Fate(queued=1, running=1, end="FAILED", exit_code=DUPLICATE))


def test_a_run_id_finds_its_job_again_although_accounting_lags_behind() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", runId="r1")
        await world.until(running(world, key))
        await world.end_operator()
        world.api.objects.clear()  # the cluster is lost, and made again from Git
        world.site.faults.accounting_lag = 500
        await world.start_operator()
        world.api.create("a", runId="r1")
        await world.until(running(world, key))

        assert world.states() == ["RUNNING"]

    told(story, Fate(running=2_000))


@pytest.mark.parametrize("run_id", [{}, {"runId": "r1"}], ids=["by uid", "by runId"])
def test_a_spec_of_a_newer_release_is_not_understood_and_its_job_cancelled_all_the_same(run_id: dict[str, str]) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", **run_id)
        await world.until(running(world, key))
        await world.end_operator()
        world.api.objects[key]["spec"]["launcher"] = "of a later release"
        await world.start_operator()
        await asyncio.sleep(60)
        assert world.states() == ["RUNNING"]
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"]

    told(story, Fate(running=20_000))


def test_a_waiting_reason_that_is_also_the_name_of_an_end_ends_nothing() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await asyncio.sleep(60)
        assert world.condition(key, "Running") == ("False", "TimeLimit")
        assert world.condition(key, "Finished")[0] == "False"
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"]

    told(story, Fate(queued=300, running=3_000, state_reason="TimeLimit"))


def test_a_failure_of_the_trainer_is_final_although_a_suspension_was_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def busy(self: Memory, job_id: str) -> None:
        raise Unavailable("Slurm is busy.", reason="CancelFailed")

    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 5})
        await world.until(running(world, key))
        with monkeypatch.context() as patched:
            patched.setattr(Memory, "cancel", busy)
            world.api.edit(key, suspend=True)
            await world.until(lambda: world.status(key)["attempts"][0].get("suspended") is True)
            world.api.edit(key, suspend=False)
            await asyncio.sleep(3)
        await world.until(finished(world, key))
        await asyncio.sleep(300)

        assert world.states() == ["FAILED"]
        assert world.condition(key, "Succeeded")[0] == "False"

    told(story, Fate(queued=1, running=60, end="FAILED", exit_code=1))


def test_suspensions_are_never_counted_however_long_ago() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 3})
        for _ in range(12):
            await _suspend_and_resume(world, key)
        world.site.fates = lambda _: Fate(running=5, end="NODE_FAIL", exit_code=1)
        await _suspend_and_resume(world, key)
        await world.until(finished(world, key))

        assert [attempt["reason"] for attempt in world.status(key)["attempts"][-4:]] == [
            "Suspended",
            *["NodeFailure"] * 3,
        ]
        assert world.states() == ["CANCELLED"] * 13 + ["NODE_FAIL"] * 3

    told(story, Fate(running=10_000))


async def _suspend_and_resume(world: World, key: Key) -> None:
    await world.until(running(world, key))
    world.api.edit(key, suspend=True)
    await world.until(lambda: world.status(key)["attempts"][-1]["reason"] == "Suspended")
    world.api.edit(key, suspend=False)
    await asyncio.sleep(3)


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_write_that_is_refused_is_tried_ever_later(status: int) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.api.trouble = await made_of(ApiException(status=status))
        world.api.calls.clear()
        await asyncio.sleep(600)
        assert 2 <= world.api.calls.count("before status patch") <= 15
        world.api.trouble = None
        await world.until(finished(world, key))

        assert world.states() == ["COMPLETED"]

    told(story)


def test_while_kube_apiserver_is_away_a_write_is_tried_every_second() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.api.trouble = await made_of(ApiException(status=503))
        await asyncio.sleep(60)
        assert world.condition(key, "Running")[0] == "True"
        world.api.trouble = None
        await world.until(finished(world, key), 5)

        assert world.states() == ["COMPLETED"]

    told(story)


def test_one_that_cannot_be_read_in_keeps_no_operator_from_starting(caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        await world.until(finished(world, key := world.api.create("a")))
        assert world.reconciler is not None
        body = copied(world.api.objects[key])
        body["metadata"] |= {"name": "b", "uid": "9b6f8c5e-0000-4000-8000-000000000000"}
        world.reconciler._witness = Mock(kept=Mock(side_effect=ValueError("offset must be less than a day")))
        world.reconciler.take_in(body)

        assert "not taken in" in caplog.text

    told(story)

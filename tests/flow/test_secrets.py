"""Secrets and large files in the loop as a whole: delivered before the submit, told to nobody, left nowhere."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
import os
import re
from typing import Any
from unittest.mock import AsyncMock

import pytest

from little_world import NAMESPACE, SECRET, KubeClient, Points, World
from passerelle.errors import Deferred, Invalid, Unavailable
from passerelle.gateways.memory import Fate, Memory
from passerelle.gateways.memory_files import File
from passerelle.leftovers import RELEASE_TRIES
from passerelle.objects import Key
from passerelle.v1alpha1.trainingjob import ABANDON, FINALIZER
from stories import finished, running, told
from virtual_time import run as in_virtual_time

CANARY = "c4n4ry-v4lue"
ENV_FROM: list[dict[str, Any]] = [{"secretRef": {"name": "wandb"}}]


def run_directory(world: World, key: Key) -> str:
    return f"/scratch/passerelle/{world.run_of(key).key}"


def sealed_path(world: World, key: Key, attempt: int = 1) -> str:
    return f"{run_directory(world, key)}/{world.run_of(key).marker(attempt)}.sealed"


def content(world: World, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.site.files[path].content)
    return found


def with_secret(world: World, value: str = CANARY, **spec: Any) -> Key:
    world.api.secrets["wandb"] = {"WANDB_API_KEY": value.encode()}
    return world.api.create("a", **{"envFrom": ENV_FROM, **spec})


def message(world: World, key: Key, kind: str) -> str:
    (found,) = (each["message"] for each in world.status(key)["conditions"] if each["type"] == kind)
    return str(found)


def test_the_secrets_are_at_the_site_before_the_job_is() -> None:
    async def story(world: World) -> None:
        key = with_secret(world, files=[{"secret": "wandb", "path": "/keys"}])
        await world.until(running(world, key))

        file = world.site.files[sealed_path(world, key)]
        assert file.mode == 0o600
        told = content(world, sealed_path(world, key))
        assert told["variables"] == {"WANDB_API_KEY": CANARY}
        assert [each["path"] for each in told["files"]] == ["0/WANDB_API_KEY"]
        assert world.site.calls.index("write") < world.site.calls.index("submit")
        assert run_directory(world, key) in world.site.directories

    told(story, files=True)


@pytest.mark.parametrize("ends", ["ended", "cancelled", "deleted", "suspended"])
def test_no_secrets_stay_of_an_attempt_that_has_ended(ends: str) -> None:
    async def story(world: World) -> None:
        fate = Fate(queued=3, running=20) if ends == "ended" else Fate(queued=3600)
        world.site.fates = lambda _: fate
        key = with_secret(world)
        path = sealed_path(world, key)
        await world.until(lambda: bool(world.site.snapshot()))
        assert path in world.site.files
        if ends == "cancelled":
            await world.site.cancel(world.site.snapshot()[0].job_id)
        elif ends == "deleted":
            world.api.delete(key)
        elif ends == "suspended":
            world.api.edit(key, suspend=True)
        await world.until(lambda: path not in world.site.files)
        await asyncio.sleep(60)

        assert world.site.calls.count("remove") == 1

    told(story, files=True)


def test_an_abandoned_job_that_waits_keeps_its_secrets() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=3600)
        key = with_secret(world)
        path = sealed_path(world, key)
        await world.until(lambda: bool(world.site.snapshot()))
        await asyncio.sleep(30)
        world.api.annotate(key, **{ABANDON: "true"})
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["PENDING"]
        assert content(world, path)["variables"] == {"WANDB_API_KEY": CANARY}

    told(story, files=True)


def test_each_attempt_gets_the_secrets_anew() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda batch: (
            Fate(end="NODE_FAIL") if batch.options.name.endswith("-1") else Fate(running=50)
        )
        key = with_secret(world, retry={"maxAttempts": 2})
        await world.until(lambda: bool(world.site.snapshot()))
        world.api.secrets["wandb"] = {"WANDB_API_KEY": b"renewed"}
        await world.until(lambda: len(world.site.snapshot()) > 1)

        assert content(world, sealed_path(world, key, 2))["variables"] == {"WANDB_API_KEY": "renewed"}
        assert sealed_path(world, key) not in world.site.files

    told(story, files=True)


def test_an_attempt_that_is_followed_at_once_leaves_none_either() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(running=3600)  # beyond the time limit
        key = with_secret(world, checkpoint={"grace": "1m"}, retry={"maxAttempts": 2})
        await world.until(lambda: len(world.site.snapshot()) > 1, 900)

        assert list(world.site.files) == [sealed_path(world, key, 2)]

    told(story, files=True)


def test_the_newest_secret_is_used_and_the_digest_depends_on_none() -> None:
    async def story(world: World) -> None:
        world.site.shape = dataclasses.replace(world.site.shape, max_jobs=0)
        key = with_secret(world, "first")
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "TooManyJobs"))
        assert content(world, sealed_path(world, key))["variables"] == {"WANDB_API_KEY": "first"}
        digest = world.status(key)["attempts"][0]["scriptDigest"]
        world.api.secrets["wandb"] = {"WANDB_API_KEY": b"second", "MORE": b"x"}
        world.site.shape = dataclasses.replace(world.site.shape, max_jobs=9)
        await world.until(running(world, key))

        assert content(world, sealed_path(world, key))["variables"] == {"WANDB_API_KEY": "second", "MORE": "x"}
        (attempt,) = world.status(key)["attempts"]
        assert (attempt["number"], attempt["scriptDigest"]) == (1, digest)

    told(story, files=True)


def test_where_the_files_can_t_be_written_nothing_is_submitted_and_the_condition_says_why() -> None:
    async def story(world: World) -> None:
        key = with_secret(world)
        world.site.files[run_directory(world, key)] = File(b"")  # a file has the directory's name
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "NotWritten"))
        await asyncio.sleep(300)

        assert world.site.snapshot() == []
        assert "Nothing is submitted while the job's files can't be written" in message(world, key, "Submitted")
        assert world.site.calls.count("make_directory") <= 6  # not once a second
        assert len(world.api.writes) < 12

        del world.site.files[run_directory(world, key)]
        await world.until(running(world, key), 900)
        assert len(world.site.snapshot()) == 1
        assert world.status(key)["attempts"][0]["number"] == 1

    told(story, files=True)


def test_whenever_the_operator_dies_one_job_runs_with_its_secrets() -> None:
    async def story(kill_at: int | None) -> int:
        world = World(files=True)
        world.site.fates = lambda _: Fate(queued=3, running=20)
        points = await world.start_operator(Points(kill_at=kill_at))
        key = with_secret(world)
        path, seen = sealed_path(world, key), False
        for _ in range(60):
            await asyncio.sleep(1)
            seen = seen or path in world.site.files
        await world.end_operator()
        await world.start_operator()
        while not finished(world, key)():
            await asyncio.sleep(1)
            seen = seen or path in world.site.files
        await asyncio.sleep(60)
        assert seen
        assert path not in world.site.files
        assert [job.state.base for job in world.site.snapshot()] == ["COMPLETED"]
        assert world.condition(key, "Succeeded")[0] == "True"
        await world.end_operator()
        return points.passed

    async def main() -> None:
        for point in range(await story(None)):
            await story(point)

    in_virtual_time(main())


def test_whenever_the_operator_dies_no_secrets_stay_of_a_job_that_never_began() -> None:
    async def story(kill_at: int | None) -> int:
        world = World(files=True)
        world.site.fates = lambda _: Fate(queued=3600)
        points = await world.start_operator(Points(kill_at=kill_at))
        key = with_secret(world)
        path, seen = sealed_path(world, key), False

        async def cancelled(seconds: int) -> None:
            nonlocal seen
            for _ in range(seconds):
                await asyncio.sleep(1)
                seen = seen or path in world.site.files
                for job in world.site.snapshot():
                    if job.state.base == "PENDING":
                        await world.site.cancel(job.job_id)

        await cancelled(60)
        await world.end_operator()
        await world.start_operator()
        await cancelled(120)
        assert seen
        assert world.condition(key, "Finished")[0] == "True"
        assert path not in world.site.files, (kill_at, points.names[-1])
        await world.end_operator()
        return points.passed

    async def main() -> None:
        for point in range(await story(None)):
            await story(point)

    in_virtual_time(main())


@pytest.mark.parametrize("ttl", [{}, {"ttlSecondsAfterFinished": 604_800}], ids=["stays", "has-a-ttl"])
@pytest.mark.parametrize("restarts", [False, True])
def test_secrets_that_can_t_be_removed_are_told_of_and_tried_again(
    restarts: bool, ttl: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=3600)
        key = with_secret(world, **ttl)
        path = sealed_path(world, key)
        await world.until(lambda: bool(world.site.snapshot()))
        monkeypatch.setattr(Memory, "remove", AsyncMock(side_effect=Unavailable("No answer.")))
        await world.site.cancel(world.site.snapshot()[0].job_id)
        await world.until(finished(world, key))
        await asyncio.sleep(60)

        assert path in world.site.files
        assert world.status(key)["attempts"][0]["secretsLeft"] is True
        if restarts:
            await world.end_operator()
            await world.start_operator()
        monkeypatch.undo()
        await world.until(lambda: path not in world.site.files)
        await world.until(lambda: "secretsLeft" not in world.status(key)["attempts"][0])

        await asyncio.sleep(7200)
        assert world.site.calls.count("remove") == 1

    told(story, files=True)


async def lose(world: World) -> Key:
    """One that waits in the queue, of which the scheduler, begun anew without its state, tells nothing."""
    key = with_secret(world)
    await world.until(lambda: bool(world.site.snapshot()))
    await asyncio.sleep(60)
    world.site.faults.listing_empty = True
    await world.until(finished(world, key))
    return key


def test_a_lost_job_that_comes_back_has_its_secrets() -> None:
    async def story(world: World) -> None:
        key = await lose(world)
        path = sealed_path(world, key)
        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        assert world.status(key)["attempts"][0]["secretsLeft"] is True
        world.site.faults.listing_empty = False
        await world.until(lambda: world.condition(key, "Finished")[0] == "False", 4000)

        assert path in world.site.files
        assert "secretsLeft" not in world.status(key)["attempts"][0]
        await world.site.cancel(world.site.snapshot()[0].job_id)
        await world.until(lambda: path not in world.site.files)

    told(story, Fate(queued=90_000), files=True)


@pytest.mark.parametrize("ends", ["deletion", "a day"])
def test_secrets_of_a_lost_job_go_when_it_is_awaited_no_more(ends: str) -> None:
    async def story(world: World) -> None:
        key = await lose(world)
        path = sealed_path(world, key)
        await asyncio.sleep(7200)
        assert path in world.site.files
        assert "remove" not in world.site.calls
        if ends == "deletion":
            world.api.delete(key)
        await world.until(lambda: path not in world.site.files, 90_000)

        await asyncio.sleep(7200)
        assert world.site.calls.count("remove") == 1
        assert key not in world.api.objects or "secretsLeft" not in world.status(key)["attempts"][0]

    told(story, Fate(queued=200_000), files=True)


def test_a_deletion_waits_for_secrets_to_be_removed_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=3600)
        key = with_secret(world)
        await world.until(lambda: bool(world.site.snapshot()))
        tries = AsyncMock(side_effect=Unavailable("No answer."))
        monkeypatch.setattr(Memory, "remove", tries)
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert tries.await_count == RELEASE_TRIES

    told(story, files=True)


def test_while_the_site_is_spared_no_removal_counts_as_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=3600)
        key = with_secret(world)
        path = sealed_path(world, key)
        await world.until(lambda: bool(world.site.snapshot()))
        spared = AsyncMock(side_effect=Deferred("The site is spared.", retry_after=60))
        monkeypatch.setattr(Memory, "remove", spared)
        world.api.delete(key)
        await asyncio.sleep(600)
        assert RELEASE_TRIES < spared.await_count <= 12
        assert key in world.api.objects
        monkeypatch.undo()
        await world.until(lambda: key not in world.api.objects, 90)

        assert path not in world.site.files

    told(story, files=True)


def test_what_stands_in_a_status_leads_to_no_other_file() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(queued=3600)
        key = with_secret(world)
        path = sealed_path(world, key)
        await world.until(lambda: bool(world.site.snapshot()))
        others = "/scratch/other/x.sealed"
        world.site.files[others] = File(b"x")
        await asyncio.sleep(30)
        (attempt,) = world.status(key)["attempts"]
        attempt |= {"runDirectory": "/scratch/other", "marker": "x"}
        world.api.annotate(key, a="b")
        await asyncio.sleep(1)
        await world.site.cancel(world.site.snapshot()[0].job_id)
        await world.until(finished(world, key))

        assert path not in world.site.files
        assert others in world.site.files

    told(story, files=True)


def test_a_delivery_without_an_answer_is_tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr(Memory, "write", AsyncMock(side_effect=Unavailable("No answer.", reason="Unreachable")))
        key = with_secret(world)
        await world.until(lambda: world.condition(key, "Submitted")[1] == "Unreachable")
        await asyncio.sleep(120)
        assert world.site.snapshot() == []
        monkeypatch.undo()
        await world.until(lambda: bool(world.site.snapshot()), 10)

    told(story, files=True)


def test_what_a_gateway_will_never_take_waits_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        tries = AsyncMock(side_effect=Invalid("Too long.", reason="TooLong"))
        monkeypatch.setattr(Memory, "write", tries)
        key = with_secret(world)
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "TooLong"))
        await asyncio.sleep(500)

        assert tries.await_count == 1

    told(story, files=True)


def test_no_training_gets_a_secret_of_the_operator_s_own_namespace() -> None:
    async def story(world: World) -> None:
        world.home = NAMESPACE
        await world.end_operator()
        await world.start_operator()
        steal = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "token"}}}]
        own = with_secret(world, env=steal)
        await world.until(lambda: world.condition(own, "Accepted") == ("False", "SecretForbidden"))
        assert "are the operator's own, and no TrainingJob gets one" in message(world, own, "Accepted")

        world.listed = [NAMESPACE]
        await world.end_operator()
        await world.start_operator()
        await asyncio.sleep(120)
        assert f"Secret {SECRET} in namespace {NAMESPACE} belongs to a Site" in message(world, own, "Accepted")
        other = world.api.create("b", envFrom=ENV_FROM)
        await world.until(running(world, other))
        assert list(world.site.files) == [sealed_path(world, other)]

    told(story, files=True)


def test_a_door_without_files_takes_no_job_with_secrets() -> None:
    async def story(world: World) -> None:
        key = with_secret(world)
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "NeedsFiles"))

        text = message(world, key, "Accepted")
        assert text.startswith("Secret wandb would travel in a file of its own, and the slurmrestd gateway of Site")
        assert "put the value into a file at the site" in text
        assert world.site.snapshot() == []

    told(story)


@pytest.mark.parametrize(
    "spec, reason, words",
    [
        (
            {"envFrom": [{"secretRef": {"name": "none"}}]},
            "SecretNotFound",
            "no Secret named 'none' in namespace team-a",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "none"}}}]},
            "SecretNotFound",
            "has no key 'none'",
        ),
        (
            {"envFrom": [{"secretRef": {"name": "wandb"}, "prefix": "SLURM_"}]},
            "VariableReserved",
            "SLURM_WANDB_API_KEY",
        ),
    ],
)
def test_what_can_t_be_brought_is_refused_in_words_until_it_can(spec: dict[str, Any], reason: str, words: str) -> None:
    async def story(world: World) -> None:
        key = with_secret(world, **spec)
        await world.until(lambda: world.condition(key, "Accepted") == ("False", reason))
        assert words in message(world, key, "Accepted")
        if reason == "SecretNotFound":
            world.api.secrets["none"] = {"A": b"1"}
            world.api.secrets["wandb"] |= {"none": b"1"}
            await world.until(running(world, key))

    told(story, files=True)


def test_without_the_right_the_condition_names_the_chart_s_value() -> None:
    async def story(world: World) -> None:
        world.api.forbidden.add(NAMESPACE)
        key = with_secret(world)
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "SecretForbidden"))
        assert "adds team-a to the chart's value secretNamespaces" in message(world, key, "Accepted")

        world.api.forbidden.clear()
        await world.until(running(world, key))

    told(story, files=True)


def test_what_is_optional_is_not_missed() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", envFrom=[{"secretRef": {"name": "none", "optional": True}}])
        await world.until(running(world, key))

        assert content(world, sealed_path(world, key))["variables"] == {}

    told(story, files=True)


def test_a_key_that_is_no_variable_is_told_and_left_out() -> None:
    async def story(world: World) -> None:
        world.api.secrets["wandb"] = {"ca.crt": b"x", "A": b"1"}
        key = world.api.create("a", envFrom=ENV_FROM)
        await world.until(running(world, key))

        assert content(world, sealed_path(world, key))["variables"] == {"A": "1"}
        (found,) = (each for each in world.status(key)["findings"] if each["id"] == "VariableNameInvalid")
        assert "ca.crt of Secret wandb" in found["message"]
        await asyncio.sleep(1)  # events are written behind the pass that they tell of
        assert any(reason == "Preflight" and "ca.crt" in text for _, reason, text in world.api.events)

    told(story, files=True)


def test_no_value_of_a_secret_is_anywhere_but_in_its_file(caplog: pytest.LogCaptureFixture) -> None:
    """Not in the script, the options, the objects, the events, the logs; neither as it is nor in base64."""
    caplog.set_level(logging.DEBUG)

    async def story(world: World) -> None:
        key = with_secret(
            world,
            env=[{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "WANDB_API_KEY"}}}],
            files=[{"secret": "wandb", "path": "/keys"}],
            retry={"maxAttempts": 2},
        )
        world.site.files[run_directory(world, key)] = File(b"")
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "NotWritten"))
        del world.site.files[run_directory(world, key)]
        await world.until(running(world, key), 900)
        batches = list(world.site.batches.values())
        await world.until(finished(world, key))

        seen = [json.dumps(world.api.objects[key]), repr(world.api.events), repr(batches), *(b.script for b in batches)]
        seen += [json.dumps([dataclasses.asdict(b.options), b.environment]) for b in batches]
        seen += [repr(world.service), repr(world.service.watch.__dict__ if world.service.watch else None)]
        seen += [str(vars(record)) for record in caplog.records]
        assert batches
        for text in seen:
            assert re.search("c4n4ry|YzRuNHJ5", text) is None

    told(story, files=True)


def test_large_files_travel_beside_the_script() -> None:
    async def story(world: World) -> None:
        large = os.urandom(200_000)
        world.api.config_maps["code"] = {"data.bin": large}
        key = world.api.create("a", files=[{"configMap": "code", "path": "/workspace"}])
        await world.until(running(world, key))

        (path,) = world.site.files
        digest = hashlib.sha256(world.site.files[path].content).hexdigest()
        assert path == f"{run_directory(world, key)}/files-{digest}.zip"
        (batch,) = world.site.batches.values()
        assert digest in batch.script
        assert len(batch.script) < 64 * 1024
        assert len(world.site.files[path].content) > 200_000

    told(story, files=True)


def test_a_large_file_that_changes_before_it_is_submitted_is_what_the_intent_says() -> None:
    async def story(world: World) -> None:
        world.site.shape = dataclasses.replace(world.site.shape, max_jobs=0)
        world.api.config_maps["code"] = {"data.bin": os.urandom(200_000)}
        key = world.api.create("a", files=[{"configMap": "code", "path": "/workspace"}])
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "TooManyJobs"))
        world.api.config_maps["code"] = {"data.bin": os.urandom(200_000)}
        world.site.shape = dataclasses.replace(world.site.shape, max_jobs=9)
        await world.until(running(world, key))

        (batch,) = world.site.batches.values()
        assert batch.digest == world.status(key)["attempts"][0]["scriptDigest"]
        named = [path for path in world.site.files if path.rpartition("/")[2] in batch.script]
        assert len(named) == 1

    told(story, files=True)


def test_what_is_too_large_for_a_door_without_files_is_refused() -> None:
    async def story(world: World) -> None:
        world.api.config_maps["code"] = {"data.bin": os.urandom(200_000)}
        key = world.api.create("a", files=[{"configMap": "code", "path": "/workspace"}])
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "NeedsFiles"))

        assert "64 KiB" in message(world, key, "Accepted")
        assert "behind this gateway there is no other way" in message(world, key, "Accepted")

    told(story)


def test_a_finished_job_is_deleted_without_asking_the_site() -> None:
    async def story(world: World) -> None:
        key = with_secret(world)
        await world.until(finished(world, key))
        await asyncio.sleep(30)
        assert world.api.objects[key]["metadata"]["finalizers"] == [FINALIZER]
        world.site.calls.clear()
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert "remove" not in world.site.calls

    told(story, files=True)


def test_all_sources_of_a_job_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        reading, most, read = 0, 0, KubeClient.secret

        async def slowly(self: KubeClient, namespace: str, name: str) -> dict[str, bytes]:
            nonlocal reading, most
            reading += 1
            most = max(most, reading)
            await asyncio.sleep(0.5)
            reading -= 1
            return await read(self, namespace, name)

        names = [f"s{number}" for number in range(16)]
        world.api.secrets |= {name: {name: b"x"} for name in names}
        monkeypatch.setattr(KubeClient, "secret", slowly)
        key = world.api.create("a", envFrom=[{"secretRef": {"name": name}} for name in names])
        await world.until(running(world, key))

        assert most >= len(names)
        assert content(world, sealed_path(world, key))["variables"] == dict.fromkeys(names, "x")

    told(story, files=True)


def test_too_many_sources_are_refused_before_any_is_read() -> None:
    async def story(world: World) -> None:
        env = [
            {"name": f"A{number}", "valueFrom": {"secretKeyRef": {"name": f"s{number}", "key": "a"}}}
            for number in range(33)
        ]
        key = world.api.create("a", env=env)
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "TooManySources"))

    told(story, files=True)

"""Whose answer counts: Sites that are pointed elsewhere, other users' tokens, job ids that start again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from little_world import NAMESPACE, SECRET, World, gateway
from passerelle.batch import Batch
from passerelle.gateways.base import Probe
from passerelle.gateways.memory import Fate, Memory, MemoryCredential
from passerelle.objects import Key
from stories import finished, running, told

OTHER = "https://other"
LONG = Fate(queued=1, running=500)


def accept_of_a_colleague(site: Memory, like: Batch) -> None:
    """Somebody else submits something with the same user, as accounts of projects are shared."""
    site._accept(replace(like, options=replace(like.options, name="thesis")))


def test_a_site_that_is_pointed_elsewhere_and_back_loses_no_job() -> None:
    async def story(world: World) -> None:
        world.another(OTHER, cluster="other")
        key = world.api.create("a")
        await world.until(running(world, key))
        await world.edit_site(gateway=gateway(OTHER))
        await asyncio.sleep(60)
        await world.edit_site(gateway=gateway())
        await asyncio.sleep(30)
        assert world.condition(key, "Running")[0] == "True"
        assert world.condition(key, "Succeeded") == ("Unknown", "Active")
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"]

    told(story, LONG)


def test_a_live_job_that_the_site_leads_away_from_needs_a_person_and_says_so() -> None:
    async def story(world: World) -> None:
        colleague = MemoryCredential(user="colleague", token="valid")
        other = world.another(OTHER, user="colleague", credentials=lambda: colleague)
        key = world.api.create("a")
        await world.until(running(world, key))
        await world.edit_site(gateway=gateway(OTHER))
        await asyncio.sleep(5)
        for kind, status in {"Ready": "False", "Stalled": "True", "SiteReachable": "False"}.items():
            assert world.condition(key, kind) == (status, "IdentityChanged"), kind
        assert world.condition(key, "Running") == ("True", "Running"), "as it was seen last"
        assert summary(world, key) == ("Running", "IdentityChanged")
        (message,) = [each["message"] for each in world.status(key)["conditions"] if each["type"] == "Stalled"]
        assert "cluster memory as startup, and the Site leads to cluster memory as colleague now" in message
        site = {each["type"]: (each["status"], each["reason"]) for each in world.site_conditions()}
        changed = "IdentityChanged"
        assert site["Ready"] == site["IdentityKept"] == ("False", changed)
        assert site["Stalled"] == ("True", changed)

        for seconds in (30, 200):  # the silence of another's site is no news of the job
            other.faults.gateway_down = True
            await asyncio.sleep(seconds)
            assert world.condition(key, "Stalled") == ("True", changed)
            assert world.site_conditions()[-1]["type"] == "IdentityKept"
            other.faults.gateway_down = False
            await asyncio.sleep(70)
        assert [reason for _, reason, _ in world.api.events].count(changed) == 1, "it is said once"
        assert world.site_conditions()[0]["reason"] == changed

        await world.edit_site(gateway=gateway())
        await asyncio.sleep(5)
        assert summary(world, key) == ("Running", None)
        assert (world.condition(key, "Stalled"), world.condition(key, "Ready")[0]) == (("", ""), "True")
        assert [each["type"] for each in world.site_conditions()] == ["Ready", "FullyCapable"]

    told(story, Fate(queued=1, running=100_000))


def test_a_deletion_that_waits_for_a_site_of_others_says_so() -> None:
    async def story(world: World) -> None:
        world.another(OTHER, cluster="other")
        key = world.api.create("a")
        await world.until(running(world, key))
        await world.edit_site(gateway=gateway(OTHER))
        world.api.delete(key)
        await asyncio.sleep(30)

        assert world.condition(key, "Stalled") == ("True", "Deleting")
        assert summary(world, key) == ("Deleting", "IdentityChanged")
        (message,) = [each["message"] for each in world.status(key)["conditions"] if each["type"] == "Stalled"]
        assert "can be cancelled: Attempt 1 was meant for cluster memory as startup" in message
        assert f"kubectl annotate -n {NAMESPACE} trainingjob a " in message

    told(story, LONG)


async def lost_and_led_away(world: World) -> Key:
    """The scheduler has forgotten a job that runs on, and the Site is pointed elsewhere."""
    key = world.api.create("a", timeLimit="50m")
    await world.until(running(world, key))
    world.site.faults.listing_empty = True
    await world.until(lambda: world.condition(key, "Succeeded")[1] == "OutcomeLost")
    world.another(OTHER, cluster="other")
    await world.edit_site(gateway=gateway(OTHER))
    await asyncio.sleep(30)
    world.site.faults.listing_empty = False
    return key


def test_a_lost_attempt_is_not_let_go_for_another_cluster_s_silence() -> None:
    async def story(world: World) -> None:
        key = await lost_and_led_away(world)
        assert world.site_conditions()[0]["status"] == "True", "nobody asks for it"
        world.api.delete(key)
        await asyncio.sleep(120)
        assert world.condition(key, "Stalled") == ("True", "Deleting")
        (message,) = [each["message"] for each in world.status(key)["conditions"] if each["type"] == "Stalled"]
        assert "can be cancelled: Attempt 1 was meant for cluster memory as startup" in message
        assert "passerelle.dev/abandon" in message
        assert world.site_conditions()[0]["reason"] == "IdentityChanged"
        await world.edit_site(gateway=gateway())
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"]

    told(story, Fate(queued=1, running=100_000))


def test_a_lost_attempt_is_made_again_elsewhere_only_where_a_person_gives_it_up() -> None:
    async def story(world: World) -> None:
        key = await lost_and_led_away(world)
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "now"})
        await asyncio.sleep(120)
        assert len(world.status(key)["attempts"]) == 1
        for kind, status in {"Submitted": "False", "Ready": "False", "Stalled": "True"}.items():
            assert world.condition(key, kind) == (status, "IdentityChanged"), kind
        assert summary(world, key) == ("Stalled", "IdentityChanged")
        world.api.annotate(key, **{"passerelle.dev/abandon": "true"})
        await world.until(running(world, key))

        assert [each["cluster"] for each in world.status(key)["attempts"]] == ["memory", "other"]

    told(story, Fate(queued=1, running=100_000))


def summary(world: World, key: Key) -> tuple[str, str | None]:
    status = world.status(key)
    return status.get("summary", ""), status.get("reason") or None


def test_a_lost_answer_is_adopted_although_the_site_was_pointed_elsewhere_meanwhile() -> None:
    async def story(world: World) -> None:
        world.site.faults.lose_answers = 1
        other = world.another(OTHER, cluster="other")
        key = world.api.create("a")
        await world.until(lambda: bool(world.site.snapshot()))
        await world.edit_site(gateway=gateway(OTHER))
        await asyncio.sleep(60)
        await world.edit_site(gateway=gateway())
        await world.until(running(world, key))

        assert (world.states(), world.states(other)) == (["RUNNING"], [])

    told(story, LONG)


def test_nothing_is_submitted_elsewhere_under_the_former_sites_identity() -> None:
    async def story(world: World) -> None:
        other = world.another(OTHER, cluster="other")
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(5)
        world.api.edit(key, suspend=False)
        await world.edit_site(gateway=gateway(OTHER))
        await world.until(running(world, key))

        assert [attempt["cluster"] for attempt in world.status(key)["attempts"]] == ["other"]
        assert (world.states(), world.states(other)) == ([], ["RUNNING"])

    told(story, LONG)


def test_a_site_that_is_pointed_elsewhere_cancels_no_job_that_has_the_same_id_there() -> None:
    async def story(world: World) -> None:
        other = world.another(OTHER, cluster="other")
        key = world.api.create("a")
        await world.until(running(world, key))
        job_id = world.status(key)["attempts"][0]["jobId"]
        accept_of_a_colleague(other, world.site.batches[job_id])
        assert list(other.batches) == [job_id]
        world.api.delete(key)
        await world.edit_site(gateway=gateway(OTHER))
        await asyncio.sleep(60)
        assert (world.states(), world.states(other)) == (["RUNNING"], ["RUNNING"])
        await world.edit_site(gateway=gateway())
        await world.until(lambda: key not in world.api.objects)

        assert (world.states(), world.states(other)) == (["CANCELLED"], ["RUNNING"])

    told(story, LONG)


def test_nothing_is_submitted_as_a_user_who_has_not_yet_been_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, submit = Memory.probe, Memory.submit
    submitted_as: list[str] = []

    async def story(world: World) -> None:
        async def slow_probe(self: Memory) -> Probe:
            user = _user(world)
            await asyncio.sleep(1)
            self.user = user
            return await probe(self)

        async def noted_submit(self: Memory, batch: Batch) -> str:
            submitted_as.append(_user(world))
            return await submit(self, batch)

        key = world.api.create("a", suspend=True)
        await asyncio.sleep(5)
        world.site.credentials = lambda: MemoryCredential(user=world.site.user, token="valid")
        monkeypatch.setattr(Memory, "probe", slow_probe)
        monkeypatch.setattr(Memory, "submit", noted_submit)
        world.api.secrets[SECRET] = {"username": b"project2", "token": b"valid"}
        await world.until(lambda: _user(world) == "project2")
        assert world.site.user == "startup", "a look has begun, and nobody has answered yet"
        world.api.edit(key, suspend=False)
        await world.until(lambda: bool(submitted_as))
        assert [attempt["user"] for attempt in world.status(key)["attempts"]] == submitted_as
        await world.until(running(world, key))

        assert submitted_as == ["project2"]

    told(story, LONG)


def _user(world: World) -> str:
    credential = world.service.credential
    return credential.user if credential is not None else ""


@pytest.mark.parametrize("seconds", [0.0, 3.0], ids=["before the next look", "after it"])
def test_a_job_that_took_over_the_id_of_a_lost_one_is_not_cancelled(seconds: float) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        job_id = world.status(key)["attempts"][0]["jobId"]
        batch = world.site.batches[job_id]
        world.site.forget(job_id)
        accept_of_a_colleague(world.site, batch)
        assert list(world.site.batches) == [job_id]
        await asyncio.sleep(seconds)
        world.api.delete(key)
        await asyncio.sleep(180)

        assert world.states() == ["RUNNING"]
        assert key not in world.api.objects

    told(story, Fate(running=10_000))


def test_a_job_that_took_over_the_id_of_a_lost_one_does_not_stand_for_it() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        job_id = world.status(key)["attempts"][0]["jobId"]
        batch = world.site.batches[job_id]
        world.site.forget(job_id)
        accept_of_a_colleague(world.site, batch)
        await asyncio.sleep(300)

        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        assert world.condition(key, "Running")[0] != "True"
        assert world.states() == ["RUNNING"]

    told(story, Fate(running=10_000), progressPeriod="60s")


def test_jobs_of_two_runs_under_one_id_are_both_seen_in_one_look() -> None:
    """After a site has lost its state, the ended job of one run and the live one of another may have one id."""

    async def story(world: World) -> None:
        one = world.api.create("a")
        await world.until(running(world, one))
        batch = world.site.batches[world.status(one)["attempts"][0]["jobId"]]
        await world.end_operator()
        await asyncio.sleep(600)
        world.site.lose_state()
        with world.api.unwatched():
            other = world.api.create("b")
        marker = world.run_of(other).marker(1)
        world.site._accept(replace(batch, options=replace(batch.options, name=marker)))
        await world.start_operator()
        await world.until(finished(world, one))
        await world.until(finished(world, other))

        assert [world.condition(key, "Succeeded")[1] for key in (one, other)] == ["Completed", "Completed"]
        assert [job.name for job in world.site.snapshot()] == [marker], "it was adopted, and not submitted again"

    told(story, LONG)


def test_a_site_that_lost_its_state_has_lost_what_lived_and_nothing_else() -> None:
    """Ids start again, and accounting takes what lived for alive for ever."""

    async def story(world: World) -> None:
        ended = world.api.create("ended")
        await world.until(finished(world, ended))
        lost = world.api.create("lost")
        await world.until(running(world, lost))
        world.site.lose_state()
        later = world.api.create("later")
        again = world.api.create("again")
        for key in (lost, later, again):
            await world.until(finished(world, key))

        told_of = {key: world.condition(key, "Succeeded") for key in (ended, lost, later, again)}
        completed = ("True", "Completed")
        assert told_of == {
            ended: completed,
            lost: ("Unknown", "OutcomeLost"),
            later: completed,
            again: completed,
        }
        ids = [world.status(key)["attempts"][0]["jobId"] for key in (ended, lost, later, again)]
        assert sorted(ids[:2]) == sorted(ids[2:]), "the same ids, of other jobs"

    told(story, Fate(queued=1, running=60))

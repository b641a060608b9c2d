"""A job that the scheduler does not list: what is believed of it, after how long, and what is taken back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from little_world import EPOCH, Points, World
from passerelle import ttl
from passerelle.current import Seen
from passerelle.gateways.base import Identity
from passerelle.gateways.memory import Fate
from passerelle.lost import LONGEST_SECONDS, next_look
from passerelle.marker import Run
from passerelle.objects import Key, trainingjob
from passerelle.picture import Picture
from passerelle.slurm import JobState, RemoteJob
from passerelle.strays import SURVEY_SECONDS
from passerelle.v1alpha1.trainingjob import ABANDON
from passerelle.views import LOST_SECONDS, Asked, Inquiry
from stories import at, finished, running, told

LONG = Fate(queued=1, running=100_000)
LOST = ("Unknown", "OutcomeLost")
RUN = Run("psr-" + "a" * 26)
S3 = {"url": "s3://bucket/run1/", "secretRef": {"name": "s3"}}


def row(state: str = "RUNNING", job_id: str = "7", *, live: bool = False) -> RemoteJob:
    return RemoteJob(
        job_id=job_id,
        name=RUN.marker(1),
        user="u",
        cluster="c",
        state=JobState(state),
        submit_time=1,
        start_time=2,
        live=live,
    )


async def unlisted(world: World, seconds: float) -> None:
    """The scheduler has just begun, and lists nothing for a while."""
    world.site.faults.listing_empty = True
    await asyncio.sleep(seconds)
    world.site.faults.listing_empty = False


def test_a_scheduler_that_lists_nothing_for_a_moment_loses_no_job() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        for _ in range(20):
            await unlisted(world, 5)
            assert world.condition(key, "Running")[0] == "True"
            assert world.condition(key, "Finished")[0] == "False"
            await asyncio.sleep(5)
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 60)

        assert world.states() == ["CANCELLED"]

    told(story, LONG)


def test_a_job_of_which_accounting_tells_is_adopted_and_not_submitted_again() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(3)
        world.site.faults.lose_answers = 1
        world.site.faults.listing_empty = True
        key = world.api.create("a", timeLimit="50m")
        await asyncio.sleep(20)
        assert [each["jobId"] for each in world.status(key)["attempts"]] == ["1000"]
        world.site.faults.listing_empty = False
        await asyncio.sleep(60)

        assert world.condition(key, "Running")[0] == "True"
        assert world.states() == ["RUNNING"]

    told(story, LONG)


def test_a_job_that_accounting_alone_ever_told_of_is_lost_in_the_end_and_not_submitted_again() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(3)
        world.site.faults.lose_answers = 1
        world.site.faults.listing_empty = True
        key = world.api.create("a", timeLimit="50m", retry={"maxAttempts": 5})
        await world.until(finished(world, key), 180)

        assert world.condition(key, "Succeeded") == LOST
        assert world.states() == ["RUNNING"]

    told(story, LONG)


@pytest.mark.parametrize("kill_at", range(12))
def test_an_operator_that_dies_while_nothing_is_listed_leaves_one_job(kill_at: int) -> None:
    async def story(world: World) -> None:
        await world.end_operator()
        world.site.faults.listing_empty = True
        points = await world.start_operator(Points(kill_at=kill_at))
        key = world.api.create("a")
        await asyncio.sleep(20)
        await world.end_operator()
        if points.dead:
            await world.start_operator()
            await asyncio.sleep(30)
            world.site.faults.listing_empty = False
            await world.until(running(world, key))
        assert world.states() == ["RUNNING"]

    told(story, LONG)


def test_a_deletion_waits_for_a_job_that_is_not_listed_for_a_moment() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        world.site.faults.listing_empty = True
        await asyncio.sleep(0.5)
        world.api.delete(key)
        await asyncio.sleep(20)
        assert key in world.api.objects
        world.site.faults.listing_empty = False
        await world.until(lambda: key not in world.api.objects, 60)

        assert world.states() == ["CANCELLED"]

    told(story, LONG)


def test_an_end_that_accounting_hears_of_late_is_waited_for() -> None:
    async def story(world: World) -> None:
        world.site.purge_seconds, world.site.faults.end_lag = 2.0, 60.0
        key = world.api.create("a")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story, Fate(queued=3, running=100), period="30s")


def test_an_end_that_accounting_hears_of_later_still_is_taken_in_all_the_same() -> None:
    async def story(world: World) -> None:
        world.site.purge_seconds, world.site.faults.end_lag = 2.0, 3_000.0
        key = world.api.create("a")
        await world.until(finished(world, key), 360)
        assert world.condition(key, "Succeeded") == LOST
        seen = set()
        for _ in range(120):
            await asyncio.sleep(60)
            seen.add((world.condition(key, "Finished")[0], *world.condition(key, "Succeeded")))

        assert seen == {("True", *LOST), ("True", "True", "Completed")}
        assert [each["reason"] for each in world.status(key)["attempts"]] == ["Completed"]
        world.site.calls.clear()
        await asyncio.sleep(10_000)
        surveys = 10_000 // SURVEY_SECONDS + 1
        assert world.site.calls.count("find") <= surveys, "there is nothing more to look for"

    told(story, Fate(queued=3, running=100), period="30s")


def test_a_lost_end_that_turns_out_to_be_nobody_s_doing_is_followed_by_the_next_attempt() -> None:
    async def story(world: World) -> None:
        world.site.purge_seconds, world.site.faults.end_lag = 2.0, 600.0
        world.site.fates = lambda batch: Fate(running=20, end="NODE_FAIL" if batch.options.name.endswith("-1") else "")
        key = world.api.create("a", retry={"maxAttempts": 2})
        await world.until(lambda: world.condition(key, "Succeeded") == LOST)
        await world.until(lambda: len(world.status(key)["attempts"]) == 2, 1200)

        assert world.status(key)["attempts"][0]["reason"] == "NodeFailure"

    told(story)


def test_a_lost_job_that_comes_to_light_again_runs_on_and_ends() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        await unlisted(world, 200)
        assert world.condition(key, "Succeeded") == LOST
        await world.until(running(world, key), 400)
        assert world.condition(key, "Finished")[0] == "False"
        await world.until(finished(world, key), 3600)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.states() == ["COMPLETED"]

    told(story, Fate(queued=1, running=1500))


def test_a_lost_job_is_looked_for_while_the_attempt_that_is_to_follow_it_is_held() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        world.site.faults.listing_empty = True
        await world.until(lambda: world.condition(key, "Succeeded") == LOST, 400)
        await world.edit_site(suspend=True)
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "now"})
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "SiteSuspended"))
        await asyncio.sleep(20)
        world.site.faults.listing_empty = False
        await world.until(running(world, key), 400)
        await world.edit_site(suspend=False)
        await asyncio.sleep(60)

        assert world.states() == ["RUNNING"]

    told(story, LONG)


def test_a_lost_job_is_looked_for_by_the_next_operator_too() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        await unlisted(world, 200)
        await world.end_operator()
        await asyncio.sleep(1000)
        await world.start_operator()
        await world.until(running(world, key), 1300)

    told(story, LONG)


def test_a_ttl_takes_nothing_that_may_come_to_light_again() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m", ttlSecondsAfterFinished=60)
        await world.until(running(world, key))
        await unlisted(world, 300)
        assert world.condition(key, "Succeeded") == LOST
        await world.until(running(world, key), 400)
        assert world.states() == ["RUNNING"]
        await world.until(lambda: key not in world.api.objects, 2000)

        assert world.states() == ["COMPLETED"]

    told(story, Fate(queued=1, running=1500))


def test_a_ttl_takes_what_is_lost_once_it_is_looked_for_no_more() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m", ttlSecondsAfterFinished=60)
        await world.until(running(world, key))
        world.site.lose_state()
        await world.until(finished(world, key))
        await asyncio.sleep(LONGEST_SECONDS - 60)
        assert world.condition(key, "Succeeded") == LOST
        await asyncio.sleep(200)

        assert key not in world.api.objects

    told(story, LONG, period="60s")


async def lost_for_a_day(world: World) -> Key:
    """It has a ttl, and runs on for days, which nobody sees."""
    key = world.api.create("a", timeLimit="50m", ttlSecondsAfterFinished=60)
    await world.until(running(world, key))
    options = replace(world.site.batches["1000"].options, time_limit_minutes=10_000)
    world.site._jobs["1000"].batch = replace(world.site.batches["1000"], options=options)
    world.site.faults.listing_empty = True
    await world.until(finished(world, key), 400)
    assert world.condition(key, "Succeeded") == LOST
    await asyncio.sleep(LONGEST_SECONDS - 60)
    return key


def test_a_lost_job_that_lives_when_its_ttl_is_over_runs_on_and_is_not_deleted() -> None:
    async def story(world: World) -> None:
        key = await lost_for_a_day(world)
        world.site.faults.listing_empty = False
        await world.until(running(world, key), 300)
        assert world.condition(key, "Finished") == ("False", "Active")
        assert world.states() == ["RUNNING"]
        await world.site.cancel("1000")
        await world.until(finished(world, key), 120)
        await world.until(lambda: key not in world.api.objects, 120)

    told(story, Fate(queued=1, running=500_000), period="60s")


def test_nor_is_one_of_which_an_earlier_attempt_s_job_began_again() -> None:
    async def story(world: World) -> None:
        world.api.create("other", timeLimit="50m")  # while one is listed, others that begin again are seen
        await asyncio.sleep(5)
        world.site.fates = lambda _: Fate(queued=1, running=20, end="NODE_FAIL", exit_code=None)
        key = world.api.create("a", timeLimit="50m", retry={"maxAttempts": 2}, ttlSecondsAfterFinished=600)
        await world.until(finished(world, key), 900)
        await asyncio.sleep(100)
        world.site.requeue("1001", Fate(queued=2, running=2000))
        await asyncio.sleep(1500)

        assert key in world.api.objects
        assert "cancel" not in world.site.calls
        await world.until(lambda: key not in world.api.objects, 3600)

    told(story, Fate(queued=1, running=100_000), period="10s")


def test_so_it_does_where_the_operator_was_away_until_then() -> None:
    async def story(world: World) -> None:
        key = await lost_for_a_day(world)
        await world.end_operator()
        world.site.faults.listing_empty = False
        await asyncio.sleep(1000)
        await world.start_operator()
        await world.until(running(world, key), 120)

        assert world.states() == ["RUNNING"]

    told(story, Fate(queued=1, running=500_000), period="60s")


def test_a_ttl_of_what_is_lost_waits_for_a_site_that_does_not_answer() -> None:
    async def story(world: World) -> None:
        key = await lost_for_a_day(world)
        world.site.faults.gateway_down = True
        await asyncio.sleep(2000)
        assert "deletionTimestamp" not in world.api.objects[key]["metadata"]
        world.site.faults.gateway_down = False
        await world.until(lambda: key not in world.api.objects, 400)

        assert world.states() == ["RUNNING"], "nobody lists it"

    told(story, Fate(queued=1, running=500_000), period="60s")


@pytest.mark.parametrize("complete", [True, False])
def test_what_is_lost_goes_where_the_site_that_had_it_has_just_answered(*, complete: bool) -> None:
    attempt = {"number": 1, "marker": RUN.marker(1), "cluster": "c", "user": "u", "reason": "OutcomeLost"}
    lost = {"type": "Succeeded", "status": "Unknown", "reason": "OutcomeLost", "message": "", "observedGeneration": 1}
    job = trainingjob(
        {
            "metadata": {"namespace": "team-a", "name": "a", "uid": "u", "generation": 1, "resourceVersion": "1"},
            "spec": {"site": "memory", "image": "/i.sif", "command": ["train"], "nodes": 1, "timeLimit": "10m"},
            "status": {
                "conditions": [{**lost, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "attempts": [{**attempt, "runDirectory": "/x", "scriptDigest": ""}],
            },
        }
    )

    assert ttl.may_go(job, Seen(complete=complete, identity=Identity("c", "u"))) == complete
    assert not ttl.may_go(job, Seen(complete=complete, identity=Identity("elsewhere", "u")))
    assert ttl.may_go(replace(job, annotations={ABANDON: "true"}), Seen())


def test_what_is_lost_and_has_outputs_is_a_person_s_to_delete() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m", ttlSecondsAfterFinished=60)
        await world.until(running(world, key))
        world.site.lose_state()
        await world.until(finished(world, key))
        body, now = world.api.objects[key], EPOCH + world.loop.time()
        assert ttl.left(trainingjob(body), now) == pytest.approx(LONGEST_SECONDS, abs=5)
        output = {"name": "model", "path": "model.pt", "destination": {"s3": S3}}
        outputs = {**body, "spec": {**body["spec"], "outputs": [output]}}

        assert trainingjob(outputs).invalid is None
        assert ttl.left(trainingjob(outputs), now + 2 * LONGEST_SECONDS) is None

    told(story, LONG)


def test_a_deleted_lost_job_is_looked_for_once_more_and_ended() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        await unlisted(world, 150)
        assert world.condition(key, "Succeeded") == LOST
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 60)

        assert world.states() == ["CANCELLED"]

    told(story, LONG)


def test_a_runaway_row_costs_a_dozen_look_ups_and_changes_nothing() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        world.site.lose_state()  # accounting has it as alive for ever
        await world.until(finished(world, key), 200)
        assert world.condition(key, "Succeeded") == LOST
        await asyncio.sleep(5)
        world.site.calls.clear()
        world.api.writes.clear()
        await asyncio.sleep(100_000)

        surveys = 100_000 // SURVEY_SECONDS  # they come later by chance, never sooner, and ask accounting nothing
        assert 8 <= world.site.calls.count("accounted") <= 12
        assert world.site.calls.count("find") <= 12 + surveys
        assert world.api.writes == []
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "now"})
        await world.until(running(world, key), 120)
        assert [each["number"] for each in world.status(key)["attempts"]] == [1, 2]

    told(story, LONG, period="60s")


def test_a_retry_that_was_asked_for_before_the_loss_is_believed_follows_it_at_once() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        world.site.lose_state()
        await asyncio.sleep(60)
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "now"})
        await world.until(lambda: len(world.status(key)["attempts"]) == 2, 90)

        assert world.status(key)["attempts"][0]["reason"] == "OutcomeLost"

    told(story, LONG)


def test_without_accounting_a_lost_job_comes_to_light_again_too() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="50m")
        await world.until(running(world, key))
        await unlisted(world, 5)
        await asyncio.sleep(30)
        assert world.condition(key, "Running")[0] == "True"
        await unlisted(world, 200)
        assert world.condition(key, "Succeeded") == LOST
        await world.until(running(world, key), 400)

    partial(told, accounting=False)(story, LONG)


def test_what_is_lost_is_looked_for_ever_later_and_for_a_day() -> None:
    assert next_look(1000, 1000) == 120
    assert next_look(1000, 1119) == 1
    assert next_look(1000, 1120) == 120
    assert next_look(1000, 1500) == 480 - 20
    assert next_look(1000, 990) == 120, "a clock that was set back"
    assert next_look(1000, 1000 + 61_439) == 1
    assert next_look(1000, 1000 + 61_440) is None


def asked_picture() -> Picture:
    picture = Picture()
    picture.meet(Identity("c", "u"))
    picture.ask(RUN, Inquiry(highest=1, thorough=True))
    return picture


def test_accounting_s_word_stands_until_it_is_believed_no_more() -> None:
    picture = asked_picture()
    assert picture.doubt(row()) == RUN
    assert picture.doubt(row()) is None, "it is no news"
    picture.settle({RUN}, at(10), 1, accounted=True)
    assert [job.job_id for _, job in picture.seen(RUN, (), None).jobs] == ["7"]
    picture.settle({RUN}, at(10 + LOST_SECONDS - 1), 1, accounted=True)
    assert not picture.seen(RUN, (), None).absent
    picture.settle({RUN}, at(10 + LOST_SECONDS), 1, accounted=True)

    seen = picture.seen(RUN, (), None)
    assert not seen.jobs
    assert seen.absent == seen.lost == {1}
    assert picture.doubt(row()) is None, "it was believed long enough"


def test_what_was_asked_before_the_wait_was_over_is_no_evidence_however_late_it_is_answered() -> None:
    picture = asked_picture()
    picture.doubt(row())
    picture.settle({RUN}, Asked(5, 10), 1, accounted=True)
    picture.settle({RUN}, Asked(9 + LOST_SECONDS, 60 + LOST_SECONDS), 1, accounted=True)
    assert not picture.seen(RUN, (), None).absent
    picture.settle({RUN}, Asked(10 + LOST_SECONDS, 60 + LOST_SECONDS), 1, accounted=True)
    assert picture.seen(RUN, (), None).absent


def test_a_longer_settle_time_than_that_is_kept() -> None:
    picture = asked_picture()
    picture.doubt(row())
    picture.settle({RUN}, at(10), 500, accounted=True)
    picture.settle({RUN}, at(500), 500, accounted=True)
    assert not picture.seen(RUN, (), None).absent


@pytest.mark.parametrize("better", [row(job_id="8", live=True), row("COMPLETED", "8"), row("COMPLETED")])
def test_a_better_record_of_the_attempt_ends_the_doubt(better: RemoteJob) -> None:
    picture = asked_picture()
    picture.doubt(row())
    picture.take_in(better)

    assert [job for _, job in picture.seen(RUN, (), None).jobs] == [better]
    assert picture.doubt(row()) is None


def test_a_row_of_an_earlier_life_is_neither_its_word_nor_its_end() -> None:
    picture = asked_picture()
    picture.take_in(replace(row(live=True), submit_time=5))
    picture.doubt(row("PENDING"))
    picture.take_in(row("NODE_FAIL"))

    assert [job for _, job in picture.seen(RUN, (), None).jobs] == [replace(row(), submit_time=5)]


def test_another_cluster_s_row_is_no_evidence() -> None:
    picture = asked_picture()
    picture.meet(Identity("elsewhere", "u"))
    assert picture.doubt(row()) is None

"""The loop as a whole, in memory and virtual time: what users do, what sites do, and death at every point."""

from __future__ import annotations

import asyncio

import pytest

import virtual_time
from little_world import Points, World
from passerelle.gateways.memory import Fate
from passerelle.objects import Key, TrainingJob
from passerelle.reconcile import Reconciler
from passerelle.v1alpha1.trainingjob import FINALIZER
from stories import finished, running, told


def test_a_job_lives_its_life_in_at_most_six_writes() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(finished(world, key))
        await asyncio.sleep(60)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert [job.state.base for job in world.site.snapshot()] == ["COMPLETED"]
        assert len(world.api.writes) <= 6, world.api.writes
        assert [reason for _, reason, _ in world.api.events] == ["Planned", "Submitted", "Running", "Completed"]

    told(story)


def test_the_echo_of_our_own_writes_costs_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []
    one_pass = Reconciler._pass

    async def counted(self: Reconciler, job: TrainingJob) -> float | None:
        passes.append(job.resource_version)
        return await one_pass(self, job)

    monkeypatch.setattr(Reconciler, "_pass", counted)

    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(finished(world, key))
        await asyncio.sleep(60)

        assert len(passes) <= len(["look up", "intend", "submit", "read", "started", "ended"])

    told(story)


def test_a_lost_answer_is_adopted() -> None:
    async def story(world: World) -> None:
        world.site.faults.lose_answers = 1
        key = world.api.create("a")
        await world.until(finished(world, key))

        assert len(world.site.snapshot()) == 1
        assert world.condition(key, "Succeeded")[0] == "True"

    told(story)


def test_a_frozen_scheduler_that_accepts_late_gets_one_job() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(2)
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(2)
        world.site.faults.frozen = True
        world.api.edit(key, suspend=False)
        await asyncio.sleep(120)
        world.site.thaw()
        await world.until(finished(world, key))

        assert len(world.site.snapshot()) == 1
        assert world.condition(key, "Succeeded")[0] == "True"

    told(story)


def test_a_submit_that_never_arrived_is_sent_again_as_the_same_attempt() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(2)
        world.site.faults.scheduler_down = True
        key = world.api.create("a")
        await asyncio.sleep(30)
        world.site.faults.scheduler_down = False
        await world.until(finished(world, key))

        assert [attempt["number"] for attempt in world.status(key)["attempts"]] == [1]
        assert len(world.site.snapshot()) == 1

    told(story)


def test_a_listing_that_lags_behind_makes_no_second_job() -> None:
    async def story(world: World) -> None:
        world.site.settle_seconds = 10
        world.site.faults.listing_lag = 8
        world.site.faults.accounting_lag = 9
        world.site.faults.lose_answers = 1
        key = world.api.create("a")
        await world.until(finished(world, key))

        assert len(world.site.snapshot()) == 1

    told(story)


def test_accounting_that_lags_long_is_outvoted_by_the_live_listing() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(2)
        world.site.faults.accounting_lag = 500
        world.site.faults.lose_answers = 1
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(2)
        world.api.edit(key, suspend=False)
        await world.until(finished(world, key))

        assert len(world.site.snapshot()) == 1

    told(story)


def test_without_accounting_an_answer_nothing_is_believed_absent() -> None:
    async def story(world: World) -> None:
        world.site.faults.lose_answers = 1
        world.site.faults.accounting_down = True
        key = world.api.create("a")
        await asyncio.sleep(300)
        assert world.site.snapshot() == []
        world.site.faults.accounting_down = False
        await world.until(finished(world, key))

        assert len(world.site.snapshot()) == 1

    told(story)


def test_a_job_that_the_site_has_lost_is_lost_not_repeated() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 5})
        await world.until(running(world, key))
        world.site.forget(world.status(key)["attempts"][0]["jobId"])
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        assert world.site.snapshot() == []

    told(story)


def test_a_purged_job_is_found_in_accounting() -> None:
    async def story(world: World) -> None:
        world.site.purge_seconds = 0.0
        key = world.api.create("a")
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story)


def test_node_failures_are_tried_again_up_to_max_attempts() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(running=5, end="NODE_FAIL", exit_code=1)
        key = world.api.create("a", retry={"maxAttempts": 3})
        await world.until(finished(world, key))

        assert [attempt["reason"] for attempt in world.status(key)["attempts"]] == ["NodeFailure"] * 3
        assert world.condition(key, "Succeeded") == ("False", "NodeFailure")
        assert len(world.site.snapshot()) == 3

    told(story)


def test_a_retry_by_hand_counts_once() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(running=5, end="FAILED", exit_code=1)
        key = world.api.create("a")
        await world.until(finished(world, key))
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "2026-01-01"})
        await asyncio.sleep(60)

        assert len(world.status(key)["attempts"]) == 2
        assert world.status(key)["lastHandledRetryAt"] == "2026-01-01"
        assert world.condition(key, "Finished")[0] == "True"

    told(story)


def test_a_job_that_an_administrator_requeues_is_the_same_attempt() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.site.requeue(world.status(key)["attempts"][0]["jobId"])
        await world.until(finished(world, key))

        assert [attempt["restartCount"] for attempt in world.status(key)["attempts"]] == [1]
        assert len(world.site.snapshot()) == 1

    told(story)


def test_a_refused_job_stalls_and_is_not_sent_every_second() -> None:
    async def story(world: World) -> None:
        world.site.shape = type(world.site.shape)(accounts=frozenset())
        key = world.api.create("a")
        await world.until(lambda: world.condition(key, "Stalled")[0] == "True")
        await asyncio.sleep(300)

        assert world.condition(key, "Submitted") == ("False", "InvalidAccount")
        assert world.condition(key, "Stalled")[0] == "True"
        assert world.site.calls.count("submit") == 1

    told(story)


def test_a_refused_job_is_tried_again_ever_later_and_at_once_when_a_person_asks() -> None:
    async def story(world: World) -> None:
        world.site.shape = type(world.site.shape)(accounts=frozenset())
        key = world.api.create("a")
        await asyncio.sleep(86_400)
        tried = world.site.calls.count("submit")
        assert 6 <= tried <= 9  # after 10, 20, 40 minutes, ..., 6 hours
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "now"})
        await asyncio.sleep(120)
        assert world.site.calls.count("submit") == tried + 1
        assert world.status(key)["lastHandledRetryAt"] == "now"
        world.site.shape = type(world.site.shape)()
        await world.edit_site(maxJobs=7)  # the administrator has mended something
        await world.until(finished(world, key), 600)

        assert world.states() == ["COMPLETED"]

    told(story, period="60s")


def test_max_jobs_holds_back_what_is_too_much() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}") for number in range(6)]
        most = 0
        while not all(world.condition(key, "Finished")[0] == "True" for key in keys):
            live = [job for job in world.site.snapshot() if job.state.ending is None]
            most = max(most, len(live))
            await asyncio.sleep(0.5)

        assert most == 2

    told(story, maxJobs=2)


def test_a_suspended_site_holds_new_jobs_and_watches_the_old() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await asyncio.sleep(30)

        assert world.condition(key, "Submitted") == ("False", "SiteSuspended")
        assert world.condition(key, "Accepted")[0] == "True"
        assert world.site.snapshot() == []

    told(story, suspend=True)


def test_deleting_while_the_answer_is_missing_waits_for_it_and_leaves_no_job_behind() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(5)
        world.site.faults.frozen = True
        world.api.edit(key, suspend=False)
        await asyncio.sleep(5)
        assert world.site.calls.count("submit") == 1
        assert world.api.objects[key]["metadata"]["finalizers"] == [FINALIZER]
        world.api.delete(key)
        await asyncio.sleep(20)
        assert key in world.api.objects, "an unanswered submit may still become a job"
        assert world.states() == []
        world.site.thaw()
        assert world.states() == ["PENDING"]
        await world.until(lambda: key not in world.api.objects)

        assert world.states() == ["CANCELLED"]

    told(story, Fate(queued=1, running=10_000))


def test_a_site_that_leads_elsewhere_names_its_stranded_jobs_and_submits_nothing_of_them() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(running=500)
        key = world.api.create("a", retry={"maxAttempts": 5})
        await world.until(running(world, key))
        world.site.cluster = "elsewhere"
        world.site.forget(world.status(key)["attempts"][0]["jobId"])
        await asyncio.sleep(120)

        kept = next(each for each in world.site_conditions() if each["type"] == "IdentityKept")
        assert kept["status"] == "False"
        assert "team-a/a" in kept["message"]
        assert world.condition(key, "Running") == ("True", "Running")
        assert world.site.snapshot() == []

    told(story)


def test_a_site_that_answers_as_another_user_neither_adopts_nor_cancels() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(2)
        world.site.faults.lose_answers = 1
        world.site.faults.listing_lag = world.site.faults.accounting_lag = 5
        world.site.settle_seconds = 20
        key = world.api.create("a")
        await world.until(lambda: bool(world.site.snapshot()))
        world.site.cluster = "elsewhere"
        await asyncio.sleep(120)

        assert "jobId" not in world.status(key)["attempts"][0]
        assert world.condition(key, "Submitted") == ("Unknown", "IdentityChanged")
        world.site.cluster = "memory"
        await world.until(finished(world, key))
        assert len(world.site.snapshot()) == 1
        assert [each["type"] for each in world.site_conditions()] == ["Ready", "FullyCapable"]

    told(story)


def test_a_ttl_deletes_the_finished_and_nothing_else() -> None:
    async def story(world: World) -> None:
        brief = world.api.create("brief", ttlSecondsAfterFinished=30)
        kept = world.api.create("kept")
        await world.until(lambda: brief in world.api.objects and finished(world, brief)())
        await asyncio.sleep(20)
        assert brief in world.api.objects
        await asyncio.sleep(30)

        assert brief not in world.api.objects
        assert world.condition(kept, "Finished")[0] == "True"

    told(story)


def test_a_ttl_that_has_changed_since_the_watch_told_last_deletes_nothing() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", ttlSecondsAfterFinished=100)
        await world.until(finished(world, key))
        with world.api.unwatched():
            world.api.edit(key, ttlSecondsAfterFinished=400)
        await asyncio.sleep(300)
        assert key in world.api.objects
        await asyncio.sleep(150)

        assert key not in world.api.objects, "it was read again"

    told(story)


def test_a_relay_whose_comments_are_far_between_is_not_called_silent_before_several_were_due() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(running=3000)
        heard, silent = world.api.create("heard", timeLimit="1h"), world.api.create("silent", timeLimit="1h")
        for key in (heard, silent):
            await world.until(running(world, key))
        await asyncio.sleep(9 * 60)
        world.site.set_comment(world.status(heard)["attempts"][0]["jobId"], '{"v":1,"s":3,"n":9}')
        await asyncio.sleep(5.5 * 60)
        assert world.condition(silent, "ProgressAvailable") == ("", ""), "three comments were not due yet"
        assert world.status(heard)["progress"]["step"] == 3
        await world.until(lambda: world.condition(silent, "ProgressAvailable")[0] == "False", 7 * 60)

        assert world.condition(heard, "ProgressAvailable") == ("", "")

    told(story, commentPeriod="5m")


def test_a_relay_that_is_never_heard_of_is_told_while_the_job_runs() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(running=400)
        key = world.api.create("a")
        await world.until(running(world, key))
        await asyncio.sleep(60)
        assert world.condition(key, "ProgressAvailable") == ("", "")
        await world.until(lambda: world.condition(key, "ProgressAvailable")[0] == "False", 120)
        world.site.set_comment(world.status(key)["attempts"][0]["jobId"], '{"v":1,"s":3,"n":9}')
        await world.until(lambda: "progress" in world.status(key), 120)

        assert world.condition(key, "ProgressAvailable") == ("", "")
        assert world.status(key)["progress"]["step"] == 3

    told(story)


async def _life(world: World, key: Key) -> None:
    await world.until(lambda: key not in world.api.objects or world.condition(key, "Finished")[0] == "True")


def _crash(kill_at: int, fate: Fate, *, then: str = "") -> Points:
    """A life with one death: the first operator dies at a point, the second one takes over."""
    points = Points(kill_at)

    async def main() -> None:
        world = World(period="2s")  # looks are what a life costs; all that befalls a job lasts longer
        world.site.fates = lambda _: fate
        await world.start_operator(points)
        key = world.api.create("a", retry={"maxAttempts": 2})
        run = world.run_of(key)
        if then:
            await asyncio.sleep(8)
            {"suspend": lambda: world.api.edit(key, suspend=True), "delete": lambda: world.api.delete(key)}[then]()
        await asyncio.sleep(120)
        await world.end_operator()
        await world.start_operator()
        if then == "suspend":
            await asyncio.sleep(60)
            world.api.edit(key, suspend=False)
        await _life(world, key)
        await asyncio.sleep(60)
        await world.end_operator()

        jobs = world.site.snapshot()
        names = [job.name for job in jobs]
        assert len(names) == len(set(names)), f"two jobs with one marker: {names}"
        assert all(job.state.ending is not None for job in jobs), f"an orphan: {jobs}"
        if then == "delete":
            assert key not in world.api.objects
            return
        assert names[-1] == run.marker(len(names))
        before = ["CANCELLED"] if "after cancel" in points.names else ["NODE_FAIL"] if fate.end == "NODE_FAIL" else []
        assert world.states() == [*before, fate.end]
        attempts = world.status(key)["attempts"]
        assert [attempt["marker"] for attempt in attempts] == names
        assert world.condition(key, "Succeeded")[0] == ("True" if fate.end == "COMPLETED" else "False")
        assert world.api.objects[key]["metadata"]["finalizers"] == [FINALIZER]

    virtual_time.run(main())
    return points


LIVES = {
    "a success": (Fate(queued=3, running=20), ""),
    "a node failure and its retry": (Fate(queued=3, running=5, end="NODE_FAIL", exit_code=1), ""),
    "a suspended and resumed run": (Fate(queued=3, running=20), "suspend"),
    "a deleted run": (Fate(queued=3, running=10_000), "delete"),
}


@pytest.mark.parametrize("life", LIVES)
def test_an_operator_that_dies_at_any_point_loses_nothing_and_runs_nothing_twice(life: str) -> None:
    fate, then = LIVES[life]
    undisturbed = _crash(10_000, fate, then=then)
    assert "after submit" in undisturbed.names

    for point in range(len(undisturbed.names)):
        died = _crash(point, fate, then=then)
        assert died.dead, f"point {point} was never reached"

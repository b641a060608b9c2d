"""Runs of several attempts, in memory and virtual time: what ends a chain, what does not, and what it remembers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

import virtual_time
from little_world import Points, World
from passerelle.attempts import epoch
from passerelle.batch import Batch
from passerelle.gateways.memory import Fate
from passerelle.marker import parse
from passerelle.objects import Key
from passerelle.v1alpha1.trainingjob_status import ATTEMPTS_KEPT
from stories import finished, running, told

LIMIT_SECONDS = 600
"""little_world's timeLimit."""
CHAIN = {"checkpoint": {"grace": "1m"}, "retry": {"maxAttempts": 9}}


def timed_out(first: int, last: int) -> Fate:
    """An attempt that Slurm ends at its limit; its relay told these steps."""
    return Fate(queued=1, running=LIMIT_SECONDS * 2, comment=json.dumps({"v": 1, "f": first, "s": last, "c": last}))


def stopped(first: int, last: int) -> Fate:
    """An attempt that saved a checkpoint within its grace and exited with the code that asks for another."""
    comment = {"v": 1, "f": first, "s": last, "c": last, "end": {"code": 215, "signal": None, "rank": 0}}
    return Fate(queued=1, running=LIMIT_SECONDS - 100, end="FAILED", exit_code=215, comment=json.dumps(comment))


DONE = Fate(queued=1, running=20)
FAILED = Fate(queued=1, running=20, end="FAILED", exit_code=1)


def fates(*each: Fate) -> Callable[[Batch], Fate]:
    """The fate of each attempt; the last one's for all that follow."""

    def fate(batch: Batch) -> Fate:
        found = parse(batch.options.name)
        assert found is not None
        return each[min(found[1], len(each)) - 1]

    return fate


def reasons(world: World, key: Key) -> list[str]:
    return [attempt["reason"] for attempt in world.status(key)["attempts"]]


def message(world: World, key: Key) -> str:
    conditions = world.status(key)["conditions"]
    return str(next(each["message"] for each in conditions if each["type"] == "Succeeded"))


def test_a_training_that_outlives_its_time_limits_succeeds_in_the_end() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(timed_out(1, 40), stopped(41, 80), timed_out(81, 120), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert reasons(world, key) == ["TimeLimit", "Stopped", "TimeLimit", "Completed"]
        steps = [(each.get("firstStep"), each.get("lastStep")) for each in world.status(key)["attempts"]]
        assert steps == [(1, 40), (41, 80), (81, 120), (None, None)]
        assert len(world.site.snapshot()) == 4

    told(story)


def test_the_next_attempt_of_a_chain_follows_at_once() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(stopped(1, 40), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 3 * LIMIT_SECONDS)

        first, second = world.status(key)["attempts"]
        ended, submitted = epoch(first["endTime"]), epoch(second["submitTime"])
        assert ended is not None
        assert submitted is not None
        assert submitted - ended < 5

    told(story)


def test_a_chain_that_comes_no_further_stops_and_tells_both_steps() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(timed_out(1, 40), timed_out(41, 80), timed_out(1, 80), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)
        await asyncio.sleep(600)

        assert world.condition(key, "Succeeded") == ("False", "NoProgress")
        assert "Attempt 3 ended at its time limit and came to step 80" in message(world, key)
        assert "an earlier one had come to step 80" in message(world, key)
        assert reasons(world, key) == ["TimeLimit"] * 3
        assert len(world.site.snapshot()) == 3

    told(story)


def stopped_untold(first: int, last: int, saved: int | None = None) -> Fate:
    """As `stopped`, but the checkpoint of the stop is not told of, only one that was saved on the way."""
    comment = {"v": 1, "f": first, "s": last, "end": {"code": 215, "signal": None, "rank": 0}}
    return replace(stopped(first, last), comment=json.dumps(comment if saved is None else comment | {"c": saved}))


@pytest.mark.parametrize(
    "told_steps",
    [
        [(1, 40), (41, 80), (81, 120)],  # no checkpoint is ever told of
        [(1, 450), (451, 900), (901, 1350, 1000), (1351, 1800), (1801, 2250, 2000), (2251, 2700)],
        [(1, 450, 400), (401, 800), (801, 1250)],  # the first one was told of, and loaded
    ],
)
def test_a_chain_that_tells_of_few_checkpoints_goes_on_while_its_steps_do(told_steps: list[tuple[int, ...]]) -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(*(stopped_untold(*each) for each in told_steps), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 9 * LIMIT_SECONDS)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert len(world.site.snapshot()) == len(told_steps) + 1

    told(story)


def test_a_chain_that_saves_no_more_stops_when_an_attempt_begins_where_one_before_it_began() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(stopped(1, 400), stopped_untold(401, 800), stopped_untold(401, 805), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 9 * LIMIT_SECONDS)

        assert world.condition(key, "Succeeded") == ("False", "NoProgress")
        assert "Attempt 3 ended at its time limit and told of no checkpoint after its start at step 401" in message(
            world, key
        )
        assert len(world.site.snapshot()) == 3

    told(story)


def test_an_attempt_that_had_not_all_its_time_is_no_measure_for_one_that_begins_where_it_began() -> None:
    early = Fate(queued=1, running=20, end="PREEMPTED", comment=json.dumps({"v": 1, "f": 401, "s": 409}))

    async def story(world: World) -> None:
        world.site.fates = fates(stopped(1, 400), early, stopped_untold(401, 800), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 9 * LIMIT_SECONDS)

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story)


def test_a_chain_that_tells_no_step_stops_after_the_second_attempt() -> None:
    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(running=LIMIT_SECONDS * 2)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        assert world.condition(key, "Succeeded") == ("False", "NoProgress")
        assert len(world.site.snapshot()) == 2

    told(story)


def test_a_chain_ends_at_max_attempts_and_goes_on_when_more_are_allowed() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(timed_out(1, 40), stopped(41, 80), DONE)
        key = world.api.create("a", checkpoint={"grace": "1m"}, retry={"maxAttempts": 2})
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)
        await asyncio.sleep(600)
        assert world.condition(key, "Succeeded") == ("False", "Stopped")
        assert "retry.maxAttempts, 2, allows no other attempt" in message(world, key)
        assert len(world.site.snapshot()) == 2

        world.api.edit(key, retry={"maxAttempts": 3})
        await world.until(lambda: world.condition(key, "Succeeded")[0] == "True", 600)

        assert reasons(world, key) == ["TimeLimit", "Stopped", "Completed"]

    told(story)


def test_a_users_error_ends_a_chain() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(timed_out(1, 40), FAILED, DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)
        await asyncio.sleep(600)

        assert world.condition(key, "Succeeded") == ("False", "Failed")
        assert len(world.site.snapshot()) == 2

    told(story)


def test_without_checkpoint_a_time_limit_is_the_end() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(timed_out(1, 40), DONE)
        key = world.api.create("a", retry={"maxAttempts": 9})
        await world.until(finished(world, key), 3 * LIMIT_SECONDS)
        await asyncio.sleep(600)

        assert world.condition(key, "Succeeded") == ("False", "TimeLimit")
        assert len(world.site.snapshot()) == 1

    told(story)


NODE_FAILED = Fate(queued=1, running=5, end="NODE_FAIL", exit_code=1, failed_node="n2")
BAD_NODE = Fate(
    queued=1,
    running=5,
    end="FAILED",
    exit_code=214,
    comment='{"v":1,"end":{"code":214,"signal":null,"rank":null,"nodes":["n5"]}}',
)


def excludes(world: World) -> list[tuple[str, ...]]:
    return [batch.options.exclude for _, batch in sorted(world.site.batches.items())]


def test_nodes_that_failed_an_attempt_are_kept_away_from_ever_after() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(NODE_FAILED, BAD_NODE, timed_out(1, 40), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        assert excludes(world) == [(), ("n2",), ("n2", "n5"), ("n2", "n5")]
        assert world.status(key)["excludedNodes"] == ["n2", "n5"]
        assert reasons(world, key) == ["NodeFailure", "BadNode", "TimeLimit", "Completed"]
        assert world.site.calls.count("submit") == 4

    told(story)


def test_where_no_node_would_be_left_the_next_attempt_runs_on_any() -> None:
    async def story(world: World) -> None:
        nodes = [replace(NODE_FAILED, failed_node=f"n{number}") for number in range(1, 4)]
        world.site.fates = fates(*nodes, DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        assert excludes(world) == [(), ("n1",), ("n1", "n2"), ()], "two of four nodes are needed"
        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.site.calls.count("submit") == 5

    told(story)


def test_a_limit_of_the_moment_brings_no_bad_node_back() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(NODE_FAILED, DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(running(world, key))
        world.site.shape = replace(world.site.shape, max_jobs=0)
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "TooManyJobs"), 120)
        world.site.shape = replace(world.site.shape, max_jobs=9)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        assert excludes(world) == [(), ("n2",)]

    told(story)


def test_a_defect_of_planning_or_advice_does_not_hide_the_end_of_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise IndexError("a defect")

    async def story(world: World) -> None:
        world.site.fates = fates(timed_out(1, 40), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(running(world, key))
        monkeypatch.setattr("passerelle.planning.preflight", broken)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)
        assert world.condition(key, "Succeeded") == ("True", "Completed"), "advice is not needed"

        monkeypatch.setattr("passerelle.planning.plan", broken)
        other = world.api.create("b", **CHAIN)
        await world.until(lambda: world.condition(other, "Accepted") == ("False", "Defect"))

    told(story)


def test_an_intent_that_can_be_planned_no_more_says_so() -> None:
    async def story(world: World) -> None:
        world.api.config_maps["code"] = {"train.py": b"pass"}
        world.site.shape = replace(world.site.shape, max_jobs=0)
        key = world.api.create("a", files=[{"configMap": "code", "path": "/workspace"}])
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "TooManyJobs"))
        del world.api.config_maps["code"]
        await world.until(lambda: world.condition(key, "Accepted")[1] == "ConfigMapNotFound", 1_000)

        assert world.condition(key, "Stalled") == ("True", "ConfigMapNotFound")

    told(story)


def test_an_attempt_that_was_asked_for_meanwhile_keeps_away_from_the_node_too() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(Fate(queued=1, running=20, end="NODE_FAIL", failed_node="n2"), DONE)
        key = world.api.create("a")
        await world.until(running(world, key))
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "2026-01-01"})
        await world.until(lambda: world.condition(key, "Succeeded")[0] == "True")

        assert excludes(world) == [(), ("n2",)]

    told(story)


def test_the_last_word_of_an_attempt_counts_in_the_pass_that_sees_its_end() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(stopped(1, 40), stopped(1, 40), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(lambda: len(world.site.snapshot()) == 2, 2 * LIMIT_SECONDS)
        second = world.site.snapshot()[1]
        await asyncio.sleep(LIMIT_SECONDS - 100)  # its end is a second away
        world.site.set_comment(second.job_id, stopped(41, 80).comment)
        await world.until(finished(world, key))

        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story)


def test_only_failures_in_a_row_make_the_next_attempt_wait_longer() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(stopped(1, 40), stopped(41, 80), stopped(81, 120), NODE_FAILED, NODE_FAILED, DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        attempts = world.status(key)["attempts"]
        ends, begins = [epoch(each["endTime"]) for each in attempts], [epoch(each["submitTime"]) for each in attempts]
        waits = [(begin or 0) - (end or 0) for end, begin in zip(ends, begins[1:], strict=False)]
        assert max(waits[:3]) < 5
        assert 10 <= waits[3] < 15
        assert 20 <= waits[4] < 25

    told(story)


def test_a_preempted_attempt_blames_no_node() -> None:
    async def story(world: World) -> None:
        world.site.fates = fates(Fate(running=5, end="PREEMPTED", failed_node="n2"), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key))

        assert excludes(world) == [(), ()]

    told(story)


def _life_with_a_death(kill_at: int) -> Points:
    """A node failure, two time limits, a success; the first operator dies at a point, the second one takes over."""
    points = Points(kill_at)

    async def main() -> None:
        world = World(period="5s")  # looks are what a life costs; all that befalls a job lasts longer
        each = NODE_FAILED, timed_out(1, 40), replace(stopped(41, 80), running=40), DONE
        world.site.fates = fates(*(replace(fate, queued=6) for fate in each))
        await world.start_operator(points)
        key = world.api.create(
            "a", **CHAIN | {"checkpoint": {"grace": "10s"}, "timeLimit": "5m"}
        )  # short, for each point
        await world.until(lambda: points.dead or finished(world, key)(), 6 * LIMIT_SECONDS)
        await asyncio.sleep(120)
        await world.end_operator()
        await world.start_operator()
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)
        await asyncio.sleep(60)
        await world.end_operator()

        run = world.run_of(key)
        assert [job.name for job in world.site.snapshot()] == [run.marker(number) for number in (1, 2, 3, 4)]
        assert world.states() == ["NODE_FAIL", "TIMEOUT", "FAILED", "COMPLETED"]
        assert excludes(world) == [(), ("n2",), ("n2",), ("n2",)]
        assert world.condition(key, "Succeeded") == ("True", "Completed")

    virtual_time.run(main())
    return points


def test_an_operator_that_dies_at_any_point_of_a_chain_loses_nothing_and_runs_nothing_twice() -> None:
    undisturbed = _life_with_a_death(10_000)
    assert undisturbed.names.count("after submit") == 4

    for point in range(len(undisturbed.names)):
        died = _life_with_a_death(point)
        assert died.dead, f"point {point} was never reached"


@pytest.mark.parametrize("lost", [40, 0])
def test_a_chain_whose_comment_was_lost_counts_what_was_written_down(lost: int) -> None:
    """Slurm forgets the comment with the job: accounting keeps none. What came while the job ran stands in status."""

    async def story(world: World) -> None:
        world.site.purge_seconds = 0.0
        world.site.fates = fates(timed_out(1, 40), timed_out(lost + 1, lost + 40), DONE)
        key = world.api.create("a", **CHAIN)
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        assert world.condition(key, "Succeeded")[1] == ("Completed" if lost else "NoProgress")

    told(story)


def test_a_chain_remembers_how_far_an_attempt_came_that_is_listed_no_longer() -> None:
    """The first attempt came to step 1000; ten were preempted early, so that it is listed no longer; then one more ends
    at its time limit far behind it.
    """

    async def story(world: World) -> None:
        world.site.purge_seconds = 0.0  # and with the jobs their comments
        early = Fate(queued=1, running=20, end="PREEMPTED", comment=json.dumps({"v": 1, "f": 1, "s": 9, "c": 9}))
        world.site.fates = fates(timed_out(1, 1000), *[early] * ATTEMPTS_KEPT, timed_out(401, 500), DONE)
        key = world.api.create("a", checkpoint={"grace": "1m"}, retry={"maxAttempts": 20})
        await world.until(lambda: world.status(key).get("attemptsTotal") == ATTEMPTS_KEPT + 2, 100 * LIMIT_SECONDS)
        await world.end_operator()
        await world.start_operator()
        await world.until(finished(world, key), 6 * LIMIT_SECONDS)

        assert world.status(key)["attempts"][0]["number"] == 3
        assert world.condition(key, "Succeeded") == ("False", "NoProgress")
        assert "came to step 500, and an earlier one had come to step 1000" in message(world, key)

    told(story)

"""maxJobs counts what may be at the site: who evidently has nothing there holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from little_world import World
from passerelle.batch import Batch
from passerelle.errors import Rejected, Unavailable
from passerelle.gateways.memory import Fate, Memory
from passerelle.gateways.purpose import Purpose
from passerelle.marker import Run
from passerelle.objects import Key
from stories import finished, running, told

LONG = Fate(queued=1, running=100_000)
CROWDED = Rejected("The site has too many jobs.", reason="TooManyJobs", transient=True)
CLOSED = Rejected("The account is closed.", reason="InvalidAccount")
FULL = Rejected("The account has too many jobs.", reason="AssocMaxSubmitJobLimit", transient=True)


def submits_end(monkeypatch: pytest.MonkeyPatch, how: Callable[[int], Exception | None]) -> None:
    """Of each submit its number, from 0, tells how it ends; None: it arrives."""
    real, count = Memory.submit, iter(range(1000))

    async def submit(self: Memory, batch: object) -> str:
        error = how(next(count))
        if error is not None:
            raise error
        return await real(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Memory, "submit", submit)


def test_who_is_refused_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    submits_end(monkeypatch, lambda number: CLOSED if number == 0 else None)

    async def story(world: World) -> None:
        bad = world.api.create("bad")
        await world.until(lambda: world.condition(bad, "Submitted") == ("False", "InvalidAccount"))
        good = world.api.create("good", timeLimit="50m")
        await world.until(running(world, good), 20)
        assert world.condition(bad, "Submitted") == ("False", "InvalidAccount")
        later = world.api.create("later")
        await asyncio.sleep(700)
        assert world.condition(bad, "Submitted") == ("False", "MaxJobs"), "it is to be tried again, and waits its turn"
        assert world.states() == ["RUNNING"]
        await world.site.cancel("1000")
        await world.until(running(world, bad), 20)
        assert world.condition(later, "Submitted") == ("False", "MaxJobs"), "the older one goes first"

    told(story, LONG, maxJobs=1)


def test_a_refusal_of_the_moment_lets_no_crowd_try_it(monkeypatch: pytest.MonkeyPatch) -> None:
    submits_end(monkeypatch, lambda number: FULL if number < 5 else None)

    async def story(world: World) -> None:
        first = world.api.create("first")
        await world.until(lambda: world.condition(first, "Submitted")[1] == "AssocMaxSubmitJobLimit")
        other = world.api.create("other")
        await asyncio.sleep(300)
        assert world.condition(other, "Submitted") == ("False", "MaxJobs")
        await world.until(running(world, other), 1000)

    told(story, LONG, maxJobs=1)


def test_nobody_waits_behind_one_that_a_full_site_refuses_for_another_reason_when_it_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submits_end(monkeypatch, {0: CROWDED, 1: CLOSED}.get)

    async def story(world: World) -> None:
        first = world.api.create("first")
        await world.until(lambda: world.condition(first, "Submitted") == ("False", "TooManyJobs"))
        others = [world.api.create(f"other-{number}") for number in range(2)]
        await world.until(lambda: {world.condition(key, "Submitted")[1] for key in others} == {"TooManyJobs"}, 10)
        assert world.states() == []
        await world.until(lambda: world.condition(first, "Submitted") == ("False", "InvalidAccount"))
        await world.until(lambda: all(running(world, key)() for key in others), 20)
        assert world.condition(first, "Submitted") == ("False", "InvalidAccount")

    told(story, LONG)


@pytest.mark.parametrize("how", ["suspended", "without its files", "strange"])
@pytest.mark.parametrize("reason", ["TooManyJobs", "PolicyLimit"])
def test_nobody_waits_behind_one_that_was_refused_once_and_wants_or_can_do_nothing_now(
    monkeypatch: pytest.MonkeyPatch, reason: str, how: str
) -> None:
    refusal = Rejected("No more of them.", reason=reason, transient=True)
    submits_end(monkeypatch, lambda number: refusal if number == 0 else None)

    async def story(world: World) -> None:
        world.api.config_maps["code"] = {"train.py": b"pass"}
        first = world.api.create("first", files=[{"configMap": "code", "path": "/workspace"}])
        await world.until(lambda: world.condition(first, "Submitted") == ("False", reason))
        if how == "strange":
            world.site.cluster = "another"
        else:
            hold(world, first, how)
        await asyncio.sleep(60)
        other = world.api.create("other")
        await world.until(running(world, other), 20)
        assert world.status(first)["attempts"][0].get("jobId") is None

    told(story, LONG, maxJobs=1)


@pytest.mark.parametrize("how", ["suspended", "without its files"])
def test_whose_submit_never_arrived_and_is_held_gives_its_place_back(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    submits_end(monkeypatch, lambda number: Unavailable("The scheduler is down.") if number == 0 else None)

    async def story(world: World) -> None:
        world.api.config_maps["code"] = {"train.py": b"pass"}
        key = world.api.create("a", files=[{"configMap": "code", "path": "/workspace"}])
        await world.until(lambda: bool(world.status(key).get("attempts")))
        hold(world, key, how)
        await asyncio.sleep(60)
        assert world.status(key)["attempts"][0].get("jobId") is None
        other = world.api.create("other")
        await world.until(running(world, other), 20)
        go_on(world, key)
        await asyncio.sleep(60)
        assert world.condition(key, "Submitted") == ("False", "MaxJobs")
        assert world.states() == ["RUNNING"]
        await world.site.cancel("1000")
        await world.until(running(world, key), 60)

    told(story, LONG, maxJobs=1)


def hold(world: World, key: Key, how: str) -> None:
    if how == "suspended":
        world.api.edit(key, suspend=True)
    else:
        world.api.config_maps.clear()


def go_on(world: World, key: Key) -> None:
    world.api.config_maps["code"] = {"train.py": b"pass"}
    world.api.edit(key, suspend=False)


def test_an_unknown_answer_keeps_its_place_although_an_earlier_submit_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = {0: CLOSED, 1: Unavailable("No answer.")}
    submits_end(monkeypatch, ends.get)

    async def story(world: World) -> None:
        first = world.api.create("first")
        await world.until(lambda: world.condition(first, "Submitted")[1] == "InvalidAccount")
        world.site.settle_seconds = 300
        await world.edit_site(maxJobs=1, pollingPeriod="2s")  # a change of the Site: it is tried again
        await asyncio.sleep(10)
        other = world.api.create("other")
        await asyncio.sleep(60)
        assert world.condition(other, "Submitted") == ("False", "MaxJobs")
        await world.until(running(world, first), 600)
        assert world.condition(other, "Submitted") == ("False", "MaxJobs")

    told(story, LONG, maxJobs=1)


def test_a_job_that_comes_to_light_late_takes_its_place_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(2)
        world.site.faults.lose_answers = 1
        with monkeypatch.context() as patched:
            patched.setattr(Memory, "_listed", lambda _: [])
            key = world.api.create("a")
            await world.until(lambda: bool(world.states()))
            world.api.edit(key, suspend=True)
            await asyncio.sleep(60)
        world.api.edit(key, suspend=False)
        await world.until(running(world, key))
        other = world.api.create("other")
        await asyncio.sleep(30)
        assert world.condition(other, "Submitted") == ("False", "MaxJobs")
        await world.until(finished(world, key), 1000)
        await world.until(running(world, other), 60)

    told(story, Fate(queued=1, running=300), maxJobs=1, accounting=False)


def test_an_operator_that_starts_counts_all_before_it_submits_any() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"a{number}", timeLimit="50m") for number in range(2)]
        await world.until(lambda: all(running(world, key)() for key in keys))
        waiting = [world.api.create(f"b{number}") for number in range(3)]
        await asyncio.sleep(10)
        await world.end_operator()
        world.api.objects = {key: world.api.objects[key] for key in [*waiting, *keys]}
        await world.start_operator(pause=10)
        await asyncio.sleep(60)

        assert world.states() == ["RUNNING"] * 2
        assert {world.condition(key, "Submitted") for key in waiting} == {("False", "MaxJobs")}

    told(story, LONG, maxJobs=2)


def test_who_is_listed_at_the_start_is_worked_on_though_its_site_does_not_exist() -> None:
    async def story(world: World) -> None:
        await world.end_operator()
        key = world.api.create("a", site="nowhere")
        await world.start_operator()
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "SiteNotFound"), 5)

    told(story)


def test_another_attempt_keeps_its_turn_and_is_not_looked_up_again_while_it_waits() -> None:
    async def story(world: World) -> None:
        old = world.api.create("old", timeLimit="1h", retry={"maxAttempts": 5})
        markers = [Run.of_uid(world.api.objects[old]["metadata"]["uid"]).marker(number) for number in (1, 2)]
        submitted: list[str] = []

        def fates(batch: Batch) -> Fate:
            submitted.append(batch.options.name)
            if batch.options.name == markers[0]:
                return Fate(queued=1, running=20, end="NODE_FAIL", exit_code=None)
            return Fate(queued=1, running=900)

        world.site.fates = fates
        await asyncio.sleep(2)
        for number in range(5):
            world.api.create(f"new-{number}", timeLimit="1h")
        await world.until(lambda: world.condition(old, "Submitted") == ("False", "MaxJobs"))
        asked = world.site.calls.count("accounted")
        await asyncio.sleep(800)
        assert world.condition(old, "Submitted") == ("False", "MaxJobs")
        assert world.site.calls.count("accounted") - asked <= 2
        await world.until(lambda: len(submitted) == 3)
        assert submitted[2] == markers[1], "one began during the back-off, and no other"

    told(story, maxJobs=1)


def test_one_that_is_held_for_long_is_not_looked_up_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        wait = world.service.courtesy.budget.wait

        def spent(purpose: Purpose) -> float:
            return 20.0 if purpose is Purpose.SUBMIT else wait(purpose)

        key = world.api.create("a", retry={"maxAttempts": 5})
        await world.until(lambda: bool(ends(world, key)))
        monkeypatch.setattr(world.service.courtesy.budget, "wait", spent)
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "SiteSpared"))
        asked = world.site.calls.count("find")
        await asyncio.sleep(3600)
        assert world.condition(key, "Submitted") == ("False", "SiteSpared")
        assert world.site.calls.count("find") - asked <= 2

    told(story, Fate(queued=1, running=20, end="NODE_FAIL", exit_code=None))


def ends(world: World, key: Key) -> list[str]:
    return [each["endTime"] for each in world.status(key).get("attempts", []) if "endTime" in each]

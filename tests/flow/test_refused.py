"""A refusal that came back from the second of two equal requests: the first one's job may run under the marker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from little_world import World
from passerelle.batch import Batch
from passerelle.copies import FOLLOWED_SECONDS
from passerelle.errors import Rejected
from passerelle.gateways.memory import Fate, Memory
from passerelle.slurm import Stage
from stories import finished, running, told

LIMIT = Rejected("Slurm refused the job: Job violates accounting/QOS policy.", reason="PolicyLimit", transient=True)
FOR_GOOD = Rejected("Slurm refused the job: Invalid account.", reason="InvalidAccount")
LONG = Fate(queued=1, running=3500)


class Twice:
    """The site has room for one job; each submit arrives there twice, and the second answer comes back."""

    def __init__(self, error: Rejected = LIMIT) -> None:
        self.posts = 0
        self.error = error

    def method(self) -> Callable[[Memory, Batch], Awaitable[str]]:
        async def submit(site: Memory, batch: Batch) -> str:
            self.posts += 1
            site._called("submit")
            if all(job.stage is Stage.ENDED for job in site.snapshot()):
                site._accept(batch)
            raise self.error

        return submit


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> Twice:
    double = Twice()
    monkeypatch.setattr(Memory, "submit", double.method())
    return double


def test_a_refused_submit_is_followed_by_name(twice: Twice) -> None:
    async def story(world: World) -> None:
        twice.error = FOR_GOOD
        await asyncio.sleep(200)
        key = world.api.create("a", timeLimit="1h")
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "InvalidAccount"), 20)
        await world.until(running(world, key), FOLLOWED_SECONDS + 30)

        assert world.status(key)["attempts"][0]["jobId"] == "1000"
        assert (twice.posts, world.states()) == (1, ["RUNNING"])
        await world.until(finished(world, key), 3700)
        assert world.condition(key, "Succeeded") == ("True", "Completed")

    told(story, LONG, period="10s")


@pytest.mark.parametrize("accounting", [True, False], ids=["accounting", "none"])
def test_what_was_refused_is_looked_for_before_it_is_told_to_be_suspended(twice: Twice, *, accounting: bool) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(lambda: twice.posts == 1)
        await asyncio.sleep(5)
        world.api.edit(key, suspend=True)
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "Suspended"), 120)

        assert world.states() == ["CANCELLED"]
        assert [each["reason"] for each in world.status(key)["attempts"]] == ["Suspended"]

    told(story, LONG, period="10s", accounting=accounting)


def test_what_was_refused_is_looked_for_before_it_is_tried_anew_much_later(twice: Twice) -> None:
    async def story(world: World) -> None:
        twice.error = FOR_GOOD
        key = world.api.create("a", timeLimit="1h")
        await world.until(lambda: twice.posts == 1)
        await world.until(running(world, key), 900)

        assert twice.posts == 1

    told(story, LONG, period="10s", accounting=False)


def test_a_crowd_that_is_refused_shares_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no(site: Memory, _: Batch) -> str:
        site._called("submit")
        raise FOR_GOOD

    async def story(world: World) -> None:
        monkeypatch.setattr(Memory, "submit", no)
        for number in range(300):
            world.api.create(f"job-{number}", timeLimit="50m")
        await world.until(lambda: world.site.calls.count("submit") == 300, 600)
        world.site.calls.clear()
        await asyncio.sleep(FOLLOWED_SECONDS + 200)
        assert 6 <= world.site.calls.count("accounted") <= 30
        assert world.site.calls.count("find") == 0, "accounting tells of what a balancer may have made"
        await world.until(lambda: world.site.calls.count("submit") >= 300, 1500)

        assert world.site.calls.count("accounted") <= 60
        assert world.site.calls.count("find") <= 1, "the hour's"

    told(story, LONG, period="30s")


def test_an_account_that_stays_full_costs_no_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Memory.submit

    async def full(site: Memory, batch: Batch) -> str:
        if len(site.batches) < 3:
            return await submit(site, batch)
        site._called("submit")
        raise LIMIT

    async def story(world: World) -> None:
        monkeypatch.setattr(Memory, "submit", full)
        for number in range(7):
            world.api.create(f"job-{number}", timeLimit="1h")
        await asyncio.sleep(3600)
        world.site.calls.clear()
        await asyncio.sleep(2 * 3600)

        assert world.site.calls.count("submit") >= 20
        assert world.site.calls.count("find") <= 2, "each hour's"

    told(story, Fate(queued=1, running=1_000_000), period="30s")

"""The Site's word counts as it is when something is sent, not as it was when that was planned."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from little_world import SITE, World, gateway
from passerelle.errors import Rejected, Unavailable
from passerelle.gateways.memory import Fate, Memory, Shape
from passerelle.gateways.trust import Trust
from passerelle.passes import BATCH_SECONDS
from passerelle.passes import Memory as Remembered
from passerelle.sites import Sites
from passerelle.v1alpha1.site import SiteSpec
from stories import running, told

LONG = Fate(queued=1, running=500)
OTHERS = {"admission": [{"namespaces": ["team-b"], "accounts": ["startup"], "qos": ["normal"]}]}
ANOTHER_ACCOUNT = {"admission": [{"namespaces": ["team-a"], "accounts": ["second"], "qos": ["normal"]}]}


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first submit on, nothing is sent, until the story mends it."""
    real = Memory.submit

    async def submit(self: Memory, batch: object) -> str:
        monkeypatch.setattr(Memory, "submit", real)
        self.faults.gateway_down = True
        raise Unavailable("The connection was refused.", sent=False)

    monkeypatch.setattr(Memory, "submit", submit)


@pytest.mark.usefixtures("refusing")
def test_what_could_not_be_sent_is_not_sent_once_its_namespace_is_not_admitted() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(lambda: world.site.faults.gateway_down)
        await world.edit_site(**OTHERS)
        await asyncio.sleep(60)
        world.site.faults.gateway_down = False
        await asyncio.sleep(120)

        assert world.states() == []
        assert world.condition(key, "Accepted") == ("False", "NamespaceNotAdmitted")

    told(story, LONG)


@pytest.mark.usefixtures("refusing")
def test_what_could_not_be_sent_goes_with_the_account_of_the_day() -> None:
    async def story(world: World) -> None:
        world.site.shape = Shape(accounts=frozenset({"startup", "second"}))
        key = world.api.create("a")
        await world.until(lambda: world.site.faults.gateway_down)
        await world.edit_site(**ANOTHER_ACCOUNT)
        world.site.faults.gateway_down = False
        await world.until(running(world, key))

        assert [batch.options.account for batch in world.site.batches.values()] == ["second"]
        assert [each["account"] for each in world.status(key)["attempts"]] == ["second"]

    told(story, LONG)


def test_a_batch_counts_for_its_attempt_and_site_and_not_for_long() -> None:
    memory, batch = Remembered(fresh=1), Mock()
    memory.keep(batch, generation=3, now=100.0)

    assert memory.kept(1, 3, 100.0) is batch
    assert memory.kept(2, 3, 100.0) is None
    assert memory.kept(1, 4, 100.0) is None
    assert memory.kept(1, 3, 100.0 + BATCH_SECONDS) is None
    memory.refused = Rejected("No.")
    assert memory.kept(1, 3, 100.0) is None


def test_a_site_whose_deletion_the_watch_missed_is_soon_out_of_service() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(10)
        service = world.service
        del world.api.sites[SITE]
        await asyncio.sleep(130)
        key = world.api.create("a")
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "SiteNotFound"))

        assert world.states() == []
        assert all(task.done() for task in service.tasks)

    told(story, LONG)


def test_a_site_whose_status_finds_no_site_is_out_of_service_at_once() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        await asyncio.sleep(10)
        del world.api.sites[SITE]
        world.service.to_write.set()
        world.site.faults.gateway_down = True
        await world.until(lambda: world.condition(key, "SiteReachable") == ("False", "SiteNotFound"), 20)

        assert world._sites is not None
        assert world._sites.services() == []

    told(story, LONG)


def test_a_site_that_can_not_be_read_serves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("kube-apiserver is away.")

    async def story(world: World) -> None:
        await asyncio.sleep(10)
        monkeypatch.setattr("little_world.KubeClient.site", away)
        await asyncio.sleep(130)
        await world.until(running(world, world.api.create("a")))

    told(story, LONG)


def test_an_edit_of_a_site_that_the_watch_missed_counts_within_a_minute_or_two() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(10)
        world.api.sites[SITE]["spec"] |= OTHERS
        world.api.sites[SITE]["metadata"]["generation"] += 1
        world.api._stamped(world.api.sites[SITE])
        await asyncio.sleep(130)
        key = world.api.create("a")
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "NamespaceNotAdmitted"))

        assert world.states() == []

    told(story, LONG)


def test_an_edit_that_a_status_meets_gets_its_door() -> None:
    async def story(world: World) -> None:
        other = world.another("https://other", cluster="other")
        await asyncio.sleep(10)
        world.api.sites[SITE]["spec"] |= {"gateway": gateway("https://other")}
        world.api.sites[SITE]["metadata"]["generation"] += 1
        world.api._stamped(world.api.sites[SITE])
        world.site.faults.gateway_down = True  # the status changes, and meets the edit
        await asyncio.sleep(20)
        world.api.create("a")
        await world.until(lambda: bool(other.batches), 30)

    told(story, LONG)


def test_the_door_of_the_newest_edit_is_the_last_that_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    real, slow = Sites._trust, iter([10.0])

    async def slowly(self: Sites, spec: SiteSpec) -> Trust:
        await asyncio.sleep(next(slow, 0.0))
        return await real(self, spec)

    async def story(world: World) -> None:
        other = world.another("https://other", cluster="other")
        await asyncio.sleep(5)
        monkeypatch.setattr(Sites, "_trust", slowly)
        first = asyncio.create_task(world.edit_site(pollingPeriod="2s"))
        await asyncio.sleep(1)
        await world.edit_site(gateway=gateway("https://other"))
        await first
        world.api.create("a")
        await world.until(lambda: bool(other.batches), 60)

        assert world.states() == []

    told(story, LONG)

"""The Site's word counts as it is when something is sent, not as it was when that was planned."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from little_world import World
from passerelle.errors import Rejected, Unavailable
from passerelle.gateways.memory import Fate, Memory, Shape
from passerelle.passes import BATCH_SECONDS
from passerelle.passes import Memory as Remembered
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

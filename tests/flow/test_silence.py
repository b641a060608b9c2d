"""One side of a site is silent while the rest answers: nothing is concluded from it, and all else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from little_world import World
from passerelle.errors import Deferred, Unavailable
from passerelle.gateways.host import Host
from passerelle.gateways.memory import Fate, Memory
from passerelle.listings import LONGEST_SECONDS, Listings
from passerelle.slurm import RemoteJob
from stories import running, told

LONG = Fate(queued=3, running=100_000)
TOO_LARGE = Unavailable("The answer is too large.", reason="AnswerTooLarge")


def listing(world: World) -> str | None:
    """Why the Site says that its jobs can't be listed; None where it does not."""
    found = [each for each in world.site_conditions() if each["type"] == "ListingAvailable"]
    assert all(each["status"] == "False" for each in found)
    return found[0]["reason"] if found else None


@pytest.mark.parametrize("accounting", [True, False], ids=["accounting", "none"])
def test_a_listing_of_all_that_fails_holds_up_nobody_who_needs_none(
    monkeypatch: pytest.MonkeyPatch, *, accounting: bool
) -> None:
    asked = 0

    async def fails(_: Memory, __: object) -> Sequence[RemoteJob]:
        nonlocal asked
        asked += 1
        raise TOO_LARGE

    async def story(world: World) -> None:
        a, b = (world.api.create(name, timeLimit="1h") for name in ("a", "b"))
        await world.until(running(world, a))
        await world.until(running(world, b))
        world.site.faults.accounting_down = accounting
        monkeypatch.setattr(Memory, "find", fails)
        world.api.delete(a)
        await world.until(lambda: listing(world) == "AnswerTooLarge", 60)
        world.api.delete(b)
        await world.until(lambda: sorted(world.states()) == ["CANCELLED"] * 2, 30)
        if not accounting:
            await world.until(running(world, world.api.create("c", timeLimit="1h")), 60)
        before = asked
        await asyncio.sleep(2000)

        assert world.site_conditions()[0]["reason"] == "Answering"
        assert {a, b} <= set(world.api.objects), "nobody has said that no other job of theirs lives"
        assert 4 <= asked - before <= 12, "it is asked ever later"
        monkeypatch.undo()
        await world.until(lambda: not {a, b} & set(world.api.objects), LONGEST_SECONDS + 60)
        assert listing(world) is None

    told(story, LONG, accounting=accounting)


def test_a_listing_that_fails_is_tried_again_ever_later() -> None:
    now = [1000.0]
    host = Host(lambda: now[0])
    listings, waits = Listings(lambda: now[0], lambda: host), []
    for _ in range(7):
        with pytest.raises(Unavailable), listings.one(30, more_wait=True):
            raise TOO_LARGE
        waits.append(listings.wait)
    assert waits == [60, 120, 240, 480, 900, 900, 900]
    with pytest.raises(Deferred), listings.one(30):
        raise Deferred("spared", retry_after=1)
    assert (listings.wait, listings.trouble) == (60, TOO_LARGE), "nobody was asked"
    with listings.one(30):
        pass
    assert (listings.wait, listings.trouble) == (60, None)

"""How a story of the little world is told, and what it waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import Mock

import virtual_time
from little_world import World
from passerelle.gateways.memory import Fate
from passerelle.kube import Kube
from passerelle.objects import Key
from passerelle.views import Asked

Story = Callable[[World], Awaitable[None]]

ORDINARY = Fate(queued=3, running=20)


def told(story: Story, fate: Fate = ORDINARY, **site_spec: Any) -> None:
    """Tell it in a fresh world with a living operator. `fate` is every job's, until the story changes that."""

    async def main() -> None:
        world = World(**site_spec)
        world.site.fates = lambda _: fate
        await world.start_operator()
        try:
            await story(world)
        finally:
            await world.end_operator()

    virtual_time.run(main())


def at(moment: float) -> Asked:
    """A look-up that took no time."""
    return Asked(moment, moment)


def finished(world: World, key: Key) -> Callable[[], bool]:
    return lambda: world.condition(key, "Finished")[0] == "True"


def running(world: World, key: Key) -> Callable[[], bool]:
    return lambda: world.condition(key, "Running")[0] == "True"


async def made_of(error: Exception) -> Exception:
    """What Kube makes of an error of its client."""

    async def call() -> None:
        raise error

    try:
        await Kube(Mock())._call(call())
    except Exception as made:  # noqa: BLE001 -- whatever it is
        return made
    raise AssertionError(error)

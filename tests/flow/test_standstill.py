"""Of two operators the one that leads is stopped, as by SIGSTOP or with its machine. The other one leads, and then
kube-apiserver is an older backup's, made while the first one led: it finds its own Lease there, as it knows it.
"""

from __future__ import annotations

import copy
from pathlib import Path

import virtual_time
from little_operators import HardWorld, Operator
from passerelle.gateways.memory import Fate
from stories import finished, running

LONG = 600.0


def test_a_job_whose_end_another_one_had_written_before_the_restore_ends_again(tmp_path: Path) -> None:
    """The first one reads of that end as it wakes up, from its connections, and no watch tells it of the restore."""

    async def story() -> None:
        world = HardWorld(tmp_path, replicas=2, period="5s")
        world.site.fates = lambda _: Fate(queued=1, running=10)
        world.start()
        key = world.api.create("a")
        await world.until(running(world, key))
        first = _leader(world)
        backup, lease = copy.deepcopy(world.api.objects), copy.deepcopy(world.api.lease)
        first.points.freeze(LONG)
        await world.until(finished(world, key), 60)
        assert _leader(world) is not first
        world.api.objects, world.api.lease = backup, lease
        assert not finished(world, key)()
        first.points.wake()
        await world.until(finished(world, key), 60)

        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.states() == ["COMPLETED"]
        assert first not in world.operators, "it began anew"
        await world.close()

    virtual_time.run(story())


def _leader(world: HardWorld) -> Operator:
    (found,) = (each for each in world.operators if each.election.leads)
    return found

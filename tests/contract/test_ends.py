"""How a job ends, in Slurm's words, through every door; and that no clock of the site's is compared with ours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import time_machine

from contract.test_contract import reach, row
from contract.world import FOR_LONG, World
from passerelle import actions, decide
from passerelle.current import Seen, Wanted, current_attempt
from passerelle.marker import parse
from passerelle.onsite.report import Progress
from passerelle.slurm import RemoteJob, Stage

SKEW = timedelta(minutes=5)


@row("ends")
async def test_each_end_is_told_as_slurm_knows_it(world: World) -> None:
    """None of these can be read from an exit code: of a job over its time limit it is 0 in accounting.

    Out of memory is for test_recorded.py: without cgroups Slurm kills such a job (OverMemoryKill), and says FAILED.
    """
    door = world.door()
    each = partial(world.batch, seconds=FOR_LONG, gpus_per_node=world.gpus_per_node)  # so each has a node of its own
    ids = {
        "TIMEOUT": await door.submit(each(time_limit_minutes=1)),
        "NODE_FAIL": await door.submit(each()),
        "PREEMPTED": await door.submit(each()),
    }
    await world.fail_node(await reach(world, door, ids["NODE_FAIL"], Stage.RUNNING))
    await world.preempt(await reach(world, door, ids["PREEMPTED"], Stage.RUNNING))
    for base in ("NODE_FAIL", "PREEMPTED", "TIMEOUT"):
        ended = await reach(world, door, ids[base], Stage.ENDED, seconds=150)
        assert ended.state.base == base
        assert ended.ending is not None
        assert not ended.ending.succeeded


@row("duplicate")
async def test_of_two_jobs_under_one_marker_both_come_to_light(world: World) -> None:
    """The one that started first is the attempt; the other waits, and is cancelled once the first tells that it has the
    claim.
    """
    door = world.door()
    batch = world.whole_site(seconds=600)
    first = await door.submit(batch)
    await reach(world, door, first, Stage.RUNNING)
    second = await door.submit(batch)

    async def both() -> list[RemoteJob]:
        found = [job for job in await door.find() if job.name == batch.options.name]
        return found if {job.job_id for job in found} == {first, second} else []

    jobs = await world.until(both, "both jobs of one marker")
    seen = Seen(jobs=tuple((1, job) for job in jobs), complete=True, identity=(await door.probe()).identity)
    current = current_attempt(Wanted(), seen)
    assert current is not None
    assert current.job is not None
    assert current.job.job_id == first
    assert decide.decide(Wanted(), seen) == actions.Rest("Active")
    behind = replace(current.job, comment=Progress().record(0.0))
    others = tuple((1, job) for job in jobs if job.job_id != first)
    action = decide.decide(Wanted(), replace(seen, jobs=((1, behind), *others)))
    assert isinstance(action, actions.Cancel)
    assert action.job is not None
    assert action.job.job_id == second
    await door.cancel(second)
    await reach(world, door, second, Stage.ENDED)
    assert (await reach(world, door, first, Stage.RUNNING)).job_id == first


@row("clock")
@pytest.mark.parametrize("shift", [SKEW, -SKEW], ids=["ahead", "behind"])
async def test_a_clock_that_is_off_changes_nothing(world: World, shift: timedelta) -> None:
    """Ours is set five minutes off the site's: what we read are the site's own times, and its answers count."""
    before = world.now()
    with time_machine.travel(datetime.now(UTC) + shift, tick=True):
        door = world.door()
        await door.probe()
        job_id = await door.submit(batch := world.batch(seconds=2))
        running = await reach(world, door, job_id, Stage.RUNNING)
        ended = await reach(world, door, job_id, Stage.ENDED)
        await told_by_marker(world, batch.options.name, job_id)
    assert ended.state.base == "COMPLETED"
    for told in (running.start_time, None if "submit_time" in world.silent else running.submit_time):
        assert told is None or abs(told - before) < SKEW.total_seconds() / 2
    assert running.start_time is not None


async def told_by_marker(world: World, name: str, job_id: str) -> None:
    """The job is found by its name, in accounting where there is one."""
    door = world.door()
    accounting = world.accounting(door)
    run, _ = parse(name) or pytest.fail(f"{name} is no marker")

    async def found() -> bool:
        rows = await accounting.accounted(names=[name]) if accounting is not None else await door.find({run})
        return [job.job_id for job in rows if job.name == name] == [job_id]

    assert await world.until(found, "the job by its marker")

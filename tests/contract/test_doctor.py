"""`sites doctor` at every gateway's site: what is broken there is told by its cause, and nothing else is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import pytest

from contract.slurm_world import SiteWorld
from contract.world import SCRATCH, World
from passerelle.examination import Subject, examine
from passerelle.gateways.base import Upload
from passerelle.gateways.surveys import Topic
from passerelle.v1alpha1.site import SiteSpec

pytestmark = pytest.mark.row("doctor")


async def alarms(world: World, account: str = "startup", run_root: str = SCRATCH) -> list[str]:
    """The causes of all that isn't well of a Site that leads there."""
    entry = {"namespaces": ["team-a"], "accounts": [account], "qos": ["normal"]}
    gateway = {"driver": "slurmrestd", "url": "http://127.0.0.1:1", "credentials": {"name": "secret"}}
    spec = {
        "profile": "sandbox",
        "gateway": gateway,
        "runRoot": run_root,
        "admission": [entry],
        "contact": "ml@example.eu",
    }

    async def secret(_: str) -> Mapping[str, bytes]:
        return {"username": world.user.encode(), "token": b"opaque"}

    subject = Subject(name="here", spec=SiteSpec.model_validate(spec), secret=secret)
    now = time.time() - world.now()
    checks = examine(subject, opener=lambda *_: world.open(), now=lambda: time.time() - now)
    return [each.id for each in [each async for each in checks] if each.verdict in ("wrong", "warning")]


@asynccontextmanager
async def broken(stop: Awaitable[None], start: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    await stop
    try:
        yield
    finally:
        await start()


async def test_a_site_that_is_well(world: World) -> None:
    assert await alarms(world) == []


async def test_a_scheduler_that_is_down(world: World) -> None:
    async with broken(world.stop_scheduler(), world.start_scheduler):
        assert await alarms(world) == [world.scheduler_down]


async def test_accounting_that_is_down(world: World) -> None:
    if world.accounting(world.door()) is None:
        return
    async with broken(world.stop_accounting(), world.start_accounting):
        # Where no job tells it, 22.05 knows the cluster's name from accounting alone.
        assert await alarms(world) in (["AccountingUnavailable"], ["ClusterUnknown"])


@pytest.mark.parametrize("kind", ["garbage", "wrong user"])
async def test_a_token_that_is_refused(world: World, kind: str) -> None:
    world.credential = {"garbage": world.garbage, "wrong user": world.of_another}[kind]()

    assert await alarms(world) == [world.refusals[kind]]


async def test_an_account_that_takes_no_jobs(world: World) -> None:
    topics = world.door().traits.surveys
    if Topic.CLOSED in topics:
        await world.shut("closed")
        assert await alarms(world, account="closed") == ["AccountClosed"]
    if Topic.ACCOUNTS in topics:
        assert await alarms(world, account="nobodys") == ["AccountUnknown"]


async def test_a_partition_that_is_down(world: World) -> None:
    if not isinstance(world, SiteWorld):
        return
    down, up = (partial(world.turn_partition, "gpu", state) for state in ("DOWN", "UP"))
    async with broken(down(), up):
        assert await alarms(world) == ["PartitionDown"]


async def test_a_run_root_that_is_not_there(world: World) -> None:
    if Upload not in world.capabilities or world.driver == "memory":
        return
    assert await alarms(world, run_root="/nowhere/at/all") == ["RunRootRefused"]


async def test_the_run_root_keeps_one_file(world: World) -> None:
    if Upload not in world.capabilities:
        return
    await alarms(world)
    files = world.files(world.door())

    assert files is not None
    assert await files.size(f"{SCRATCH}/.passerelle-doctor") == 37

"""Transfer jobs as the staging of a site has them: none waits on for nobody, each is charged to what is charged now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from little_handover import LittleHandover
from little_store import MemoryStore
from passerelle.errors import Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import HandedIn, Identity
from passerelle.gateways.memory_files import File
from passerelle.staging import copy_out, handover, worker
from passerelle.staging.door import Door
from passerelle.staging.place import place
from passerelle.staging.s3.credential import Access
from passerelle.staging.s3.presigned import OpenPresigned
from passerelle.staging.stage import JOBS_AT_ONCE
from passerelle.staging.steps import Direction, Step
from passerelle.staging.worker import Staging
from unit.staging.test_worker import eventually

ROOT = "/scratch/runs"


@dataclass
class World:
    site: LittleHandover = field(default_factory=lambda: LittleHandover(ends="RUNNING"))
    store: MemoryStore = field(default_factory=lambda: MemoryStore({"c": b"x" * 5000}))
    secret: bool = True
    silent: bool = False
    asked: int = 0
    made: list[Staging] = field(default_factory=list)

    def staging(self) -> Staging:
        """As a newly started operator has it."""
        made = Staging(
            "alps",
            door=self._door,
            read_access=self._access,
            open_store=lambda _bucket, _access: self.store,
            changed=lambda _: None,
            now=lambda: 0.0,
            presigned=cast("OpenPresigned", self.site.open),
        )
        self.made.append(made)
        return made

    def _door(self, _: Identity | None) -> Door:
        if self.silent:
            raise Unavailable("The site is silent.", reason="SiteSilent", sent=False)
        return cast("Door", self.site)

    async def _access(self, _namespace: str, _name: str) -> Access:
        self.asked += 1
        if not self.secret:
            raise Unauthorized("There is no Secret.", reason="SecretNotFound")
        return Access(access_key_id="a", secret_access_key="b")

    @property
    def left(self) -> list[str]:
        """Files of ours beside what was there."""
        return [path for path in self.site.files_at.files if path != "/scratch/out"]


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(handover, "part_bytes", lambda _: 1000)
    monkeypatch.setattr(handover, "_MEBIBYTE", 1)
    monkeypatch.setattr(copy_out, "PART_BYTES", 1000)
    made = World()
    yield made
    for each in made.made:
        await each.close()


def step(direction: Direction, account: str = "") -> Step:
    path, url = ("/scratch/c", "s3://bucket/c") if direction == "In" else ("/scratch/out", "s3://bucket/out")
    return Step(name="c", direction=direction, path=path, place=place(url), secret="s3", account=account)


def _told(staging: Staging) -> Callable[[], bool]:
    return lambda: any(each.progress.reason == "TransferJobRuns" for each in staging._works["uid"].stages)


@pytest.mark.parametrize("direction", ["In", "Out"])
async def test_the_secret_often_goes_first(world: World, direction: Direction) -> None:
    world.site.files_at.files["/scratch/out"] = File(b"y" * 5000)
    staging = world.staging()
    staging.ask("uid", "team", (step(direction),), ROOT)
    await eventually(_told(staging))
    world.secret, asked = False, world.asked

    staging.forget("uid", "team")
    await eventually(lambda: not staging._dropping)

    assert (world.site.cancelled, world.site.states) == (["1"], {"1": "CANCELLED"})
    assert world.left == []
    assert direction == "Out" or world.asked == asked, "what comes in needs no bucket to be dropped"


@pytest.mark.parametrize("direction", ["In", "Out"])
async def test_a_site_that_is_silent_then_keeps_no_job_for_long(
    world: World, direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FIRST_AGAIN_SECONDS", 0.001)
    world.site.files_at.files["/scratch/out"] = File(b"y" * 5000)
    staging = world.staging()
    staging.ask("uid", "team", (step(direction),), ROOT)
    await eventually(_told(staging))

    world.silent = True
    staging.forget("uid", "team")
    await asyncio.sleep(0.01)
    assert world.site.states == {"1": "RUNNING"}
    world.silent = False
    await eventually(lambda: not staging._dropping)

    assert world.site.states == {"1": "CANCELLED"}
    assert world.left == [], "its note holds addresses that are rights"


async def test_the_job_of_an_older_version_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FIRST_AGAIN_SECONDS", 0.001)
    put, cut = world.site.put, True

    async def breaks(url: str, content: bytes) -> str:
        nonlocal cut
        if cut:
            cut = False
            world.store.objects["c"] = b"newer" * 1000
            raise Unavailable("The connection broke.", reason="Unreachable")
        return await put(url, content)

    world.site.put = breaks  # type: ignore[method-assign]
    staging = world.staging()
    staging.ask("uid", "team", (step("In"),), ROOT)

    await eventually(lambda: world.site.states == {"1": "CANCELLED", "2": "RUNNING"})
    staging.forget("uid", "team")
    await eventually(lambda: not staging._dropping)
    assert world.left == []


@pytest.mark.parametrize("here", [True, False])
async def test_another_run_root_ends_the_job_that_was_begun_for_the_one_before(world: World, here: bool) -> None:
    """At another cluster, nothing is ended: what has that number there is another's."""
    staging = world.staging()
    staging.ask("uid", "team", (step("In"),), ROOT, Identity("alps", "ada"))
    await eventually(_told(staging))

    staging.ask("uid", "team", (step("In"),), "/elsewhere", Identity("alps" if here else "daint", "ada"))

    await eventually(lambda: len(world.site.states) == 2 and _told(staging)())
    assert world.site.states == {"1": "CANCELLED" if here else "RUNNING", "2": "RUNNING"}
    assert {path.startswith("/elsewhere/") for path in world.left} == ({True} if here else {True, False})
    staging.forget("uid", "team")
    await eventually(lambda: not staging._dropping)
    assert world.site.states["2"] == "CANCELLED"


async def test_an_account_that_was_needed_is_taken_as_soon_as_it_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator has written it into the Site's admission, as the message said."""
    hand_in = world.site.hand_in

    async def needs(path: str, size: int, parts: int, account: str) -> HandedIn:
        if not account:
            world.site.accounts.append(account)
            raise Rejected("Write one into the Site's admission.", reason="AccountNeeded")
        return await hand_in(path, size, parts, account)

    world.site.hand_in = needs  # type: ignore[method-assign]
    staging = world.staging()
    await eventually(lambda: staging.ask("uid", "team", (step("In"),), ROOT)[0].reason == "AccountNeeded")
    staging.ask("uid", "team", (step("In"),), ROOT)
    await asyncio.sleep(0.01)
    assert world.site.accounts == [""], "it is not asked for again and again"

    staging.ask("uid", "team", (step("In", "g177"),), ROOT)
    await eventually(_told(staging))
    staging.ask("uid", "team", (step("In", "g178"),), ROOT)
    await asyncio.sleep(0.01)

    assert (world.site.accounts, world.site.states) == (["", "g177"], {"1": "RUNNING"})
    assert [each.account for each in staging._works["uid"].steps] == ["g178"], "of the next job"


async def test_what_is_asked_for_at_that_moment_is_found_when_the_site_shows_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file each in the lanes of a prefix: they are waited for together, since a site may take half a minute."""
    monkeypatch.setattr(worker, "DROP_SECONDS", 2.0)
    world.site.silent, world.site.late_seconds, world.site.settle_seconds = True, 0.4, 0.5
    world.store.objects = {f"d/{number}": b"x" * 5000 for number in range(JOBS_AT_ONCE)}
    staging = world.staging()
    staging.ask("uid", "team", (replace(step("In"), place=place("s3://bucket/d/")),), ROOT)
    await eventually(lambda: len(world.site.states) == JOBS_AT_ONCE)

    staging.forget("uid", "team")
    await eventually(lambda: not staging._dropping)

    assert set(world.site.states.values()) == {"CANCELLED"}
    assert world.left == []

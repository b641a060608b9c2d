"""A TrainingJob is deleted while transfer jobs of its site carry its files: none of them waits on for nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from little_handover import LittleHandover
from little_store import MemoryStore
from passerelle.errors import Unauthorized
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
    asked: int = 0
    made: list[Staging] = field(default_factory=list)

    def staging(self) -> Staging:
        """As a newly started operator has it."""
        made = Staging(
            "alps",
            door=lambda: cast("Door", self.site),
            read_access=self._access,
            open_store=lambda _bucket, _access: self.store,
            changed=lambda _: None,
            now=lambda: 0.0,
            presigned=cast("OpenPresigned", self.site.open),
        )
        self.made.append(made)
        return made

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


def step(direction: Direction) -> Step:
    path, url = ("/scratch/c", "s3://bucket/c") if direction == "In" else ("/scratch/out", "s3://bucket/out")
    return Step(name="c", direction=direction, path=path, place=place(url), secret="s3")


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

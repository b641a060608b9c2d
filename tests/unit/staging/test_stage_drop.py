"""What a stage had begun is dropped: each file for itself, and never what another one goes on with."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import pytest

from little_store import MemoryStore
from passerelle.errors import Rejected, Unavailable
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.staging import copy_out
from passerelle.staging.place import place
from passerelle.staging.stage import Locks, Stage
from passerelle.staging.steps import Direction, Step
from passerelle.staging.turns import Turns
from unit.staging.test_worker import eventually

PART = 1000
CORPUS = hashlib.shake_256(b"1").digest(10 * PART + 7)


@dataclass
class World:
    store: MemoryStore = field(default_factory=lambda: MemoryStore({"d/a": CORPUS, "d/b": CORPUS[::-1]}))
    site: Memory = field(default_factory=lambda: Memory(clock=lambda: 0.0, part_bytes=PART))
    locks: Locks = field(default_factory=WeakValueDictionary)
    turns: Turns = field(default_factory=Turns)

    def stage(self, owner: str = "job", direction: Direction = "In", path: str = "/p/d") -> Stage:
        step = Step(name="d", direction=direction, path=path, place=place("s3://bucket/d/"), secret="s3")
        return Stage(step, "/p/runs", owner, self.turns, self.locks, lambda: None)

    async def broken(self, stage: Stage, reads: int) -> None:
        """The connection to the store breaks after so many reads more, and for the lanes beside it, too."""
        until = self.store.calls.count("read") + reads
        self.store.before = lambda _: setattr(self.store, "cuts", int(self.store.calls.count("read") >= until))
        with pytest.raises(Unavailable):
            await stage.run(self.site, self.store, "")
        self.store.before, self.store.cuts = lambda _: None, 0

    @property
    def left(self) -> list[str]:
        return sorted(path for path in self.site.files if path.endswith(".part"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(copy_out, "PART_BYTES", PART)
    return World()


@pytest.mark.parametrize("error", [Unavailable("The answer was lost."), Rejected("No right.")])
async def test_one_part_file_that_stays_keeps_no_other(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, remove, refused = world.stage(), Memory.remove, 1
    await world.broken(stage, 6)
    assert len(world.left) == 2

    async def once(site: Memory, path: str) -> None:
        nonlocal refused
        refused -= 1
        if not refused:
            raise error
        await asyncio.sleep(0.001)
        await remove(site, path)

    monkeypatch.setattr(Memory, "remove", once)
    with pytest.raises(type(error)):
        await stage.drop(world.site, None)
    assert len(world.left) == 1
    await stage.drop(world.site, None)
    assert (world.left, stage.begun) == ([], False)


async def test_one_upload_that_stays_keeps_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.site.files = {f"/p/out/{name}": File(content) for name, content in (("a", CORPUS), ("b", CORPUS[::-1]))}
    stage, abort, refused = world.stage(direction="Out", path="/p/out"), MemoryStore.abort, 1
    world.store.before = lambda _: setattr(world.store, "cuts", int(len(world.store.calls) > 12))
    with pytest.raises(Unavailable):
        await stage.run(world.site, world.store, "")
    world.store.before, world.store.cuts = lambda _: None, 0
    assert len(world.store.uploads) == 2

    async def once(store: MemoryStore, key: str, upload: str) -> None:
        nonlocal refused
        refused -= 1
        if not refused:
            raise Unavailable("The answer was lost.")
        await asyncio.sleep(0.001)
        await abort(store, key, upload)

    monkeypatch.setattr(MemoryStore, "abort", once)
    with pytest.raises(Unavailable):
        await stage.drop(world.site, world.store)
    assert len(world.store.uploads) == 1
    await stage.drop(world.site, world.store)
    assert (world.store.uploads, stage.begun) == ({}, False)


async def test_what_only_takes_time_is_said_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would come again for the file that can still be dropped."""
    stage = world.stage()
    await world.broken(stage, 6)
    errors = [Rejected("No right."), Unavailable("The answer was lost.")]

    async def fail(*_: object) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(Memory, "remove", fail)
    with pytest.raises(Unavailable):
        await stage.drop(world.site, None)


async def test_to_drop_it_twice_takes_nothing_from_another_one(world: World) -> None:
    first, second = world.stage("a"), world.stage("b")
    for each in (first, second):
        await world.broken(each, 6)
    both = world.left
    assert len(both) == 2
    for _ in range(2):
        await first.drop(world.site, None)
        assert world.left == both, "the second goes on from them"
    await second.drop(world.site, None)
    assert world.left == []


async def test_what_was_begun_of_an_older_version_goes(world: World) -> None:
    stage = world.stage()
    await world.broken(stage, 6)
    assert len(world.left) == 2
    world.store.objects = {"d/a": b"newer", "d/b": CORPUS[::-1]}
    await stage.run(world.site, world.store, "")
    assert (world.left, stage.begun) == ([], False)
    assert world.site.files["/p/d/a"].content == b"newer"


async def test_what_was_begun_of_an_object_that_is_no_more_goes(world: World) -> None:
    stage = world.stage()
    await world.broken(stage, 6)
    del world.store.objects["d/b"]
    await stage.run(world.site, world.store, "")
    assert (world.left, stage.begun) == ([], False)


async def test_an_older_version_that_another_one_still_has_in_hand_is_left_to_it(world: World) -> None:
    first, second = world.stage("a"), world.stage("b")
    for each in (first, second):
        await world.broken(each, 6)
    world.store.objects = {"d/a": b"newer", "d/b": b"newer, too"}
    await first.run(world.site, world.store, "")
    assert len(world.left) == 2
    await second.drop(world.site, None)
    assert world.left == []


async def test_what_cannot_be_dropped_now_holds_up_nothing_and_goes_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, remove = world.stage(), Memory.remove
    await world.broken(stage, 6)
    world.store.objects = {"d/a": b"newer"}

    async def refuse(site: Memory, path: str) -> None:
        if path.endswith(".part"):
            raise Rejected("No right.")
        await remove(site, path)

    async with world.locks["/p/d/b"].lock, asyncio.timeout(5):
        with monkeypatch.context() as patch:
            patch.setattr(Memory, "remove", refuse)
            await stage.run(world.site, world.store, "")
        with pytest.raises(Unavailable, match="A copy of another version to /p/d/b is under way"):
            await stage.drop(world.site, None)
    assert world.site.files["/p/d/a"].content == b"newer"
    assert (len(world.left), stage.begun) == (1, True)
    await stage.drop(world.site, None)
    assert world.left == []


async def test_an_older_version_goes_when_another_ones_copy_of_the_newer_is_over(world: World) -> None:
    stage, other = world.stage("a"), world.stage("b")
    await world.broken(stage, 6)
    world.store.objects = {"d/a": CORPUS * 2, "d/b": CORPUS * 3}
    ahead = asyncio.create_task(other.run(world.site, world.store, ""))
    await eventually(lambda: "/p/d/a" in world.locks and world.locks["/p/d/a"].lock.locked())
    await stage.run(world.site, world.store, "")
    await ahead
    assert (world.left, stage.begun) == ([], False)

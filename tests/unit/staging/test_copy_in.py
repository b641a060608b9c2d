"""From the store to the site: resumed where it broke, never twice, never over what is somebody's."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import pytest

from little_store import MemoryStore
from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.staging import receipt
from passerelle.staging.copy_in import CopyIn
from passerelle.staging.place import place
from passerelle.staging.stage import Locks, Stage
from passerelle.staging.steps import Progress, Step
from passerelle.staging.store import Changed
from passerelle.staging.turns import Turns

PART = 1000
CORPUS = hashlib.shake_256(b"1").digest(10 * PART + 7)
PATH = "/scratch/p/corpus.bin"


@dataclass
class World:
    store: MemoryStore = field(default_factory=lambda: MemoryStore({"corpus.bin": CORPUS}))
    site: Memory = field(default_factory=lambda: Memory(clock=lambda: 0.0, part_bytes=PART))
    locks: Locks = field(default_factory=WeakValueDictionary)
    turns: Turns = field(default_factory=Turns)
    moved: int = 0

    def stage(self, url: str = "s3://bucket/corpus.bin", path: str = PATH, owner: str = "job") -> Stage:
        step = Step(name="corpus", direction="In", path=path, place=place(url), secret="s3")
        return Stage(step, "/scratch/p/runs", owner, self.turns, self.locks, lambda: None, self._moved)

    async def run(self, stage: Stage | None = None) -> Progress:
        stage = stage or self.stage()
        await stage.run(self.site, self.store, "")
        return stage.progress

    def content(self, path: str = PATH) -> bytes:
        return self.site.files[path].content

    @property
    def left(self) -> list[str]:
        return [path for path in self.site.files if path.endswith(".part")]

    def _moved(self, size: int) -> None:
        self.moved += size


@pytest.fixture
def world() -> World:
    return World()


def without_digest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(_: object, __: str) -> None:
        return None

    monkeypatch.setattr(Memory, "digest", none)


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 10 * PART + 7])
@pytest.mark.parametrize("hashes", [True, False])
async def test_an_object_arrives_whole_and_with_a_receipt(
    world: World, size: int, hashes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hashes:
        without_digest(world, monkeypatch)
    world.store.objects["corpus.bin"] = CORPUS[:size]

    progress = await world.run()

    assert world.content() == CORPUS[:size]
    assert world.left == []
    assert (progress.files, progress.moved, progress.total) == (1, size, size)
    assert world.moved == size
    kept = json.loads(world.content(receipt.receipt_place("/scratch/p/runs", PATH)))
    assert (kept["path"], kept["size"]) == (PATH, size)
    assert kept["sha256"] == hashlib.sha256(CORPUS[:size]).hexdigest()
    assert kept["compared"] == ("sha256" if hashes else "size and last bytes")


async def test_what_is_there_is_not_copied_again_by_nobody(world: World) -> None:
    await world.run()
    world.store.read_bytes = 0

    progress = await world.run(world.stage(owner="another job"))

    assert world.store.read_bytes == 0
    assert world.moved == len(CORPUS)
    assert (progress.files, progress.moved) == (1, len(CORPUS))


@pytest.mark.parametrize("hashes", [True, False])
@pytest.mark.parametrize("calls", range(1, 12))
async def test_a_copy_that_broke_goes_on_where_it_was(
    world: World, calls: int, hashes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hashes:
        without_digest(world, monkeypatch)
    stage = world.stage()
    reads = 0

    def cut(call: str) -> None:
        nonlocal reads
        reads += call == "read"
        world.store.cuts = int(reads == calls)

    world.store.before = cut
    with pytest.raises(Unavailable):
        await world.run(stage)
    assert PATH not in world.site.files, "nothing has its name before it is whole"
    assert stage.progress.moved == 0, "what was told is told anew"
    world.store.before = lambda _: None

    progress = await world.run(stage)

    assert world.content() == CORPUS
    assert progress.moved == len(CORPUS)
    assert world.moved == len(CORPUS), "no part was written twice"


async def test_an_append_that_was_done_by_half_is_looked_at(world: World) -> None:
    world.site.cut_appends = 1
    stage = world.stage()
    with pytest.raises(Unavailable, match="The answer was lost"):
        await world.run(stage)
    assert len(world.content(world.left[0])) == PART // 2

    await world.run(stage)

    assert world.content() == CORPUS


async def test_another_operator_goes_on_from_what_lies_there(world: World) -> None:
    world.site.cut_appends = 1
    with pytest.raises(Unavailable):
        await world.run()
    written = world.site.calls.count("append")

    await world.run(world.stage())  # it knows no hash: what lies there is hashed from the store

    assert world.content() == CORPUS
    assert world.site.calls.count("append") - written == 10, "of 1,000 bytes each"
    assert world.store.read_bytes < 2 * len(CORPUS)


async def test_a_part_file_that_is_another_ones_is_begun_anew(world: World) -> None:
    stored = await world.store.head("corpus.bin")
    assert stored is not None
    part = receipt.part_place(PATH, stored.version)
    for spoilt in (b"not the corpus" * 100, CORPUS + b"longer"):
        world.site.files = {part: File(spoilt)}
        await world.run()
        assert world.content() == CORPUS


@pytest.mark.parametrize("hashes", [True, False])
async def test_what_was_spoilt_on_the_way_is_found_and_copied_anew(
    world: World, hashes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hashes:
        without_digest(world, monkeypatch)
    stored = await world.store.head("corpus.bin")
    assert stored is not None
    part = receipt.part_place(PATH, stored.version)
    world.site.files = {part: File(b"x" * (2 * PART) + CORPUS[2 * PART : 4 * PART])}  # its seam fits

    with pytest.raises(Unavailable, match="is not what was sent; it is copied anew"):
        await world.run()
    assert world.left == []
    await world.run()

    assert world.content() == CORPUS


async def test_without_a_digest_only_what_was_broken_off_is_read_back_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_digest(world, monkeypatch)
    read, reads = 0, Memory.read

    async def count(site: Memory, path: str, offset: int, length: int) -> bytes:
        nonlocal read
        found = await reads(site, path, offset, length)
        read += len(found)
        return found

    monkeypatch.setattr(Memory, "read", count)
    await world.run()
    assert read == PART
    world, read = World(), 0
    world.site.cut_appends = 1
    stage = world.stage()
    with pytest.raises(Unavailable):
        await world.run(stage)
    await world.run(stage)
    assert read == PART // 2 + len(CORPUS)
    assert json.loads(world.content(receipt.receipt_place("/scratch/p/runs", PATH)))["compared"] == "sha256"


async def test_without_a_digest_the_end_is_read_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    without_digest(world, monkeypatch)
    append = Memory.append

    async def spoilt(site: Memory, path: str, offset: int, content: bytes) -> None:
        await append(site, path, offset, content if len(content) == PART else b"x" * len(content))

    monkeypatch.setattr(Memory, "append", spoilt)
    with pytest.raises(Unavailable, match="is not what was sent"):
        await world.run()
    assert PATH not in world.site.files
    assert world.left == []


async def test_an_object_that_changes_meanwhile_is_copied_anew(world: World) -> None:
    newer = CORPUS[::-1]

    def change(call: str) -> None:
        if call == "read" and world.store.calls.count("read") == 4:
            world.store.objects["corpus.bin"] = newer

    world.store.before = change
    stage = world.stage()
    with pytest.raises(Changed):
        await world.run(stage)
    assert world.left == []

    await world.run(stage)

    assert world.content() == newer


@pytest.mark.parametrize("newer", [CORPUS[:5000], CORPUS[::-1]])
async def test_a_newer_version_does_not_take_the_place_of_an_older_one(world: World, newer: bytes) -> None:
    await world.run()
    world.store.objects["corpus.bin"] = newer
    with pytest.raises(Invalid, match=r"was copied from another version of corpus\.bin: it is not replaced") as refused:
        await world.run()
    assert refused.value.reason == "DataInTheWay"
    assert world.content() == CORPUS


async def test_another_object_does_not_take_the_place_of_one_that_was_copied(world: World) -> None:
    await world.run()
    world.store.objects["other"] = CORPUS[::-1]
    with pytest.raises(Invalid, match="is not what lies in the store as other: it is not replaced"):
        await world.run(world.stage("s3://bucket/other"))
    assert world.content() == CORPUS
    await world.run()


@pytest.mark.parametrize("where", ["endpoint", "bucket", "key"])
async def test_a_receipt_counts_for_its_own_source_alone(world: World, where: str) -> None:
    """The store says the same of another object: then its bytes are compared, not its name or its ETag."""
    await world.run()
    world.site.files[PATH] = File(CORPUS[::-1])
    other = "s3://elsewhere/corpus.bin" if where == "bucket" else "s3://bucket/corpus.bin"
    if where == "key":
        world.store.objects["other"], other = CORPUS, "s3://bucket/other"
    stage = world.stage(other)
    with pytest.raises(Invalid, match="not replaced"):
        await stage.run(world.site, world.store, "https://elsewhere" if where == "endpoint" else "")


async def test_the_same_bytes_from_elsewhere_are_taken(world: World) -> None:
    await world.run()
    world.store.objects["other"] = CORPUS
    await world.run(world.stage("s3://bucket/other"))
    assert world.moved == len(CORPUS)


async def test_a_file_that_came_during_the_copy_is_not_replaced(world: World) -> None:
    def come(call: str) -> None:
        if call == "read" and world.store.calls.count("read") == 5:
            world.site.files[PATH] = File(b"the user's own")

    world.store.before = come
    stage = world.stage()
    with pytest.raises(Invalid, match="not replaced"):
        await world.run(stage)
    assert world.content() == b"the user's own"
    assert stage.progress.moved == 0

    world.store.before = lambda _: None
    del world.site.files[PATH]
    await world.run(stage)
    assert world.moved == len(CORPUS), "what was copied by then is not copied again"


async def test_the_same_that_came_during_the_copy_is_taken(world: World) -> None:
    def come(call: str) -> None:
        if call == "read" and world.store.calls.count("read") == 5:
            world.site.files[PATH] = File(CORPUS, mode=0o444)

    world.store.before = come
    progress = await world.run()
    assert (progress.files, progress.moved) == (1, len(CORPUS))
    assert world.site.files[PATH].mode == 0o444
    assert world.left == []
    assert world.store.read_bytes == len(CORPUS)


async def test_a_directory_in_the_way_is_seen_before_anything_is_copied(world: World) -> None:
    world.site.directories.add(PATH)
    with pytest.raises(Invalid, match="is a directory at the site; write the path of a file") as refused:
        await world.run()
    assert refused.value.reason == "DataInTheWay"
    assert world.store.read_bytes == 0


@pytest.mark.parametrize("dies_at", ["rename", "write"])
async def test_no_receipt_outlives_what_it_tells_of(
    world: World, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removed the older file; the operator dies around the name of the newer one, which is as long."""
    await world.run()
    del world.site.files[PATH]
    world.store.objects["other"] = CORPUS[::-1]

    async def dies(*_: object, **__: object) -> None:
        raise Unavailable("The operator is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(Memory, dies_at, dies)
        with pytest.raises(Unavailable):
            await world.run(world.stage("s3://bucket/other"))
    await world.run(world.stage("s3://bucket/other"))
    assert world.content() == CORPUS[::-1]
    with pytest.raises(Invalid, match="not replaced"):
        await world.run()


async def test_a_directorys_receipt_goes_before_anything_comes_into_it(world: World) -> None:
    world.store.objects = {f"{version}/{name}": version.encode() for version in ("v1", "v2") for name in "ab"}
    await world.run(world.stage("s3://bucket/v1/", "/d"))
    del world.site.files["/d/a"]
    with pytest.raises(Invalid, match="not replaced"):
        await world.run(world.stage("s3://bucket/v2/", "/d"))
    assert (world.content("/d/a"), world.content("/d/b")) == (b"v2", b"v1")
    with pytest.raises(Invalid, match="/d/a exists at the site and is not what lies in the store as v1/a"):
        await world.run(world.stage("s3://bucket/v1/", "/d"))


async def test_a_part_that_another_one_goes_on_with_is_left_to_it(world: World) -> None:
    """That one waits for its next try meanwhile, and holds no lock."""
    first, second = world.stage(owner="a"), world.stage(owner="b")
    world.store.before = lambda _: setattr(world.store, "cuts", int(world.store.calls.count("read") >= 8))
    for each in (first, second):
        with pytest.raises(Unavailable):
            await world.run(each)
    assert world.left
    await first.drop(world.site, world.store)
    assert world.left, "the second goes on from it"
    await second.drop(world.site, world.store)
    assert world.left == []


@pytest.mark.parametrize("there", [b"mine", CORPUS[:-1] + b"x"])
@pytest.mark.parametrize("hashes", [True, False])
async def test_what_is_somebodys_is_never_written_over(
    world: World, there: bytes, hashes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hashes:
        without_digest(world, monkeypatch)
    world.site.files[PATH] = File(there)
    with pytest.raises(Invalid, match=r"it is not replaced\. Write another path") as refused:
        await world.run()
    assert refused.value.reason == "DataInTheWay"
    assert world.content() == there


async def test_what_somebody_changed_after_us_is_somebodys(world: World) -> None:
    await world.run()
    world.site.files[PATH] = File(b"edited")
    with pytest.raises(Invalid, match="is not replaced"):
        await world.run()


async def test_an_edit_of_the_same_size_is_seen_in_a_small_file_and_never_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.run()
    edited = bytes(len(CORPUS))
    world.site.files[PATH] = File(edited)
    with pytest.raises(Invalid, match=r"is not what lies in the store as corpus\.bin: it is not replaced"):
        await world.run()
    assert world.content() == edited

    monkeypatch.setattr("passerelle.staging.copy_in.REHASHED_BYTES", len(CORPUS) - 1)
    digests = world.site.calls.count("digest")
    await world.run()
    assert world.site.calls.count("digest") == digests, "a terabyte is not hashed for each TrainingJob"
    world.store.objects["corpus.bin"] = b"newer"
    with pytest.raises(Invalid, match="not replaced"):
        await world.run()
    assert world.content() == edited


@pytest.mark.parametrize("told", [True, False])
async def test_what_lies_there_and_is_the_same_is_adopted(world: World, told: bool) -> None:
    world.site.files[PATH] = File(CORPUS)
    if told:
        world.store.digests["corpus.bin"] = hashlib.sha256(CORPUS).hexdigest()

    progress = await world.run()

    assert progress.moved == len(CORPUS)
    assert "append" not in world.site.calls
    assert world.store.read_bytes == len(CORPUS), "only its bytes tell"
    assert receipt.receipt_place("/scratch/p/runs", PATH) in world.site.files


async def test_what_the_store_says_of_an_object_is_not_taken_for_its_bytes(world: World) -> None:
    other = bytes(len(CORPUS))
    world.site.files[PATH] = File(other)
    world.store.digests["corpus.bin"] = hashlib.sha256(other).hexdigest()
    with pytest.raises(Invalid, match="not replaced"):
        await world.run()


async def test_a_crash_between_name_and_receipt_costs_no_second_copy(world: World) -> None:
    await world.run()
    del world.site.files[receipt.receipt_place("/scratch/p/runs", PATH)]
    world.moved = 0
    await world.run()
    assert world.moved == 0


async def test_a_prefix_becomes_a_tree(world: World) -> None:
    world.store.objects = {"c/": b"", "c/a/1": b"one", "c/b c/ü": b"two", "d": b"no"}
    stage = world.stage("s3://bucket/c/", "/scratch/p/tree/")

    progress = await world.run(stage)

    assert world.content("/scratch/p/tree/a/1") == b"one"
    assert world.content("/scratch/p/tree/b c/ü") == b"two"
    assert (progress.files, progress.moved, progress.total) == (2, 6, 6)
    reads = world.site.calls.count("read")
    again = await world.run(world.stage("s3://bucket/c/", "/scratch/p/tree"))
    assert (again.files, again.moved) == (2, 6)
    assert world.site.calls.count("read") == reads + 1, "one receipt tells of the whole directory"

    del world.site.files["/scratch/p/tree/a/1"]
    world.store.objects["c/new"] = b"three"
    await world.run(world.stage("s3://bucket/c/", "/scratch/p/tree"))
    assert world.content("/scratch/p/tree/a/1") == b"one"
    assert world.content("/scratch/p/tree/new") == b"three"
    assert world.moved == 14


@pytest.mark.parametrize(
    "objects, kind, words",
    [
        ({}, Missing, r"There is no object below s3://bucket/c/"),
        ({"c/": b""}, Missing, "There is no object below"),
        ({"c/../x": b""}, Invalid, "can't be a path at the site"),
        ({"c/a//b": b""}, Invalid, "can't be a path at the site"),
        ({"c/a\nb": b""}, Invalid, "can't be a path at the site"),
        ({"c/a/": b"x"}, Invalid, "can't be a path at the site"),
        ({"c/a": b"", "c/a/b": b""}, Invalid, "would be a file and a directory"),
    ],
)
async def test_keys_that_are_no_paths_are_refused(
    world: World, objects: dict[str, bytes], kind: type[PasserelleError], words: str
) -> None:
    world.store.objects = objects
    with pytest.raises(kind, match=words):
        await world.run(world.stage("s3://bucket/c/", "/scratch/p/tree"))
    assert world.site.files == {}


async def test_a_missing_object_is_named(world: World) -> None:
    with pytest.raises(Missing, match="There is no object s3://bucket/typo; put it there"):
        await world.run(world.stage("s3://bucket/typo"))


async def test_two_jobs_that_want_the_same_copy_it_once(world: World) -> None:
    jobs = [world.run(world.stage(owner=name)) for name in "abc"]
    done = await asyncio.gather(*jobs)
    assert [each.moved for each in done] == [len(CORPUS)] * 3
    assert world.moved == len(CORPUS)


async def test_no_more_than_two_parts_are_in_memory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    out = most = 0
    read, append = world.store.read, world.site.append

    async def reading(*words: object) -> bytes:
        nonlocal out, most
        out += 1
        most = max(most, out)
        await asyncio.sleep(0)
        return await read(*words)  # type: ignore[arg-type]

    async def appending(*words: object) -> None:
        nonlocal out
        await asyncio.sleep(0.001)
        await append(*words)  # type: ignore[arg-type]
        out -= 1

    monkeypatch.setattr(world.store, "read", reading)
    monkeypatch.setattr(Memory, "append", lambda _, *words: appending(*words))
    await world.run()
    assert most == 2


async def test_a_site_that_refuses_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise Rejected("No room.", reason="NotWritten")

    monkeypatch.setattr(Memory, "append", refuse)
    with pytest.raises(Rejected, match="No room"):
        await world.run()


async def test_what_is_given_up_leaves_nothing(world: World) -> None:
    world.site.cut_appends = 1
    stage = world.stage()
    with pytest.raises(Unavailable):
        await world.run(stage)
    assert world.left
    await stage.drop(world.site, world.store)
    assert world.left == []


def test_a_receipt_of_another_path_is_none() -> None:
    source = receipt.Source(endpoint="https://s3.example", bucket="b", key="k")
    kept = receipt.Receipt(path="/a", source=source, size=1, etag="e", sha256="s")
    assert receipt.receipt(kept.written(), "/a") == kept
    for content in (b"", b"[]", b'{"path": "/a"}', kept.written().replace(b'"/a"', b'"/b"')):
        assert receipt.receipt(content, "/a") is None


async def test_a_listing_is_not_believed_against_the_files(world: World) -> None:
    copies = CopyIn(world.site, world.store, "/r", world.turns, "job", "", "bucket", lambda _: None)
    assert await copies.receipt("/nothing") is None

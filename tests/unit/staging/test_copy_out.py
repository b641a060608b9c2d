"""From the site to the store: resumed where it broke, known by its SHA-256, never seen half."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import pytest

from little_store import MemoryStore
from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import Entry
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.staging import copy_out, stage
from passerelle.staging.copy_out import part_bytes
from passerelle.staging.place import place
from passerelle.staging.stage import Stage
from passerelle.staging.steps import Step
from passerelle.staging.store import LEAST_PART_BYTES, MOST_PARTS, Changed
from passerelle.staging.turns import Turns

PART = 1000
MODEL = hashlib.shake_256(b"2").digest(10 * PART + 7)
RUN = "/scratch/p/runs/psr-x"


@dataclass
class World:
    store: MemoryStore = field(default_factory=MemoryStore)
    site: Memory = field(default_factory=lambda: Memory(clock=lambda: 0.0, part_bytes=300))
    turns: Turns = field(default_factory=Turns)
    moved: int = 0

    def stage(self, url: str = "s3://bucket/run1/", path: str = f"{RUN}/model.pt") -> Stage:
        step = Step(name="model", direction="Out", path=path, place=place(url), secret="s3")
        return Stage(step, "/scratch/p/runs", "job", self.turns, WeakValueDictionary(), lambda: None, self._moved)

    def _moved(self, size: int) -> None:
        self.moved += size

    @property
    def notes(self) -> list[str]:
        return [path for path in self.site.files if path.endswith(".upload.json")]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(copy_out, "PART_BYTES", PART)
    made = World()
    made.site.files[f"{RUN}/model.pt"] = File(MODEL)
    return made


@pytest.fixture(params=[True, False], ids=["site-hashes", "site-does-not-hash"])
def hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    async def none(_: object, __: str) -> None:
        return None

    if not request.param:
        monkeypatch.setattr(Memory, "digest", none)
    return bool(request.param)


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 10 * PART + 7])
async def test_a_file_becomes_an_object_with_its_digest(world: World, size: int, hashes: bool) -> None:
    world.site.files[f"{RUN}/model.pt"] = File(MODEL[:size])
    stage = world.stage()

    await stage.run(world.site, world.store, "")

    assert world.store.objects == {"run1/model.pt": MODEL[:size]}
    assert world.store.digests["run1/model.pt"] == hashlib.sha256(MODEL[:size]).hexdigest()
    assert (stage.progress.files, stage.progress.moved, stage.progress.total) == (1, size, size)
    assert (world.notes, world.store.uploads) == ([], {})

    sent = world.store.sent_bytes
    await world.stage().run(world.site, world.store, "")
    assert world.store.sent_bytes == sent, "what is there is not sent again"


@pytest.mark.parametrize("calls", range(1, 12))
async def test_an_upload_that_broke_goes_on_where_it_was(world: World, calls: int, hashes: bool) -> None:
    uploads = 0

    def cut(call: str) -> None:
        nonlocal uploads
        uploads += call == "upload"
        world.store.cuts = int(call == "upload" and uploads == calls)

    world.store.before = cut
    stage = world.stage()
    with pytest.raises(Unavailable):
        await stage.run(world.site, world.store, "")
    assert world.store.objects == {}
    assert stage.progress.moved == 0
    world.store.before = lambda _: None

    again = world.stage()
    await again.run(world.site, world.store, "")

    assert world.store.objects == {"run1/model.pt": MODEL}
    assert world.store.sent_bytes == len(MODEL), "no part was sent twice"
    assert again.progress.moved == len(MODEL)
    assert (world.notes, world.store.uploads) == ([], {})


async def test_a_file_that_changed_after_the_break_begins_a_new_upload(world: World) -> None:
    world.store.before = lambda _: setattr(world.store, "cuts", int(world.store.calls.count("upload") == 4))
    with pytest.raises(Unavailable):
        await world.stage().run(world.site, world.store, "")
    world.store.before = lambda _: None
    world.store.cuts = 0
    world.site.files[f"{RUN}/model.pt"] = File(MODEL[::-1])

    await world.stage().run(world.site, world.store, "")

    assert world.store.objects == {"run1/model.pt": MODEL[::-1]}
    assert world.store.uploads == {}


async def test_a_file_that_changes_while_it_is_sent_is_not_taken_for_whole(world: World, hashes: bool) -> None:
    def change(call: str) -> None:
        if call == "upload" and world.store.calls.count("upload") == 5:
            world.site.files[f"{RUN}/model.pt"] = File(MODEL[::-1])

    world.store.before = change
    with pytest.raises(Changed, match="changed at the site while it was copied"):
        await world.stage().run(world.site, world.store, "")
    assert (world.store.objects, world.store.uploads, world.notes) == ({}, {}, [])

    await world.stage().run(world.site, world.store, "")
    assert world.store.objects == {"run1/model.pt": MODEL[::-1]}


@pytest.mark.parametrize("checksums", [True, False], ids=["store-sums", "store-does-not-sum"])
@pytest.mark.parametrize("restarted", [True, False], ids=["restarted", "same-operator"])
async def test_a_part_of_other_content_is_not_trusted_after_a_break(
    world: World, hashes: bool, checksums: bool, restarted: bool
) -> None:
    """For a moment the file shows other bytes, as where a writer's cache was not flushed; then it is as it was."""
    path = f"{RUN}/model.pt"
    world.store.checksums = checksums

    def meanwhile(call: str) -> None:
        uploads = world.store.calls.count("upload")
        if call == "upload" and uploads == 1:
            world.site.files[path] = File(bytes(len(MODEL)))
        if call == "upload" and uploads == 4:
            world.site.files[path] = File(MODEL)
            world.store.cuts = 1

    world.store.before = meanwhile
    stage = world.stage()
    with pytest.raises(Unavailable):
        await stage.run(world.site, world.store, "")
    world.store.before = lambda _: None

    for again in (world.stage() if restarted else stage, world.stage()):
        with contextlib.suppress(Changed):
            await again.run(world.site, world.store, "")
        assert world.store.objects.get("run1/model.pt", MODEL) == MODEL
    assert world.store.objects == {"run1/model.pt": MODEL}
    assert (world.notes, world.store.uploads) == ([], {})


async def test_what_was_sent_is_not_read_again_by_the_same_operator(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store.before = lambda _: setattr(world.store, "cuts", int(world.store.calls.count("upload") == 8))
    stage = world.stage()
    with pytest.raises(Unavailable):
        await stage.run(world.site, world.store, "")
    world.store.before = lambda _: None
    world.store.cuts = 0
    read, real = 0, Memory.read

    async def counted(self: Memory, at: str, offset: int, length: int) -> bytes:
        nonlocal read
        content = await real(self, at, offset, length)
        read += len(content) if at == f"{RUN}/model.pt" else 0
        return content

    monkeypatch.setattr(Memory, "read", counted)
    await stage.run(world.site, world.store, "")
    assert read == len(MODEL) - 8 * PART
    assert stage.hashes == {}


@pytest.mark.parametrize("breaks_at", [5, 34, 40])
async def test_what_the_operator_hashed_for_a_site_is_not_read_for_that_again(
    world: World, monkeypatch: pytest.MonkeyPatch, breaks_at: int
) -> None:
    calls, read, real = 0, 0, Memory.read

    async def breaks(self: Memory, at: str, offset: int, length: int) -> bytes:
        nonlocal calls, read
        calls += at == f"{RUN}/model.pt"
        if calls == breaks_at:
            calls += 1
            raise Unavailable("cut")
        content = await real(self, at, offset, length)
        read += len(content) if at == f"{RUN}/model.pt" else 0
        return content

    async def none(_: object, __: str) -> None:
        return None

    monkeypatch.setattr(Memory, "read", breaks)
    monkeypatch.setattr(Memory, "digest", none)
    stage = world.stage()
    with pytest.raises(Unavailable):
        await stage.run(world.site, world.store, "")
    await stage.run(world.site, world.store, "")

    assert world.store.objects == {"run1/model.pt": MODEL}
    assert read <= 2 * len(MODEL) + PART, "once to hash it, once to send it"
    assert stage.hashes == {}


async def test_a_hash_of_what_the_file_was_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file changes between its hashing and its sending, in one operator."""

    async def none(_: object, __: str) -> None:
        return None

    def change(call: str) -> None:
        if call == "upload" and world.store.calls.count("upload") == 1:
            world.site.files[f"{RUN}/model.pt"] = File(MODEL[::-1])

    monkeypatch.setattr(Memory, "digest", none)
    world.store.before = change
    stage = world.stage()
    with pytest.raises(Changed):
        await stage.run(world.site, world.store, "")
    await stage.run(world.site, world.store, "")
    assert world.store.objects == {"run1/model.pt": MODEL[::-1]}


async def test_a_file_that_becomes_shorter_is_not_waited_for(world: World) -> None:
    def change(call: str) -> None:
        if call == "upload":
            world.site.files[f"{RUN}/model.pt"] = File(MODEL[:PART])

    world.store.before = change
    with pytest.raises(Changed, match="has become shorter"):
        await world.stage().run(world.site, world.store, "")


async def test_an_upload_that_the_store_forgot_begins_anew(world: World) -> None:
    world.store.before = lambda _: setattr(world.store, "cuts", int(world.store.calls.count("upload") == 4))
    with pytest.raises(Unavailable):
        await world.stage().run(world.site, world.store, "")
    world.store.before = lambda _: None
    world.store.uploads.clear()
    await world.stage().run(world.site, world.store, "")
    assert world.store.objects == {"run1/model.pt": MODEL}


async def test_a_directory_goes_below_a_prefix(world: World) -> None:
    world.site.files = {f"{RUN}/final/a/1.pt": File(b"one"), f"{RUN}/final/2.pt": File(b""), f"{RUN}/log": File(b"x")}
    stage = world.stage(path=f"{RUN}/final/")
    await stage.run(world.site, world.store, "")
    assert world.store.objects == {"run1/a/1.pt": b"one", "run1/2.pt": b""}
    assert stage.progress.files == 2


@pytest.mark.parametrize(
    "url, path, kind, words",
    [
        ("s3://bucket/model", RUN, Invalid, r"end the url of model with a slash: s3://bucket/model/"),
        ("s3://bucket/m/", f"{RUN}/typo", Missing, r"the run left no /scratch/p/runs/psr-x/typo; correct the path"),
    ],
)
async def test_what_cant_go_says_what_to_mend(
    world: World, url: str, path: str, kind: type[PasserelleError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await world.stage(url, path).run(world.site, world.store, "")


async def test_an_empty_directory_and_an_endless_one_are_told(world: World) -> None:
    world.site.directories.add(f"{RUN}/empty")
    with pytest.raises(Missing, match="left nothing in"):
        await world.stage(path=f"{RUN}/empty").run(world.site, world.store, "")
    world.site.files = {f"{RUN}/{'loop/' * 40}x": File(b"")}
    with pytest.raises(Invalid, match="link that leads upwards"):
        await world.stage(path=RUN).run(world.site, world.store, "")


async def test_a_link_that_leads_nowhere_is_told_and_not_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Memory.entries

    async def entries(self: Memory, path: str) -> list[Entry]:
        link = Entry(name="model.safetensors", size=0, is_directory=False, broken="a link that leads nowhere")
        return [*(await real(self, path) or ()), link]

    monkeypatch.setattr(Memory, "entries", entries)
    with pytest.raises(Invalid, match=rf"{RUN}/model.safetensors is a link that leads nowhere; have the trainer"):
        await world.stage(path=RUN).run(world.site, world.store, "")
    assert world.store.objects == {}


async def test_directories_are_counted_as_files_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MOST_FILES", 10)
    world.site.directories |= {f"{RUN}/{number // 5}/{number}" for number in range(20)}
    with pytest.raises(Invalid, match="more than 10 files and directories"):
        await world.stage(path=RUN).run(world.site, world.store, "")


async def test_what_is_given_up_leaves_no_upload(world: World) -> None:
    world.store.before = lambda _: setattr(world.store, "cuts", int(world.store.calls.count("upload") == 4))
    stage = world.stage()
    with pytest.raises(Unavailable):
        await stage.run(world.site, world.store, "")
    assert world.store.uploads
    await stage.drop(world.site, world.store)
    assert (world.store.uploads, world.notes) == ({}, [])


@pytest.mark.parametrize("fits", [0, 1], ids=["no-note-fits", "a-bare-one-fits"])
@pytest.mark.parametrize("error", [Rejected("There is no room.", reason="NotWritten"), asyncio.CancelledError()])
async def test_where_no_note_can_be_written_no_upload_is_left(
    world: World, fits: int, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = Memory.write, 0

    async def full(self: Memory, path: str, content: bytes, *, mode: int = 0o600) -> None:
        nonlocal written
        written += 1
        if written > fits:
            raise error
        await real(self, path, content, mode=mode)

    monkeypatch.setattr(Memory, "write", full)
    for _ in range(3):
        written = 0
        with pytest.raises(type(error)):
            await world.stage().run(world.site, world.store, "")
        assert world.store.uploads == {}
    assert world.store.calls.count("begin") == 3 * fits

    monkeypatch.setattr(Memory, "write", real)
    await world.stage().run(world.site, world.store, "")
    assert (world.store.objects, world.store.uploads, world.notes) == ({"run1/model.pt": MODEL}, {}, [])


async def test_what_is_given_up_before_it_is_begun_leaves_no_note(world: World) -> None:
    def breaks(call: str) -> None:
        if call == "begin":
            raise Unavailable("The connection broke.")

    world.store.before = breaks
    stage = world.stage()
    with pytest.raises(Unavailable):
        await stage.run(world.site, world.store, "")
    assert len(world.notes) == 1
    await stage.drop(world.site, world.store)
    assert (world.notes, world.store.calls.count("abort")) == ([], 0)


@pytest.mark.parametrize("size", [0, 10**9, 100 * 10**9, copy_out.LARGEST_FILE_BYTES])
def test_parts_are_what_s3_takes(size: int) -> None:
    assert LEAST_PART_BYTES <= part_bytes(size) <= copy_out.LARGEST_PART_BYTES
    assert -(-size // part_bytes(size)) <= MOST_PARTS

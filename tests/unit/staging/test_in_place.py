"""Where no file gets another name: a copy grows under its own, and is never taken for whole, or for somebody else's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

import pytest

from little_store import MemoryStore
from passerelle.errors import Invalid, PasserelleError, Rejected, Unavailable
from passerelle.gateways.memory import _TRAITS, Memory
from passerelle.gateways.memory_files import File
from passerelle.staging import receipt
from passerelle.staging.in_place import HEAD_BYTES
from passerelle.staging.place import place
from passerelle.staging.stage import Locks, Stage
from passerelle.staging.steps import Progress, Step
from passerelle.staging.store import Changed
from passerelle.staging.turns import Turns

PART = 1000
CORPUS = hashlib.shake_256(b"1").digest(5 * PART + 7)
NEWER = hashlib.shake_256(b"2").digest(5 * PART + 7)
RUNS = "/scratch/p/runs"
ENDPOINT = "https://s3.example"
PATH = "/scratch/p/corpus.bin"
NOTE = receipt.begun_place(RUNS, PATH)
RECEIPT = receipt.receipt_place(RUNS, PATH)


class Dead(Exception):
    """The operator is gone: no handler of ours does anything more."""


@dataclass
class InPlaceSite(Memory):
    """It renames nothing, tells no digest, and dies at a call: a file that is written then is half there."""

    dies_at: int = 0
    entered: int = 0

    async def rename(self, old: str, new: str) -> None:
        raise AssertionError(f"{old} can't become {new}")

    async def digest(self, path: str) -> str | None:
        self._file(path)
        return None

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        try:
            await super().write(path, content, mode=mode)
        except Dead:
            if self.entered == self.dies_at:
                self.files[path] = File(content[: len(content) // 2], mode)
            raise

    async def append(self, path: str, offset: int, content: bytes) -> None:
        try:
            await super().append(path, offset, content)
        except Dead:
            if self.entered == self.dies_at:
                old = self.files.get(path, File(b""))
                self.files[path] = replace(old, content=old.content[:offset] + content[: len(content) // 2])
            raise

    def _enter_files(self, call: str) -> None:
        self.entered += 1
        if self.dies_at and self.entered >= self.dies_at:
            raise Dead
        super()._enter_files(call)


@dataclass
class World:
    store: MemoryStore = field(default_factory=lambda: MemoryStore({"corpus.bin": CORPUS}))
    site: InPlaceSite = field(
        default_factory=lambda: InPlaceSite(clock=lambda: 0.0, part_bytes=PART, traits=replace(_TRAITS, renames=False))
    )
    locks: Locks = field(default_factory=WeakValueDictionary)
    turns: Turns = field(default_factory=Turns)
    moved: int = 0

    def stage(self, url: str = "s3://bucket/corpus.bin", path: str = PATH, owner: str = "job") -> Stage:
        step = Step(name="corpus", direction="In", path=path, place=place(url), secret="s3")
        return Stage(step, RUNS, owner, self.turns, self.locks, lambda: None, self._moved)

    async def run(self, stage: Stage | None = None) -> Progress:
        stage = stage or self.stage()
        await stage.run(self.site, self.store, ENDPOINT)
        return stage.progress

    async def dies(self, at: int, stage: Stage | None = None) -> None:
        """A whole operator, at this call to the site."""
        self.site.entered, self.site.dies_at = 0, at
        with pytest.raises(Dead):
            await self.run(stage)
        self.site.dies_at = 0
        self.locks, self.turns = WeakValueDictionary(), Turns()

    async def begun(self) -> None:
        """An operator has died with two parts written."""
        self.site.cut_appends = 0
        appended = 0
        append = self.site.append

        async def two(path: str, offset: int, content: bytes) -> None:
            nonlocal appended
            appended += 1
            if appended > 2:
                self.site.dies_at = self.site.entered + 1
            await append(path, offset, content)

        self.site.append = two  # type: ignore[method-assign]
        with pytest.raises(Dead):
            await self.run()
        del self.site.append
        self.site.dies_at = 0
        assert len(self.content()) == 2 * PART + PART // 2
        assert NOTE in self.site.files

    async def broken(self, parts: int = 2) -> Stage:
        """One that lives on: the site was silent when so many parts were written."""
        stage, append = self.stage(), self.site.append

        async def some(path: str, offset: int, content: bytes) -> None:
            if offset == parts * PART:
                raise Unavailable("A-REX does not answer.")
            await append(path, offset, content)

        self.site.append = some  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await self.run(stage)
        del self.site.append
        assert self.content() == CORPUS[: parts * PART]
        return stage

    async def refused(self, stage: Stage | None = None) -> str:
        """What is said of what is in the way; it stays as it was."""
        before = self.content()
        with pytest.raises(Invalid, match="is not replaced") as caught:
            await self.run(stage)
        assert caught.value.reason == "DataInTheWay"
        assert self.content() == before
        assert RECEIPT not in self.site.files
        return caught.value.message

    def content(self, path: str = PATH) -> bytes:
        return self.site.files[path].content

    @property
    def notes(self) -> list[str]:
        return [path for path in self.site.files if path.endswith(".begun.json")]

    def _moved(self, size: int) -> None:
        self.moved += size


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES, PART - 1, PART, PART + 1, len(CORPUS)])
async def test_an_object_arrives_whole_with_a_receipt_and_without_a_note(world: World, size: int) -> None:
    world.store.objects["corpus.bin"] = CORPUS[:size]

    progress = await world.run()

    assert set(world.site.files) == {PATH, RECEIPT}
    assert world.content() == CORPUS[:size]
    assert (progress.files, progress.moved, progress.total, world.moved) == (1, size, size, size)
    assert json.loads(world.content(RECEIPT))["sha256"] == hashlib.sha256(CORPUS[:size]).hexdigest()
    assert json.loads(world.content(RECEIPT))["compared"] == "sha256", "it was read back whole"

    await world.run(world.stage(owner="another job"))
    assert world.moved == size, "no second copy"


async def test_a_note_stands_before_the_first_byte_and_goes_after_the_receipt(world: World) -> None:
    seen: list[tuple[bool, bool, bool]] = []

    def look(_: str) -> None:
        seen.append(tuple(each in world.site.files for each in (NOTE, PATH, RECEIPT)))  # type: ignore[arg-type]

    world.site._enter_files = look  # type: ignore[assignment,method-assign]
    await world.run()
    seen.append((False, True, True))
    steps = list(dict.fromkeys(seen))
    assert steps == [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, True),
        (False, True, True),
    ]


async def test_whatever_call_an_operator_dies_at_the_next_one_ends_it(world: World) -> None:
    await world.run()
    calls = world.site.entered
    assert calls > 15
    for at in range(1, calls + 1):
        world = World()
        await world.dies(at)
        there = world.site.files.get(PATH)
        if there is not None and there.content != CORPUS:
            assert receipt.begun(world.content(NOTE), PATH) is not None, "what is not whole has its note"
        if RECEIPT in world.site.files and receipt.receipt(world.content(RECEIPT), PATH) is not None:
            assert world.content() == CORPUS, "a receipt tells of what is whole"
        await world.run()
        assert world.content() == CORPUS
        assert await world.stage().lies(world.site)
        world.store.read_bytes = 0
        await world.run()
        assert world.store.read_bytes == 0, at


async def test_another_operator_goes_on_from_what_lies_there(world: World) -> None:
    await world.begun()
    before = world.moved
    await world.run(world.stage(owner="another"))
    assert world.content() == CORPUS
    assert world.moved - before == len(CORPUS) - 2 * PART - PART // 2
    assert world.notes == []


async def test_a_newer_version_is_begun_anew_by_who_knows_what_it_sent_of_the_older(world: World) -> None:
    stage = await world.broken()
    world.store.objects["corpus.bin"] = NEWER
    await world.run(stage)
    assert world.content() == NEWER
    assert set(world.site.files) == {PATH, RECEIPT}


async def test_a_beginning_of_an_older_version_that_nobody_can_compare_stays(world: World) -> None:
    await world.begun()
    world.store.objects["corpus.bin"] = NEWER
    assert "seems to be the beginning of another version of corpus.bin" in await world.refused()
    world.store.objects["corpus.bin"] = CORPUS
    await world.run()
    assert world.content() == CORPUS, "it is gone on with where the version comes back"


async def test_an_operator_may_die_while_it_begins_anew(world: World) -> None:
    stage = await world.broken()
    world.store.objects["corpus.bin"] = NEWER
    world.site.entered = 0
    await world.run(stage)
    ended = 0
    for at in range(1, world.site.entered + 1):
        world = World()
        stage = await world.broken()
        world.store.objects["corpus.bin"] = NEWER
        await world.dies(at, stage)
        if world.site.files.get(PATH) == File(CORPUS[: 2 * PART], 0o644):
            await world.refused()
            continue
        ended += 1
        await world.run()
        assert world.content() == NEWER, at
        assert await world.stage().lies(world.site)
    assert ended > 10


async def test_a_newer_version_does_not_take_the_place_of_one_that_is_whole(world: World) -> None:
    await world.run()
    world.store.objects["corpus.bin"] = NEWER
    with pytest.raises(Invalid, match="was copied from another version"):
        await world.run()
    assert world.content() == CORPUS


async def test_the_beginning_of_another_copy_is_not_touched(world: World) -> None:
    await world.begun()
    before = world.content()
    world.store.objects["other"] = CORPUS
    with pytest.raises(
        Invalid, match=r"is the beginning of another copy, of corpus\.bin in the bucket bucket"
    ) as caught:
        await world.run(world.stage("s3://bucket/other"))
    assert caught.value.reason == "DataInTheWay"
    assert world.content() == before
    await world.run()
    assert world.content() == CORPUS, "which goes on when it likes"


@pytest.mark.parametrize(
    "there",
    [b"mine", CORPUS + b"longer", NEWER[: 2 * PART], CORPUS[: HEAD_BYTES - 1] + b"x" + CORPUS[HEAD_BYTES:]],
    ids=["another's", "longer", "of another object", "of another head"],
)
@pytest.mark.parametrize("newer", [True, False])
async def test_a_note_that_was_left_makes_nobodys_file_ours(world: World, there: bytes, newer: bool) -> None:
    """Somebody has removed our beginning and put a file of his there."""
    await world.begun()
    world.site.files[PATH] = File(there)
    if newer:
        world.store.objects["corpus.bin"] = NEWER
    with pytest.raises(Invalid, match="is not replaced"):
        await world.run()
    assert world.content() == there
    assert world.notes == [], "it says nothing any more"
    with pytest.raises(Invalid, match="is not replaced"):
        await world.run()


async def test_what_is_ours_and_spoilt_is_begun_anew(world: World) -> None:
    await world.begun()
    world.site.files[PATH] = File(CORPUS[: 2 * PART] + bytes(PART))
    await world.run()
    assert world.content() == CORPUS


@pytest.mark.parametrize("note", [None, b"", b'{"path": "/scratch/p/cor', b"[]"])
async def test_without_a_whole_note_a_beginning_is_somebodys(world: World, note: bytes | None) -> None:
    await world.begun()
    before = world.content()
    if note is None:
        del world.site.files[NOTE]
    else:
        world.site.files[NOTE] = File(note)
    with pytest.raises(Invalid, match="is not replaced"):
        await world.run()
    assert world.content() == before


async def test_a_head_that_is_no_base64_is_nobodys(world: World) -> None:
    await world.begun()
    told = json.loads(world.content(NOTE))
    world.site.files[NOTE] = File(json.dumps(told | {"head": "*"}).encode())
    with pytest.raises(Invalid, match="is not replaced"):
        await world.run()


async def test_a_note_whose_file_is_gone_begins_a_copy(world: World) -> None:
    await world.begun()
    del world.site.files[PATH]
    world.store.objects["corpus.bin"] = NEWER
    await world.run()
    assert world.content() == NEWER


async def test_a_note_that_was_left_beside_a_receipt_says_nothing(world: World) -> None:
    await world.begun()
    note = world.site.files[NOTE]
    await world.run()
    world.site.files[NOTE] = note
    edited = CORPUS[: len(CORPUS) - 1]
    world.site.files[PATH] = File(edited)
    with pytest.raises(Invalid, match="is not replaced"):
        await world.run()
    assert world.content() == edited


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_a_file_that_comes_before_the_first_byte_is_not_written_to(world: World, read: int) -> None:
    def come(call: str) -> None:
        if call == "read" and world.store.calls.count("read") == read:
            world.site.files[PATH] = File(b"the user's own")

    world.store.before = come
    stage = world.stage()
    with pytest.raises(Unavailable) as caught:
        await world.run(stage)
    assert caught.value.reason == "SizeDiffers"
    world.store.before = lambda _: None
    with pytest.raises(Invalid, match="is not replaced"):
        await world.run(stage)
    assert world.content() == b"the user's own"
    assert stage.progress.moved == 0


async def test_the_same_that_came_meanwhile_is_taken(world: World) -> None:
    await world.begun()
    world.site.files[PATH] = File(CORPUS)
    await world.run()
    assert set(world.site.files) == {PATH, RECEIPT}
    del world.site.files[RECEIPT]
    before = world.moved
    await world.run()
    assert RECEIPT in world.site.files
    assert world.moved == before, "it is read, and not written"


async def test_two_operators_with_the_same_version_end_with_one_file(world: World) -> None:
    other = replace(world, locks=WeakValueDictionary(), turns=Turns())

    async def until_done(each: World) -> None:
        stage = each.stage()
        while True:
            try:
                await each.run(stage)
            except Unavailable:
                await asyncio.sleep(0)
            else:
                return

    await asyncio.gather(until_done(world), until_done(other))
    assert world.content() == CORPUS
    assert set(world.site.files) == {PATH, RECEIPT}


async def test_a_copy_that_another_one_took_over_gets_no_receipt(world: World) -> None:
    stored = await world.store.head("corpus.bin")
    assert stored is not None
    source = receipt.Source(endpoint=ENDPOINT, bucket="bucket", key="corpus.bin")
    others = receipt.Begun(
        path=PATH, source=source, size=9, etag="another", head=base64.b64encode(b"another's").decode()
    )

    def come(call: str) -> None:
        if call == "read" and world.store.calls.count("read") == 6:
            world.site.files[NOTE] = File(others.written())

    world.store.before = come
    stage = world.stage()
    with pytest.raises(Unavailable, match=r"Another copy to .* has begun meanwhile") as caught:
        await world.run(stage)
    assert caught.value.reason == "CopyTakenOver"
    assert RECEIPT not in world.site.files
    await stage.drop(world.site, world.store)
    assert world.content(NOTE) == others.written(), "what is another's is left to it"
    assert PATH in world.site.files


async def test_an_object_that_changes_meanwhile_leaves_nothing_of_the_older(world: World) -> None:
    def change(call: str) -> None:
        if call == "read" and world.store.calls.count("read") == 4:
            world.store.objects["corpus.bin"] = NEWER

    world.store.before = change
    stage = world.stage()
    with pytest.raises(Changed):
        await world.run(stage)
    assert world.site.files == {}
    await world.run(stage)
    assert world.content() == NEWER


async def test_what_is_given_up_leaves_nothing(world: World) -> None:
    world.site.cut_appends = 1
    stage = world.stage()
    with pytest.raises(Unavailable):
        await world.run(stage)
    assert set(world.site.files) == {PATH, NOTE}
    await stage.drop(world.site, world.store)
    assert world.site.files == {}


async def test_what_is_given_up_leaves_what_is_somebodys_or_whole(world: World) -> None:
    world.site.cut_appends = 1
    stage = world.stage()
    with pytest.raises(Unavailable):
        await world.run(stage)
    world.site.files[PATH] = File(b"the user's own")
    await stage.drop(world.site, world.store)
    assert {path: file.content for path, file in world.site.files.items()} == {PATH: b"the user's own"}

    world = World()
    world.site.cut_appends = 1
    stage = world.stage()
    with pytest.raises(Unavailable):
        await world.run(stage)
    note = world.site.files[NOTE]
    await world.run(replace_owner(world, "other"))
    world.site.files[NOTE] = note
    await stage.drop(world.site, world.store)
    assert set(world.site.files) == {PATH, RECEIPT}


def replace_owner(world: World, owner: str, url: str = "s3://bucket/corpus.bin") -> Stage:
    """A stage of another operator, which knows nothing of this one's locks."""
    return replace(world, locks=WeakValueDictionary(), turns=Turns()).stage(url, owner=owner)


async def test_no_receipt_outlives_what_it_tells_of(world: World) -> None:
    """Somebody removed the older file; the operator dies while a newer one comes, which is as long."""

    async def older_removed() -> World:
        made = World()
        await made.run()
        del made.site.files[PATH]
        made.store.objects["corpus.bin"] = NEWER
        made.site.entered = 0
        return made

    world = await older_removed()
    await world.run()
    for at in range(1, world.site.entered + 1):
        world = await older_removed()
        await world.dies(at)
        kept = receipt.receipt(world.content(RECEIPT), PATH) if RECEIPT in world.site.files else None
        if kept is not None and kept.sha256 == hashlib.sha256(CORPUS).hexdigest():
            assert PATH not in world.site.files
        world.store.objects["corpus.bin"] = CORPUS
        try:
            await world.run()
        except Invalid:
            assert NEWER.startswith(world.content())
        else:
            assert world.content() == CORPUS


async def test_a_directorys_receipt_goes_before_anything_comes_into_it(world: World) -> None:
    world.store.objects = {f"c/{name}": name.encode() * PART for name in "ab"}
    await world.run(world.stage("s3://bucket/c/", "/d"))
    above = receipt.receipt_place(RUNS, "/d/")
    assert above in world.site.files
    world.store.objects["c/new"] = b"new" * PART
    world.site.cut_appends = 1
    with pytest.raises(Unavailable):
        await world.run(world.stage("s3://bucket/c/", "/d"))
    assert above not in world.site.files
    assert not await world.stage("s3://bucket/c/", "/d").lies(world.site)
    await world.run(world.stage("s3://bucket/c/", "/d"))
    assert await world.stage("s3://bucket/c/", "/d").lies(world.site)
    assert world.notes == []


async def test_a_directory_in_the_way_is_seen_before_anything_is_copied(world: World) -> None:
    world.site.directories.add(PATH)
    with pytest.raises(Invalid, match="is a directory at the site"):
        await world.run()
    assert world.notes == []


async def test_files_that_must_be_opened_are_opened_before_anything_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else was asked would be told that nothing is there."""
    opened: list[int] = []

    class Shut(InPlaceSite):
        async def open_files(self) -> None:
            opened.append(self.entered)
            raise Unavailable("A job waits.", reason="DoorOpening")

    await world.begun()
    shut = Shut(clock=lambda: 0.0, part_bytes=PART, traits=world.site.traits)
    stage = world.stage()
    for call in (stage.run(shut, world.store, ENDPOINT), stage.lies(shut)):
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.reason == "DoorOpening"
    world.site.cut_appends = 1
    with pytest.raises(PasserelleError):
        await world.run(stage)
    with pytest.raises(Unavailable):
        await stage.drop(shut, world.store)
    assert opened == [0, 0, 0]
    assert world.store.calls.count("list") == 0


OWN = CORPUS[:HEAD_BYTES] + b"a month's work" * 100
"""Of the same first bytes: another row in a table, another file in an archive."""


@pytest.mark.parametrize(
    "there",
    [
        OWN,
        OWN[:PART] + b"x",
        OWN[: 2 * PART],
        CORPUS[: 2 * PART] + b"x",
        CORPUS[: 2 * PART] + bytes(PART // 2) + b"x",
        CORPUS[:PART] + bytes(2 * PART),
        CORPUS[:-1] + b"!",
        CORPUS[:HEAD_BYTES] + bytes(3 * PART - HEAD_BYTES) + CORPUS[3 * PART : 5 * PART],
        CORPUS[:HEAD_BYTES] + bytes(3 * PART - HEAD_BYTES) + CORPUS[3 * PART :],
        CORPUS[:-PART] + bytes(PART),
    ],
    ids=[
        "same head",
        "short",
        "as long as what was sent",
        "one byte more",
        "a hole and more",
        "two parts of zeros",
        "edited at its end",
        "spoilt middle",
        "as long, spoilt middle",
        "as long, spoilt end",
    ],
)
@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("lives", [True, False])
async def test_what_is_not_proven_to_be_ours_stays(world: World, there: bytes, newer: bool, lives: bool) -> None:
    stage = await world.broken()
    world.site.files[PATH] = File(there)
    if newer:
        world.store.objects["corpus.bin"] = NEWER
    assert "remove the file at the site" in await world.refused(stage if lives else None)
    await stage.drop(world.site, world.store)
    assert world.content() == there
    del world.site.files[PATH]
    await world.run(stage)
    assert world.content() == (NEWER if newer else CORPUS)


async def test_an_empty_file_with_a_note_is_gone_on_with_whoever_made_it(world: World) -> None:
    """A connection that broke leaves one, and there is nothing in it to be lost."""
    await world.begun()
    world.site.files[PATH] = File(b"")
    await world.run()
    assert world.content() == CORPUS
    assert world.notes == []


async def test_an_empty_file_without_a_note_is_somebodys(world: World) -> None:
    world.site.files[PATH] = File(b"")
    await world.refused()


async def test_two_operators_with_two_objects_never_give_a_receipt_to_a_mixture(world: World) -> None:
    """Of two run roots' notes neither would see the other's; here it is one, and both begin at the same moment, through
    a gateway whose append is a look and a write.
    """
    other = hashlib.shake_256(b"other").digest(len(CORPUS))
    world.store.objects["other"] = other
    site, came, written = world.site, asyncio.Event(), asyncio.Event()

    async def append(path: str, offset: int, content: bytes) -> None:
        size = len(site.files[path].content) if path in site.files else 0
        if size != offset:
            raise Rejected("It has another size.", reason="SizeDiffers")
        if content == CORPUS[:PART]:
            await asyncio.wait_for(came.wait(), 5)
        elif offset == PART:
            came.set()
            await asyncio.wait_for(written.wait(), 5)
        old = site.files.get(path, File(b"")).content
        site.files[path] = File(old[:offset] + content + old[offset + len(content) :])
        if content == CORPUS[:PART]:
            written.set()

    site.append = append  # type: ignore[method-assign]
    both = [world.stage(owner="a"), replace_owner(world, "b", "s3://bucket/other")]
    seen = await asyncio.gather(*map(world.run, both), return_exceptions=True)
    assert len(world.content()) == len(CORPUS)
    assert world.content() not in (CORPUS, other), "it has parts of both"
    assert all(isinstance(each, PasserelleError) for each in seen)
    assert RECEIPT not in site.files
    del site.append
    for stage in both:
        await world.refused(stage)


async def test_a_note_is_looked_at_before_each_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("passerelle.staging.copy_in.SLICE_SECONDS", 0.0)
    monkeypatch.setattr(Turns, "wanted", True)

    def come(call: str) -> None:
        if call == "read" and world.store.calls.count("read") == 2:
            note = json.loads(world.content(NOTE))
            world.site.files[NOTE] = File(json.dumps(note | {"etag": "another"}).encode())

    world.store.before = come
    with pytest.raises(Unavailable) as caught:
        await world.run()
    assert caught.value.reason == "CopyTakenOver"
    assert world.content() == CORPUS[: 2 * PART], "nothing more is written into it"


@pytest.mark.parametrize("by", ["another run root", "a person"])
async def test_what_is_given_up_and_was_ended_by_another_stays(world: World, by: str) -> None:
    stage = await world.broken()
    del world.site.files[PATH]
    if by == "a person":
        world.site.files[PATH] = File(CORPUS)
    else:
        other = replace(replace_owner(world, "other"), run_root="/scratch/p/other")
        await world.run(other)
        assert await other.lies(world.site)
    await stage.drop(world.site, world.store)
    assert world.content() == CORPUS
    assert world.notes == [], "it is taken like any other of the same content"


async def test_what_is_given_up_and_takes_long_to_prove_stays_with_its_note(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("passerelle.staging.in_place.PROVEN_BYTES", PART)
    stage = await world.broken()
    await stage.drop(world.site, world.store)
    assert (world.content(), world.notes) == (CORPUS[: 2 * PART], [NOTE])
    await world.run()
    assert world.content() == CORPUS, "the next goes on from it"


async def test_what_is_given_up_and_another_went_on_with_stays(world: World) -> None:
    stage = await world.broken()
    world.site.files[PATH] = File(CORPUS[: 3 * PART + 1])
    await stage.drop(world.site, world.store)
    assert (world.content(), world.notes) == (CORPUS[: 3 * PART + 1], [NOTE])


async def test_what_is_given_up_goes_with_the_part_whose_fate_was_unknown(world: World) -> None:
    stage = await world.broken()
    world.site.files[PATH] = File(CORPUS[: 2 * PART + 1])
    await stage.drop(world.site, world.store)
    assert world.site.files == {}


async def test_a_part_that_lands_late_is_found(world: World) -> None:
    """A-REX was frozen and carries out what we gave up: meanwhile a newer version grows there."""
    stage = await world.broken()
    world.store.objects["corpus.bin"] = NEWER
    append = world.site.append

    async def late(path: str, offset: int, content: bytes) -> None:
        await append(path, offset, content)
        if offset == 3 * PART:
            old = world.content()
            world.site.files[PATH] = File(old[: 2 * PART] + CORPUS[2 * PART : 3 * PART] + old[3 * PART :])

    world.site.append = late  # type: ignore[method-assign]
    with pytest.raises(Invalid, match=r"is not what was sent of corpus\.bin"):
        await world.run(stage)
    assert RECEIPT not in world.site.files
    assert world.notes == [], "it says nothing any more"
    assert len(world.content()) == len(NEWER), "as long as the object: another receipt may tell of it"
    del world.site.append
    await world.refused(stage)
    del world.site.files[PATH]
    await world.run(stage)
    assert world.content() == NEWER


@pytest.mark.parametrize("who", ["in one go", "who began", "another"])
async def test_what_is_read_back_is_bounded(world: World, who: str) -> None:
    read, reads = 0, world.site.read

    async def count(path: str, offset: int, length: int) -> bytes:
        nonlocal read
        found = await reads(path, offset, length)
        read += len(found) if path == PATH else 0
        return found

    stage = await world.broken() if who != "in one go" else world.stage()
    world.site.read = count  # type: ignore[method-assign]
    sent = world.store.read_bytes
    await world.run(stage if who != "another" else world.stage())
    known = {"in one go": 0, "who began": HEAD_BYTES + PART, "another": HEAD_BYTES + 2 * PART}[who]
    assert read == len(CORPUS) + known, "all of it once, and before that what nobody knew"
    again = {"in one go": HEAD_BYTES, "who began": -PART, "another": PART}[who]
    assert world.store.read_bytes - sent == len(CORPUS) + again, "what was sent is not read again"
    assert stage.hashes == {} or who == "another", "nothing is kept of what is done"


async def test_what_was_read_of_a_file_that_is_gone_counts_for_nothing(world: World) -> None:
    await world.begun()
    world.site.files[PATH] = File(OWN[:HEAD_BYTES] + bytes(3 * PART))
    reads = world.site.read

    async def cuts(path: str, offset: int, length: int) -> bytes:
        if path == PATH and offset == 2 * PART:
            raise Unavailable("A-REX does not answer.")
        return await reads(path, offset, length)

    world.site.read = cuts  # type: ignore[method-assign]
    stage = world.stage()
    with pytest.raises(Unavailable):
        await world.run(stage)
    del world.site.read, world.site.files[PATH]
    await world.run(stage)
    assert world.content() == CORPUS
    assert RECEIPT in world.site.files


async def test_reading_back_goes_on_where_it_broke(world: World) -> None:
    read, reads, cut = 0, world.site.read, True

    async def cuts(path: str, offset: int, length: int) -> bytes:
        nonlocal read, cut
        if path == PATH and offset == 3 * PART and cut:
            cut = False
            raise Unavailable("A-REX does not answer.")
        found = await reads(path, offset, length)
        read += len(found) if path == PATH else 0
        return found

    world.site.read = cuts  # type: ignore[method-assign]
    stage = world.stage()
    with pytest.raises(Unavailable):
        await world.run(stage)
    sent = world.store.read_bytes
    await world.run(stage)
    assert read == len(CORPUS) + HEAD_BYTES
    assert world.store.read_bytes == sent
    assert RECEIPT in world.site.files


async def test_a_site_that_refuses_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise Rejected("No room.", reason="NotWritten")

    monkeypatch.setattr(InPlaceSite, "write", refuse)
    with pytest.raises(Rejected, match="No room"):
        await world.run()
    assert world.site.files == {}, "no byte before its note"


def test_a_note_of_another_path_is_none() -> None:
    source = receipt.Source(endpoint="https://s3.example", bucket="b", key="k")
    kept = receipt.Begun(path="/a", source=source, size=1, etag="e", head="aGk=")
    assert receipt.begun(kept.written(), "/a") == kept
    for content in (b"", b"[]", kept.written()[:-3], kept.written().replace(b'"/a"', b'"/b"')):
        assert receipt.begun(content, "/a") is None

"""Large files by a gateway's object store and jobs of the site: never twice, never half, whoever goes on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast
from weakref import WeakValueDictionary

import pytest

from little_handover import SECRET, LittleHandover, Upload
from little_store import MemoryStore
from passerelle.errors import Invalid, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import TOO_MANY_ENTRIES, Entry, HandedIn, HandedOut, Handover
from passerelle.gateways.memory_files import File
from passerelle.staging import copy_out, handed, handover, handover_out, receipt, transfer_job
from passerelle.staging.door import Door
from passerelle.staging.handover import HandIn
from passerelle.staging.place import place
from passerelle.staging.s3.allowed import Allowed
from passerelle.staging.s3.presigned import OpenPresigned
from passerelle.staging.stage import Locks, Stage
from passerelle.staging.steps import Direction, Outgoing, Progress, Step
from passerelle.staging.store import Changed
from passerelle.staging.turns import Turns

PART = 1000
CORPUS = hashlib.shake_256(b"1").digest(10 * PART + 7)
PATH = "/scratch/p/corpus.bin"
ROOT = "/scratch/p/runs"


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a thousand bytes, and no waiting."""
    monkeypatch.setattr(handover, "part_bytes", lambda _: PART)
    monkeypatch.setattr(handover, "_MEBIBYTE", 1)
    monkeypatch.setattr(copy_out, "PART_BYTES", PART)
    for kind in (handover.HandIn, handover_out.HandOut):
        told = kind.__init__.__defaults__ or ()
        defaults = tuple(0.0 if each == transfer_job.LOOK_SECONDS else each for each in told)
        monkeypatch.setattr(kind.__init__, "__defaults__", defaults)


@dataclass
class World:
    store: MemoryStore = field(default_factory=lambda: MemoryStore({"corpus.bin": CORPUS}))
    site: LittleHandover = field(default_factory=LittleHandover)
    moved: int = 0
    told: list[str] = field(default_factory=list)

    def stage(self, direction: Direction = "In", url: str = "s3://bucket/corpus.bin", path: str = PATH) -> Stage:
        """As a newly started operator has it."""
        step = Step(name="corpus", direction=direction, path=path, place=place(url), secret="s3", account="g177")
        locks: Locks = WeakValueDictionary()

        def note() -> None:
            self.told.append(made.progress.message)

        made = Stage(step, ROOT, "ns/job", Turns(), locks, note, self._moved, cast("OpenPresigned", self.site.open))
        return made

    async def run(self, stage: Stage | None = None) -> Progress:
        stage = stage or self.stage()
        await stage.run(cast("Door", self.site), self.store, "")
        return stage.progress

    @property
    def names(self) -> list[str]:
        return sorted(path for path in self.site.files_at.files if not path.startswith(f"{ROOT}/staged/"))

    @property
    def kept(self) -> int:
        """Files of ours beside the receipts, and those."""
        return sum(path.startswith(f"{ROOT}/staged/") for path in self.site.files_at.files)

    def content(self, path: str = PATH) -> bytes:
        return self.site.files_at.files[path].content

    def _moved(self, size: int) -> None:
        self.moved += size


@pytest.fixture
def world() -> World:
    return World()


async def failed(world: World, kind: type[PasserelleError], stage: Stage | None = None) -> PasserelleError:
    with pytest.raises(kind) as told:
        await world.run(stage)
    assert SECRET not in told.value.message
    return told.value


def test_the_site_is_one(world: World) -> None:
    assert isinstance(world.site, Handover)


@pytest.mark.parametrize("why", [Rejected("Too many.", reason=TOO_MANY_ENTRIES), Unavailable("ls took too long.")])
async def test_a_directory_that_can_not_be_listed_holds_no_copy_up(
    world: World, why: PasserelleError, monkeypatch: pytest.MonkeyPatch
) -> None:
    _unlisted(world, monkeypatch, why)

    progress = await world.run()

    assert (world.content(), world.names, world.kept) == (CORPUS, [PATH], 1)
    assert progress.files == 1


async def test_a_directory_that_can_not_be_listed_keeps_no_copy_from_beginning_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _unlisted(world, monkeypatch, Rejected("Too many.", reason=TOO_MANY_ENTRIES))
    world.site.cut = 5000
    assert (await failed(world, Unavailable)).reason == "TransferJobFailed"
    world.site.cut = None
    await world.run()
    assert (world.content(), world.names, world.kept) == (CORPUS, [PATH], 1)


async def test_what_can_not_be_tidied_up_undoes_no_copy_and_goes_with_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = world.site.remove

    async def refused(path: str) -> None:
        if path == await _note_place(world):
            raise Rejected(f"{path} may not be removed.", reason="FileRefused")
        await remove(path)

    monkeypatch.setattr(world.site, "remove", refused)
    assert (await world.run()).files == 1
    assert (world.content(), world.kept) == (CORPUS, 2)

    monkeypatch.setattr(world.site, "remove", remove)
    await world.run()
    assert (world.kept, len(world.site.uploads)) == (1, 1)


def _unlisted(world: World, monkeypatch: pytest.MonkeyPatch, why: PasserelleError) -> None:
    """The directory that the file lies in."""
    entries = world.site.entries

    async def refused(path: str) -> Sequence[Entry] | None:
        if PATH.rpartition("/")[0] == path:
            raise why
        return await entries(path)

    monkeypatch.setattr(world.site, "entries", refused)


@pytest.mark.parametrize("size", [0, 1, 100, 101, PART, PART + 1, 10 * PART + 7])
@pytest.mark.parametrize("hashes", [True, False])
async def test_an_object_arrives_whole_and_leaves_a_receipt_alone(world: World, size: int, hashes: bool) -> None:
    world.store.objects["corpus.bin"] = CORPUS[:size]
    world.site.hashes = hashes

    progress = await world.run()

    assert world.content() == CORPUS[:size]
    assert (world.names, world.kept) == ([PATH], 1)
    assert (progress.files, progress.moved, world.moved) == (1, size, size)
    assert len(world.site.uploads) == (size > world.site.small_bytes), "what is small needs no job"
    assert world.site.accounts == ["g177"] * (size > world.site.small_bytes)
    assert world.site.opened == 0
    kept = json.loads(world.content(receipt.receipt_place(ROOT, PATH)))
    assert kept["compared"] == ("sha256" if hashes else "size and seams")


async def test_without_a_hash_the_seams_of_what_the_job_fetched_are_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "_SEAM_BYTES", 200)
    world.site.hashes, world.site.most_bytes = False, 4000
    await world.run()
    assert world.site.looks == [0, 200, 3900, 4100, 7900, 8100, 9807, 10007]


async def test_what_is_there_is_not_copied_again(world: World) -> None:
    await world.run()
    world.store.read_bytes = 0

    await world.run()

    assert (world.store.read_bytes, len(world.site.uploads)) == (0, 1)


@pytest.mark.parametrize("calls", range(1, 26))
async def test_an_operator_that_died_anywhere_is_followed(
    world: World, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any of its requests; each try of another operator knows nothing but what lies there."""
    left = calls

    def die(name: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Unavailable(f"The operator died before {name}.")

    site = world.site
    for name in ("write", "remove", "rename", "digest", "hand_in", "get", "put", "complete"):
        _interrupt(monkeypatch, site, name, die)
    if left > 0:
        with contextlib.suppress(Unavailable):
            await world.run()
        await world.run()

    assert world.content() == CORPUS
    assert (world.names, world.kept) == ([PATH], 1)
    alive = [job for job, state in site.states.items() if state == "RUNNING"]
    assert alive == [], "no job waits for what never comes"


def _interrupt(monkeypatch: pytest.MonkeyPatch, site: LittleHandover, name: str, die: Callable[[str], None]) -> None:
    call = getattr(site, name)

    async def dying(*words: object, **more: object) -> object:
        die(name)
        return await call(*words, **more)

    monkeypatch.setattr(site, name, dying)


async def test_parts_on_record_are_not_sent_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "SLICE_SECONDS", 0.0)  # each part is put on record
    site = world.site
    put = site.put

    async def breaks(url: str, content: bytes) -> str:
        if site.puts == 7:
            site.puts += 1
            raise Unavailable("The connection broke.", reason="Unreachable")
        return await put(url, content)

    monkeypatch.setattr(site, "put", breaks)
    await failed(world, Unavailable)
    assert world.names == []

    await world.run()

    assert (world.content(), len(site.uploads), site.puts) == (CORPUS, 1, 12)
    assert world.moved == len(CORPUS), "each part once"


async def test_a_lost_completion_is_asked_for_again_and_nothing_is_sent_twice(world: World) -> None:
    world.site.lost_completions = 1
    await failed(world, Unavailable)
    await world.run()
    assert (world.content(), len(world.site.uploads), world.site.puts) == (CORPUS, 1, 11)


async def test_a_job_whose_answer_was_lost_is_ended(world: World) -> None:
    world.site.lost_answers = 1
    await failed(world, Unavailable)
    assert world.site.states == {"1": "RUNNING"}

    await world.run()

    assert (world.site.cancelled, world.site.states) == (["1"], {"1": "CANCELLED", "2": "COMPLETED"})
    assert world.content() == CORPUS


@pytest.mark.parametrize("fails", ["the answer", "the note"])
async def test_an_answer_that_is_of_no_use_is_not_asked_for_without_end(
    world: World, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = world.site
    site.settle_seconds, site.late_seconds = 0.02, 0.01
    if fails == "the answer":
        site.lost_answers = 99
    else:
        _half_written(world, monkeypatch, times=99)
    for _ in range(transfer_job.MOST_IN_A_ROW - 1):
        await failed(world, Unavailable)
    told = await failed(world, Rejected)
    assert told.reason == "TransferJobFailed"
    assert "3 transfer jobs in a row came to nothing" in told.message
    assert set(site.states.values()) == {"CANCELLED"}, "none waits while none is asked for"

    assert (await failed(world, Rejected)).message == told.message
    assert len(site.states) == transfer_job.MOST_IN_A_ROW


async def test_an_outage_neither_counts_nor_forgets_what_was_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, hand_in = world.site, world.site.hand_in

    async def down(*_: object) -> HandedIn:
        raise Unavailable("Nobody answers.", sent=False)

    async def outage() -> None:
        monkeypatch.setattr(site, "hand_in", down)
        for _ in range(2 * transfer_job.MOST_IN_A_ROW):
            await failed(world, Unavailable)
        monkeypatch.setattr(site, "hand_in", hand_in)

    await outage()
    assert world.kept == 0
    site.lost_answers = transfer_job.MOST_IN_A_ROW
    for _ in range(transfer_job.MOST_IN_A_ROW - 1):
        await failed(world, Unavailable)
        await outage()
    assert "3 transfer jobs in a row" in (await failed(world, Rejected)).message
    assert len(site.states) == transfer_job.MOST_IN_A_ROW


async def test_a_half_written_note_leaves_no_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway's write is no rename: the note with the URLs breaks off in the place of the bare one."""
    _half_written(world, monkeypatch)
    await failed(world, Unavailable)
    assert world.site.states == {"1": "CANCELLED"}

    await world.run()

    assert (world.content(), world.site.cancelled) == (CORPUS, ["1"])
    assert world.kept == 1


@pytest.mark.parametrize("way", ["goes on", "is dropped"])
async def test_an_operator_that_died_over_a_note_leaves_no_job(
    world: World, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, cancel = world.site, world.site.cancel
    _half_written(world, monkeypatch)

    async def dead(_: str) -> None:
        raise Unavailable("The connection broke.")

    monkeypatch.setattr(site, "cancel", dead)
    stage = world.stage()
    await failed(world, Unavailable, stage)
    assert site.states == {"1": "RUNNING"}
    monkeypatch.setattr(site, "cancel", cancel)

    if way == "goes on":
        await world.run()
        assert world.content() == CORPUS
    else:
        await stage.drop(cast("Door", site), None)
        assert (world.names, world.kept) == ([], 0)
    assert (site.cancelled, site.states["1"]) == (["1"], "CANCELLED")


def _half_written(world: World, monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    write = world.site.write
    broke: list[str] = []

    async def breaks(path: str, content: bytes, *, mode: int = 0o600) -> None:
        if b'"job": ""' not in content and path == await _note_place(world) and len(broke) < times:
            broke.append(path)
            await write(path, content[: len(content) // 2], mode=mode)
            raise Unavailable("The connection broke.", sent=True)
        await write(path, content, mode=mode)

    monkeypatch.setattr(world.site, "write", breaks)


async def _part(world: World) -> str:
    found = await world.store.head("corpus.bin")
    assert found is not None
    return receipt.part_place(PATH, found.version)


async def _note_place(world: World) -> str:
    return handed.note_place(ROOT, await _part(world), "in")


async def _leave(world: World, path: str, direction: str, **changes: object) -> None:
    """A note of job 1, which runs at this cluster."""
    urls = tuple(f"https://store/1/{number}?{SECRET}" for number in range(12))
    note = handed.Note(path=path, size=len(CORPUS), cluster="alps", user="ada", job="1", urls=urls, part_bytes=PART)
    note = replace(note, **changes)  # type: ignore[arg-type]  # fields of it, by name
    world.site.uploads.append(Upload(path))
    world.site.states["1"] = "RUNNING"
    await world.site.make_directory(f"{ROOT}/staged")
    await world.site.write(handed.note_place(ROOT, path, direction), note.written())


async def test_a_job_of_the_number_that_is_no_transfer_is_left_alone(world: World) -> None:
    """A note was left for months, and Slurm's numbers have come round."""
    await _leave(world, await _part(world), "in")
    world.site.named["1"] = "psr-training"
    world.site.expired = True
    await failed(world, Unavailable)
    assert (world.site.cancelled, world.site.states) == ([], {"1": "RUNNING"})

    world.site.expired = False
    await world.run()
    assert (world.content(), world.site.cancelled) == (CORPUS, [])


@pytest.mark.parametrize("whose", [{"cluster": "daint"}, {"user": "eve"}])
async def test_the_job_of_another_clusters_note_is_left_alone(world: World, whose: dict[str, str]) -> None:
    """Two Sites have one file system, and one run root."""
    await _leave(world, await _part(world), "in", **whose)
    world.site.uploads[0].path = "/elsewhere"
    await world.run()
    assert (world.content(), world.site.cancelled, world.site.states["1"]) == (CORPUS, [], "RUNNING")


@pytest.mark.parametrize("dropped", [True, False])
async def test_a_job_of_the_number_that_sends_nothing_is_left_alone(world: World, dropped: bool) -> None:
    world.site.files_at.files[PATH] = File(CORPUS)
    await _leave(world, PATH, "out", stamp="another")
    world.site.named["1"] = "psr-training"
    stage = world.stage("Out", "s3://bucket/out/")
    if dropped:
        stage._sent.add(Outgoing(path=PATH, size=len(CORPUS), key="out/corpus.bin"))
        await stage.drop(cast("Door", world.site), None)
        assert world.kept == 0
    else:
        await world.run(stage)
    assert world.site.cancelled == []


async def test_what_another_operator_has_begun_since_is_not_given_up(world: World) -> None:
    await _leave(world, await _part(world), "in", job="2")
    copies = world.stage()._copy_in(cast("Door", world.site), world.store)
    assert isinstance(copies, HandIn)
    ours = handed.Note(path=await _part(world), size=len(CORPUS), cluster="alps", user="ada", job="1")

    assert not await copies._give_up(ours.path, ours)

    assert (world.site.cancelled, world.kept) == ([], 1)


@pytest.mark.parametrize("why", ["expired", "failed", "differs"])
async def test_what_comes_to_nothing_again_and_again_is_not_sent_without_end(
    world: World, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = world.site
    if why == "differs":
        monkeypatch.setattr(site, "digest", _no_digest)
    site.expired, site.ends = why == "expired", "FAILED" if why == "failed" else "COMPLETED"
    for _ in range(transfer_job.MOST_IN_A_ROW - 1):
        await failed(world, Unavailable)
    told = await failed(world, Rejected)
    assert "3 transfer jobs in a row came to nothing" in told.message
    assert (await failed(world, Rejected)).message == told.message
    assert len(site.states) == transfer_job.MOST_IN_A_ROW
    assert "RUNNING" not in site.states.values()


async def _no_digest(_: str) -> str:
    return "0" * 64


async def test_a_refusal_of_a_clock_that_is_fast_holds_nothing_up(world: World) -> None:
    await _leave(world, await _part(world), "in", job="", refused=("NoRoom", "None."), when=4e9)
    world.site.states["1"] = "COMPLETED"
    await world.run()
    assert world.content() == CORPUS


async def test_a_note_that_can_not_be_read_back_is_refused_and_leaves_no_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed, "MOST_BYTES", 400)
    for _ in range(2):
        assert (await failed(world, Rejected)).reason == "NoteTooLong"
        assert (world.site.cancelled, world.site.puts, len(world.site.uploads)) == (["1"], 0, 1)


async def test_a_note_comes_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "SLICE_SECONDS", 0.0)
    world.site.lost_completions = 1
    await failed(world, Unavailable)
    read = world.site.read

    async def little(path: str, offset: int, length: int) -> bytes:
        return await read(path, offset, min(length, 100))

    monkeypatch.setattr(world.site, "read", little)
    await world.run()
    assert (world.content(), len(world.site.uploads), world.site.puts) == (CORPUS, 1, 11)


async def test_a_job_that_waits_is_told(world: World) -> None:
    world.site.queued = 3
    progress = await world.run()
    assert any(each == "The site's transfer job 1 waits in the queue: Priority." for each in world.told)
    assert progress.message == ""


async def test_a_job_that_ended_well_without_the_file_is_not_believed(world: World) -> None:
    world.site.cut = 5000
    told = await failed(world, Unavailable)
    assert told.reason == "TransferJobFailed"
    assert "transfer job 1 ended as COMPLETED and has not carried corpus.bin" in told.message
    assert world.names == [], "nothing is left half-named"

    world.site.cut = None
    await world.run()
    assert world.content() == CORPUS


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"])
async def test_a_job_that_failed_is_told_by_its_end(world: World, state: str) -> None:
    world.site.ends = state
    told = await failed(world, Unavailable)
    assert f"ended as {state}" in told.message
    world.site.ends = "COMPLETED"
    await world.run()
    assert world.content() == CORPUS


async def test_a_quota_is_told_and_all_is_not_sent_again_at_once(world: World) -> None:
    world.site.cut, world.site.grumble = 5000, Rejected("There is no room left.", reason="NoRoom")
    assert (await failed(world, Rejected)).reason == "NoRoom"
    puts = world.site.puts
    assert (await failed(world, Rejected)).message == "There is no room left."
    assert (world.site.puts, len(world.site.uploads)) == (puts, 1)
    assert world.names == []

    world.site.cut = None
    stage = world.stage()
    later = stage._copy_in(cast("Door", world.site), world.store)
    assert isinstance(later, HandIn)
    later.now = lambda: transfer_job.REFUSED_SECONDS * 1e9
    found = await world.store.head("corpus.bin")
    assert found is not None
    await later.copy(found, PATH)
    assert world.content() == CORPUS


async def test_a_job_that_ends_early_is_sent_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "SLICE_SECONDS", 0.0)
    site = world.site
    put = site.put

    async def ends(url: str, content: bytes) -> str:
        if site.puts == 2:
            site.states["1"] = "TIMEOUT"
        return await put(url, content)

    monkeypatch.setattr(site, "put", ends)
    assert "ended as TIMEOUT" in (await failed(world, Unavailable)).message
    assert site.puts == 3
    monkeypatch.setattr(site, "put", put)
    await world.run()
    assert world.content() == CORPUS


async def test_a_job_that_is_gone_is_begun_anew(world: World) -> None:
    world.site.gone, world.site.cut = {"1"}, 0
    assert "transfer job 1 is gone" in (await failed(world, Unavailable)).message
    world.site.cut = None
    await world.run()
    assert world.content() == CORPUS


async def test_what_has_expired_is_asked_for_again(world: World) -> None:
    world.site.expired = True
    await failed(world, Unavailable)
    assert world.site.cancelled == ["1"]
    world.site.expired = False
    await world.run()
    assert (world.content(), len(world.site.uploads)) == (CORPUS, 2)


@pytest.mark.parametrize("hashes", [True, False])
async def test_what_arrived_otherwise_gets_no_name(world: World, hashes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    world.site.hashes = hashes
    complete = world.site.complete

    async def spoilt(url: str, etags: list[str]) -> bool:
        done = await complete(url, etags)
        (path,) = (each for each in world.site.files_at.files if each.endswith(".part"))
        content = world.content(path)
        world.site.files_at.files[path] = File(content[:500] + b"????" + content[504:])
        return done

    monkeypatch.setattr(world.site, "complete", spoilt)
    assert (await failed(world, Unavailable)).reason == "TransferJobFailed"
    assert world.names == []


async def test_what_lies_at_the_path_is_never_replaced(world: World) -> None:
    world.site.files_at.files[PATH] = File(b"somebody's")
    assert (await failed(world, Invalid)).reason == "DataInTheWay"
    assert (world.content(), world.site.uploads) == (b"somebody's", [])


async def test_what_nobody_wants_any_more_leaves_no_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = world.stage()
    reached = asyncio.Event()

    async def stuck(*_: object) -> str:
        reached.set()
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(world.site, "put", stuck)
    running = asyncio.create_task(world.run(stage))
    await reached.wait()
    (note,) = [path for path in world.site.files_at.files if path.startswith(f"{ROOT}/staged/")]
    assert world.site.files_at.files[note].mode == 0o600, "the URLs in it are nobody else's"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    await stage.drop(cast("Door", world.site), world.store)

    assert (world.site.cancelled, world.names, world.kept) == (["1"], [], 0)


async def test_too_few_parts_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "LARGEST_PART_BYTES", 10)
    for _ in range(2):  # for a while no other job is asked for, which would be as useless
        assert (await failed(world, Rejected)).reason == "TooFewParts"
        assert (world.site.cancelled, len(world.site.uploads)) == (["1"], 1)


@pytest.mark.parametrize(
    "complete, hosts, words",
    [
        ("https://store/1/complete", ("elsewhere.example",), "the chart's value objectStoreHosts"),
        ("http://store/1/complete", (), "several hosts for one file, .*; tell the site"),
        ("https://other/1/complete", (), "several hosts for one file, .*; tell the site"),
        ("nonsense", (), "none of an object store; tell the site"),
    ],
)
async def test_a_store_that_is_not_believed_leaves_no_job(
    world: World,
    complete: str,
    hosts: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site, hand_in = world.site, world.site.hand_in

    async def leads(path: str, size: int, parts: int, account: str) -> HandedIn:
        return replace(await hand_in(path, size, parts, account), complete=f"{complete}?{SECRET}")

    monkeypatch.setattr(site, "hand_in", leads)
    stage = world.stage()
    stage.presigned = Allowed(hosts).presigned
    told = await failed(world, Invalid, stage)
    assert told.reason == "EndpointNotAllowed"
    assert re.search(words, told.message)
    for _ in range(2):  # another job would be as useless
        assert (await failed(world, Rejected, stage)).message == told.message
    assert (site.states, site.puts, world.names) == ({"1": "CANCELLED"}, 0, [])

    await stage.drop(cast("Door", site), None)
    assert world.kept == 0


async def test_a_store_without_tls_is_told_with_what_to_do(world: World) -> None:
    await _leave(
        world, await _part(world), "in", urls=tuple(f"http://store/1/{number}?{SECRET}" for number in range(12))
    )
    stage = world.stage()
    stage.presigned = Allowed().presigned
    told = await failed(world, Invalid, stage)
    assert (told.reason, world.site.states) == ("InvalidEndpoint", {"1": "CANCELLED"})
    assert "ask the site for one with TLS" in told.message


async def test_a_file_goes_out_by_one_job(world: World) -> None:
    world.site.files_at.files[PATH] = File(CORPUS)
    progress = await world.run(world.stage("Out", "s3://bucket/out/"))
    assert world.store.objects["out/corpus.bin"] == CORPUS
    assert (progress.moved, len(world.site.uploads), world.site.accounts, world.kept) == (len(CORPUS), 1, ["g177"], 0)

    await world.run(world.stage("Out", "s3://bucket/out/"))
    assert len(world.site.uploads) == 1, "what is there already needs no job"


@pytest.mark.parametrize("hashes", [True, False])
async def test_a_copy_out_that_broke_goes_on_with_what_the_job_has_fetched(world: World, hashes: bool) -> None:
    world.site.files_at.files[PATH], world.site.hashes = File(CORPUS), hashes
    stage, world.store.cuts = world.stage("Out", "s3://bucket/out/"), 1
    await failed(world, Unavailable, stage)
    await world.run(world.stage("Out", "s3://bucket/out/"))
    assert (world.store.objects["out/corpus.bin"], len(world.site.uploads)) == (CORPUS, 1)


async def test_a_file_that_changed_is_fetched_anew(world: World) -> None:
    world.site.files_at.files[PATH] = File(CORPUS)
    world.store.cuts = 1
    await failed(world, Unavailable, world.stage("Out", "s3://bucket/out/"))
    newer = CORPUS[::-1]
    world.site.files_at.files[PATH] = File(newer)
    await world.run(world.stage("Out", "s3://bucket/out/"))
    assert (world.store.objects["out/corpus.bin"], len(world.site.uploads)) == (newer, 2)


@pytest.mark.parametrize("torn_to", [None, 5000])
async def test_a_file_that_changes_while_the_job_reads_it_is_no_object(
    world: World, torn_to: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, newer = world.site, CORPUS[::-1]
    site.files_at.files[PATH], site.hashes = File(CORPUS), False
    hand_out = site.hand_out

    async def torn(path: str, account: str) -> HandedOut:
        found = await hand_out(path, account)
        if len(site.uploads) == 1:
            site.files_at.files[path] = File(newer)
            site.uploads[-1].content = (CORPUS[:4000] + newer[4000:])[:torn_to]
        return found

    monkeypatch.setattr(site, "hand_out", torn)
    assert (await failed(world, Changed, world.stage("Out", "s3://bucket/out/"))).reason == "OutputChanged"
    assert "out/corpus.bin" not in world.store.objects
    await world.run(world.stage("Out", "s3://bucket/out/"))
    assert (world.store.objects["out/corpus.bin"], len(site.uploads)) == (newer, 2)


async def test_a_file_that_changes_before_its_object_is_whole_is_no_object(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = world.site
    site.files_at.files[PATH], site.hashes = File(CORPUS), False
    read = site.read_url

    async def changes(url: str, offset: int, length: int) -> tuple[bytes, int]:
        if offset:
            site.files_at.files[PATH] = File(CORPUS[::-1])
        return await read(url, offset, length)

    monkeypatch.setattr(site, "read_url", changes)
    await failed(world, Changed, world.stage("Out", "s3://bucket/out/"))
    assert "out/corpus.bin" not in world.store.objects


@pytest.mark.parametrize("grumble", [None, Rejected("There is no room left.", reason="NoRoom")])
async def test_a_job_out_that_comes_to_nothing_is_not_asked_for_without_end(
    world: World, grumble: PasserelleError | None
) -> None:
    world.site.files_at.files[PATH], world.site.cut, world.site.grumble = File(CORPUS), 5000, grumble
    jobs = 1 if grumble else transfer_job.MOST_IN_A_ROW
    for _ in range(jobs - 1):
        await failed(world, Unavailable, world.stage("Out", "s3://bucket/out/"))
    for _ in range(3):
        await failed(world, Rejected, world.stage("Out", "s3://bucket/out/"))
    assert len(world.site.uploads) == jobs

    newer = CORPUS[::-1]
    world.site.files_at.files[PATH], world.site.cut = File(newer), None
    await world.run(world.stage("Out", "s3://bucket/out/"))
    assert world.store.objects["out/corpus.bin"] == newer, "another file was refused nothing"


async def test_no_job_out_is_asked_for_where_no_note_can_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that has filled the site's quota is an ordinary one."""
    site, write = world.site, world.site.write

    async def full(path: str, content: bytes, *, mode: int = 0o600) -> None:
        raise Unavailable("Disk quota exceeded.")

    site.files_at.files[PATH] = File(CORPUS)
    monkeypatch.setattr(site, "write", full)
    for _ in range(2 * transfer_job.MOST_IN_A_ROW):
        await failed(world, Unavailable, world.stage("Out", "s3://bucket/out/"))
    assert site.states == {}

    monkeypatch.setattr(site, "write", write)
    await world.run(world.stage("Out", "s3://bucket/out/"))
    assert (world.store.objects["out/corpus.bin"], len(site.states), world.kept) == (CORPUS, 1, 0)


@pytest.mark.parametrize("fails", ["the answer", "the note"])
async def test_a_job_out_that_nobody_knows_is_not_asked_for_without_end(
    world: World, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, write, stage = world.site, world.site.write, world.stage("Out", "s3://bucket/out/")
    site.files_at.files[PATH], site.ends = File(CORPUS), "RUNNING"

    async def little_room(path: str, content: bytes, *, mode: int = 0o600) -> None:
        if b'"job": ""' not in content:
            raise Unavailable("Disk quota exceeded.")
        await write(path, content, mode=mode)

    if fails == "the answer":
        site.lost_answers = transfer_job.MOST_IN_A_ROW
    else:
        monkeypatch.setattr(site, "write", little_room)
    for _ in range(transfer_job.MOST_IN_A_ROW - 1):
        await failed(world, Unavailable, stage)
    for _ in range(2):
        assert "3 transfer jobs in a row" in (await failed(world, Rejected, stage)).message
    assert len(site.states) == transfer_job.MOST_IN_A_ROW
    assert fails == "the answer" or set(site.states.values()) == {"CANCELLED"}

    monkeypatch.setattr(site, "write", write)
    site.files_at.files[PATH], site.ends = File(CORPUS[::-1]), "COMPLETED"
    await world.run(stage)
    assert (world.store.objects["out/corpus.bin"], world.kept) == (CORPUS[::-1], 0)


async def test_an_outage_counts_as_no_job_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    site, hand_out = world.site, world.site.hand_out

    async def down(*_: object) -> HandedOut:
        raise Unavailable("Nobody answers.", sent=False)

    site.files_at.files[PATH], site.lost_answers = File(CORPUS), transfer_job.MOST_IN_A_ROW
    for _ in range(transfer_job.MOST_IN_A_ROW - 1):
        await failed(world, Unavailable, world.stage("Out", "s3://bucket/out/"))
        monkeypatch.setattr(site, "hand_out", down)
        for _ in range(2 * transfer_job.MOST_IN_A_ROW):
            await failed(world, Unavailable, world.stage("Out", "s3://bucket/out/"))
        monkeypatch.setattr(site, "hand_out", hand_out)
    await failed(world, Rejected, world.stage("Out", "s3://bucket/out/"))
    assert len(site.states) == transfer_job.MOST_IN_A_ROW


async def test_a_job_that_lost_a_part_is_not_believed(world: World) -> None:
    world.site.files_at.files[PATH], world.site.cut = File(CORPUS), 5000
    told = await failed(world, Unavailable, world.stage("Out", "s3://bucket/out/"))
    assert told.reason == "TransferJobFailed"
    assert "out/corpus.bin" not in world.store.objects
    world.site.cut = None
    await world.run(world.stage("Out", "s3://bucket/out/"))
    assert world.store.objects["out/corpus.bin"] == CORPUS


def test_a_note_is_read_as_it_was_written() -> None:
    urls = tuple(f"https://store/{number}?{SECRET}" for number in range(10_000))
    note = handed.Note(path=PATH, size=7, job="1", urls=urls, part_bytes=5, piece_bytes=6, error_log="/l", stamp="s")
    written = note.written()
    assert handed.note(written, PATH) == note
    assert handed.note(written, "/other") is None
    assert handed.note(b"{", PATH) is None
    assert handed.note(written.replace(b'"urls": "', b'"urls": "!'), PATH) is None
    assert SECRET not in repr(note)
    token = "T" * 1000
    urls = tuple(f"https://store/{number}?X-Amz-Security-Token={token}&{SECRET}" for number in range(10_000))
    note = handed.Note(path=PATH, size=7, job="1", urls=urls)
    assert handed.note(note.written(), PATH) == note
    sent = handed.Sent(job="1", etags=("a", "b"), sha256="c")
    assert handed.sent(sent.written(), "1") == sent
    assert handed.sent(sent.written(), "2") == handed.Sent(job="2")

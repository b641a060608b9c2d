"""Whether a directory that was copied lies there: each file of it, whatever else does by then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

import pytest

from little_store import MemoryStore
from passerelle.gateways.base import Entry
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.staging import receipt, stage
from passerelle.staging.place import place
from passerelle.staging.reading import RECEIPT_LIMIT
from passerelle.staging.stage import Stage
from passerelle.staging.steps import DEEPEST, MOST_FILES, Step
from passerelle.staging.turns import Turns

ROOT = "/p/runs"
KEPT = receipt.receipt_place(ROOT, "/p/d/")


def made() -> Stage:
    """As a newly started operator has it."""
    step = Step(name="d", direction="In", path="/p/d", place=place("s3://bucket/d/"), secret="s3")
    return Stage(step, ROOT, "ns/job", Turns(), WeakValueDictionary(), lambda: None)


@pytest.fixture
async def site() -> Memory:
    there = Memory(clock=lambda: 0.0)
    await made().run(there, MemoryStore({"d/a": b"a" * 50, "d/in/b": b"b" * 30, "d/in/ü": b""}), "")
    return there


def unmarked(site: Memory) -> None:
    """As operators wrote it once."""
    told = json.loads(site.files[KEPT].content)
    del told["files"]
    site.files[KEPT] = File(json.dumps(told).encode())


@pytest.mark.parametrize(
    "beside",
    ["index", ".cache/x", "a.0123456789ab.part", "in/c", "/".join("x" * (DEEPEST + 1)) + "/x"],
)
async def test_what_a_trainer_writes_beside_it_counts_for_nothing(site: Memory, beside: str) -> None:
    site.files[f"/p/d/{beside}"] = File(b"made by the trainer")
    looked = made()
    assert await looked.lies(site)
    assert (looked.progress.files, looked.progress.moved, looked.progress.total) == (3, 80, 80)


async def test_a_link_of_a_trainers_that_leads_nowhere_counts_for_nothing(
    site: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = Memory.entries

    async def linked(self: Memory, path: str) -> Sequence[Entry] | None:
        found = await entries(self, path)
        return [*found, replace(found[0], name="link", broken="a link that leads nowhere")] if found else found

    monkeypatch.setattr(Memory, "entries", linked)
    assert await made().lies(site)


async def test_many_files_of_a_trainers_count_for_nothing(site: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MOST_FILES", 5)
    site.files |= {f"/p/d/cache/{number}": File(b"x") for number in range(10)}
    assert await made().lies(site)


@pytest.mark.parametrize("path", ["/p/d/a", "/p/d/in/b", "/p/d/in/ü"])
@pytest.mark.parametrize("becomes", ["missing", "longer", "elsewhere"])
async def test_each_file_of_it_must_lie_there(site: Memory, path: str, becomes: str) -> None:
    """Even where something else makes up for its size."""
    gone = site.files.pop(path)
    if becomes == "longer":
        site.files[path] = File(gone.content + b"x")
    elif becomes == "elsewhere":
        site.files[f"{path}2"] = gone
    site.files["/p/d/index"] = File(b"x" * 80)
    assert not await made().lies(site)


async def test_a_receipt_without_marks_is_believed_as_before(site: Memory) -> None:
    unmarked(site)
    assert await made().lies(site)
    store = MemoryStore({"d/a": b"a" * 50, "d/in/b": b"b" * 30, "d/in/ü": b""})
    calls = len(site.calls)
    await made().run(site, store, "")
    assert store.read_bytes == 0
    assert site.calls[calls:] == ["read", "entries", "entries"], "it tells of the whole directory"
    site.files["/p/d/index"] = File(b"x")
    assert not await made().lies(site)


@pytest.mark.parametrize("files", ["?", "AAAA", "AAAAAAA=", 7])
async def test_marks_that_somebody_spoilt_tell_of_nothing(site: Memory, files: object) -> None:
    told = json.loads(site.files[KEPT].content)
    site.files[KEPT] = File(json.dumps(told | {"files": files}).encode())
    assert not await made().lies(site)


def test_the_receipt_of_the_most_files_is_read_at_once() -> None:
    path = "/" + "ü" * 2000 + "/"
    files = [(f"shard-{number:05}.tar", number) for number in range(MOST_FILES)]
    source = receipt.Source(endpoint="https://s3.example", bucket="b" * 63, key="ü" * 512)
    whole = receipt.Receipt(path=path, source=source, size=1, etag="e" * 64, sha256="", files=receipt.marks(files))
    assert len(whole.written()) < RECEIPT_LIMIT
    kept = receipt.receipt(whole.written(), path)
    assert kept is not None
    assert receipt.lying(kept, files) == MOST_FILES
    assert receipt.lying(kept, files[1:]) is None

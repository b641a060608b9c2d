"""A gigabyte from an object store to the site and back there, by the engine and through every door that transfers, over
wires that are cut in the middle of either.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator

import pytest

from contract.tally import SPEED
from contract.test_contract import row, scratch_file
from contract.world import World
from passerelle_sandbox.object_store.serve import ObjectStore
from staging import engine
from staging.engine import BUCKET, Took, bounded_memory, done, into, out

SIZE = 1_000_000_000
WASTE = 1.15
"""How much more than the file may be carried, with all that is said beside it: a break costs up to three parts of
16 MiB, the one under way, the one that was read ahead, and the one that is compared before it goes on; one is compared
at the end. Where the site can't hash, what was broken off is also read back whole: that comes from the site.
"""
AGAIN = 1_000_000
"""Bytes that may be carried where nothing is to be copied."""
SECONDS = 900.0
KEY = "corpus.bin"


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with engine.object_store() as started:
        yield started


@pytest.fixture(scope="module")
def digests() -> dict[str, str]:
    """SHA-256 of what was put into the store, by its key: nothing is, where no world transfers."""
    return {}


def told(world: World, way: str, took: Took) -> str:
    rate = SIZE / (took.seconds - took.waiting) / 1e6
    return f"{world.name}: a gigabyte {way} at {rate:.0f} MB/s, and {took.waiting:.0f} s of waiting after the cuts"


def files(world: World, place: str) -> set[str]:
    """What lies below a place of the site."""
    above = world.seen(place)
    return {str(each.relative_to(above)) for each in above.rglob("*") if each.is_file()}


def digest(world: World, path: str) -> str:
    with world.seen(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@row("large")
async def test_a_gigabyte_comes_and_goes_over_wires_that_are_cut(
    world: World,
    digests: dict[str, str],
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    port = world.port()
    if world.transfer(world.door()) is None or port is None:
        return
    store: ObjectStore = request.getfixturevalue("store")
    sha256 = digests[KEY] = digests.get(KEY) or await engine.fill(store, KEY, SIZE)
    place = scratch_file()
    path, prefix = f"{place}/data/set é.bin", f"of-{world.name}"
    async with engine.bench(store, port, world.open_at) as bench:
        site, s3 = bench.to_site, bench.to_store
        staging = bench.staging()
        site.there.cut_at, s3.back.cut_at = SIZE // 2, SIZE // 3
        with bounded_memory():
            took = await done(staging, into(KEY, path), place, seconds=SECONDS)
        record_property(SPEED, told(world, "in", took))
        assert (site.cuts, s3.cuts) == (1, 1)
        assert digest(world, path) == sha256
        assert bench.moved["In"] <= SIZE, "what was written was not written again"
        assert SIZE < site.there.carried < WASTE * SIZE
        assert SIZE < s3.back.carried < WASTE * SIZE
        (receipt,) = files(world, place) - {"data/set é.bin"}
        assert receipt.startswith("staged/")

        carried = site.there.carried, s3.back.carried
        await done(staging, into(KEY, path), place, uid="another", seconds=SECONDS)
        assert site.there.carried + s3.back.carried - sum(carried) < AGAIN, "no second copy"

        # Where the site can't hash what is to go, it is read for that first.
        first = 0 if world.digests else SIZE
        site.back.carried = s3.there.carried = 0
        site.back.cut_at, s3.there.cut_at = first + SIZE // 2, SIZE // 3
        with bounded_memory():
            took = await done(staging, out(path, prefix), place, uid="out", seconds=SECONDS)
        record_property(SPEED, told(world, "out", took))
        assert (site.cuts, s3.cuts) == (2, 2)
        assert store.digest(BUCKET, f"{prefix}/set é.bin") == sha256
        assert bench.moved["Out"] == SIZE, "no part was sent twice"
        assert SIZE < s3.there.carried < WASTE * SIZE
        assert first + SIZE < site.back.carried < WASTE * (first + SIZE)
        assert files(world, place) == {"data/set é.bin", receipt}, "no note is left"
        await staging.close()
    shutil.rmtree(world.seen(place))
    shutil.rmtree(store.objects / BUCKET / prefix)

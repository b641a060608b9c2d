"""The faults of the in-memory Slurm: each behaves as the real one does."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from passerelle.batch import Batch, Options
from passerelle.errors import Missing, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import SIZE_DIFFERS, Accounting, Entry, Files, Gateway, Transfer, Upload
from passerelle.gateways.memory import Fate, Memory, MemoryCredential
from passerelle.gateways.memory_files import File
from passerelle.slurm import Stage

OPTIONS = Options(
    name="psr-" + "a" * 26 + "-1",
    account=None,
    partition="gpu",
    qos=None,
    nodes=1,
    tasks_per_node=1,
    cpus_per_task=1,
    memory_per_node_mib=None,
    gpus_per_node=1,
    time_limit_minutes=1,
    working_directory="/run",
    standard_output="/run/%j.out",
    standard_error="/run/%j.err",
)
BATCH = Batch(options=OPTIONS, environment=(), script="#!/bin/sh\n")


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(clock: Clock) -> Memory:
    return Memory(clock=clock, fates=lambda _: Fate(queued=10, running=20, end="FAILED", exit_code=3))


def test_it_is_a_gateway_with_every_capability(site: Memory) -> None:
    assert isinstance(site, Gateway)
    assert isinstance(site, Accounting)
    assert isinstance(site, Files)
    assert isinstance(site, Upload)
    assert isinstance(site, Transfer)


async def test_life_of_a_job_follows_the_clock(site: Memory, clock: Clock) -> None:
    job_id = await site.submit(BATCH)
    stages = []
    for now in (1_000, 1_009, 1_010, 1_029, 1_030):
        clock.now = float(now)
        stages.append((await site.get([job_id]))[0].stage)

    assert stages == [Stage.QUEUED, Stage.QUEUED, Stage.RUNNING, Stage.RUNNING, Stage.ENDED]
    (job,) = await site.get([job_id])
    assert (job.state.base, job.exit_code, job.start_time, job.end_time) == ("FAILED", 3, 1_010, 1_030)


async def test_time_limit(clock: Clock) -> None:
    site = Memory(clock=clock, fates=lambda _: Fate(running=1_000))
    job_id = await site.submit(BATCH)
    clock.now += 60

    assert (await site.get([job_id]))[0].state.base == "TIMEOUT"


async def test_lost_answer_is_an_accepted_job(site: Memory) -> None:
    site.faults.lose_answers = 1
    with pytest.raises(Unavailable) as caught:
        await site.submit(BATCH)

    assert caught.value.sent
    assert [job.name for job in await site.find()] == [OPTIONS.name]


async def test_frozen_scheduler_accepts_on_thaw_and_a_dead_one_never(site: Memory) -> None:
    site.faults.scheduler_down = True
    with pytest.raises(Unavailable):
        await site.submit(BATCH)
    site.faults.scheduler_down = False
    assert await site.find() == []
    site.faults.frozen = True
    with pytest.raises(Unavailable):
        await site.submit(BATCH)
    site.thaw()

    assert len(await site.find()) == 1


async def test_gateway_that_is_down_sends_nothing(site: Memory) -> None:
    site.faults.gateway_down = True
    with pytest.raises(Unavailable) as caught:
        await site.submit(BATCH)
    assert not caught.value.sent


async def test_listings_lag(site: Memory, clock: Clock) -> None:
    site.faults.listing_lag, site.faults.accounting_lag = 2.0, 4.0
    job_id = await site.submit(BATCH)
    assert await site.states([job_id]) == {}
    clock.now += 3
    assert set(await site.states([job_id])) == {job_id}
    assert await site.accounted(names=[OPTIONS.name]) == []
    clock.now += 1

    assert len(await site.accounted(names=[OPTIONS.name])) == 1


async def test_purged_job_stays_in_accounting_without_its_comment(site: Memory, clock: Clock) -> None:
    job_id = await site.submit(BATCH)
    site.set_comment(job_id, "progress")
    assert (await site.get([job_id]))[0].comment == "progress"
    clock.now += 30 + site.purge_seconds

    assert await site.get([job_id]) == []
    (job,) = await site.accounted(job_ids=[job_id])
    assert (job.live, job.comment) == (False, "")


async def test_cancel_of_a_waiting_job(site: Memory, clock: Clock) -> None:
    job_id = await site.submit(BATCH)
    clock.now += 1
    await site.cancel(job_id)

    (job,) = await site.accounted(job_ids=[job_id])
    assert (job.state.base, job.start_time, job.end_time, job.cancelled_by) == ("CANCELLED", None, 1_001, "startup")


async def test_too_many_jobs_is_for_now_only(site: Memory) -> None:
    site.shape = dataclasses.replace(site.shape, max_jobs=1)
    await site.submit(BATCH)
    with pytest.raises(Rejected) as caught:
        await site.submit(BATCH)

    assert caught.value.transient


async def test_ids_may_be_the_gateways_own(site: Memory) -> None:
    site.ids = lambda number: f"job-{number:x}"
    job_id = await site.submit(BATCH)

    (job,) = await site.get([job_id])
    assert (job.job_id, job.slurm_id, job.standard_output) == ("job-3e8", "1000", "/run/1000.out")


async def test_files_are_there_while_the_scheduler_is_not(site: Memory) -> None:
    site.faults.scheduler_down = True
    await site.write("/run/a", b"0123456789", mode=0o640)

    assert site.files == {"/run/a": File(b"0123456789", 0o640)}
    assert await site.size("/run/a") == 10
    assert await site.read("/run/a", 8, 5) == b"89"
    assert await site.size("/run/b") is None
    with pytest.raises(Missing, match="/run/b") as caught:
        await site.read("/run/b", 0, 1)
    assert caught.value.reason == "FileMissing"


async def test_files_need_the_gateway_and_a_good_credential(site: Memory) -> None:
    site.files["/run/a"] = File(b"x")
    site.faults.gateway_down = True
    for call in (site.size("/run/a"), site.read("/run/a", 0, 1), site.write("/run/a", b"y")):
        with pytest.raises(Unavailable):
            await call
    site.faults.gateway_down = False
    site.credentials = lambda: MemoryCredential(user="startup", token="wrong")
    for call in (site.size("/run/a"), site.read("/run/a", 0, 1), site.write("/run/a", b"y")):
        with pytest.raises(Unauthorized):
            await call

    assert site.files == {"/run/a": File(b"x")}


async def test_a_large_file_grows_part_by_part(site: Memory) -> None:
    await site.append("/data/a b.part", 0, b"")
    await site.append("/data/a b.part", 0, b"01234")
    await site.append("/data/a b.part", 5, b"56789")
    for wrong in (0, 5, 11):
        with pytest.raises(Rejected) as caught:
            await site.append("/data/a b.part", wrong, b"x")
        assert caught.value.reason == SIZE_DIFFERS
    await site.write("/data/a b", b"old")
    await site.rename("/data/a b.part", "/data/a b")

    assert await site.digest("/data/a b") == hashlib.sha256(b"0123456789").hexdigest()
    assert await site.entries("/data") == [Entry(name="a b", size=10, is_directory=False)]
    await site.remove("/data/a b")
    await site.remove("/data/a b")
    assert await site.size("/data/a b") is None
    for call in (site.digest("/data/a b"), site.rename("/data/a b", "/data/c")):
        with pytest.raises(Missing):
            await call


async def test_an_append_whose_answer_is_lost_may_be_half_done(site: Memory) -> None:
    site.cut_appends = 1
    with pytest.raises(Unavailable):
        await site.append("/data/a", 0, b"01234")

    assert await site.size("/data/a") == 2
    await site.append("/data/a", 2, b"234")
    assert await site.read("/data/a", 0, 10) == b"01234"


async def test_a_directory_tells_one_level(site: Memory) -> None:
    await site.make_directory("/data/empty/deep")
    await site.make_directory("/data/empty/deep")
    await site.write("/data/set/a", b"123")
    await site.write("/dataset", b"")

    assert await site.entries("/data/") == [
        Entry(name="empty", size=0, is_directory=True),
        Entry(name="set", size=0, is_directory=True),
    ]
    assert await site.entries("/data/empty/deep") == []
    assert await site.entries("/data/nowhere") is None
    assert await site.entries("/data/set/a") is None
    with pytest.raises(Rejected, match="/dataset is a file"):
        await site.make_directory("/dataset/a")
    for call in (site.write("/data/set", b""), site.append("/data", 0, b""), site.remove("/data/empty")):
        with pytest.raises(Rejected, match="is a directory"):
            await call

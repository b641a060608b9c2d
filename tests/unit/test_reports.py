"""Which report files are read, how many, and what becomes of a record whose file tells something, nothing, or can't be
had."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, cast

import pytest

from passerelle.errors import Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Gateway
from passerelle.marker import Run
from passerelle.progress import parse_comment
from passerelle.reports import PATIENCE_SECONDS, READS_PER_LOOK, Reports, record
from passerelle.slurm import JobState, RemoteJob, Stage

RUN = Run("psr-" + "a" * 26)
END = {"v": 1, "s": 9, "end": {"code": 3, "signal": None, "rank": 2, "err": "boom"}}


class Site:
    """Files by path, or how reading them ends."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | Exception] = {}
        self.asked: list[tuple[str, int, int]] = []

    async def size(self, path: str) -> int | None:
        raise AssertionError(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        self.asked.append((path, offset, length))
        found = self.files.get(path, Missing(f"no file {path}"))
        if isinstance(found, Exception):
            raise found
        return found[offset : offset + length]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reports(clock: Clock) -> Reports:
    return Reports("site", lambda run, _: f"/scratch/{run.key}", clock)


def a_job(state: str = "FAILED", number: int = 1, **facts: Any) -> RemoteJob:
    base = RemoteJob(
        job_id=str(40 + number),
        name=RUN.marker(number),
        user="ada",
        cluster="c",
        state=JobState(state),
        submit_time=1,
        start_time=1,
    )
    return replace(base, **facts)


def file(number: int = 1) -> str:
    return f"/scratch/{RUN.key}/report-{number}.json"


def written(told: dict[str, Any], job_id: str = "41", restarts: int = 0) -> bytes:
    return json.dumps({"jobId": job_id, "restartCount": restarts, "record": told}).encode()


def door(site: object) -> Gateway:
    return cast("Gateway", site)


async def test_an_end_that_nobody_has_explained_is_looked_for_in_the_file(reports: Reports) -> None:
    site = Site()
    site.files[file()] = written(END)
    (told,) = await reports.ended(door(site), [a_job()])

    assert (told.stage, parse_comment(told.comment).stderr) == (Stage.ENDED, "boom")
    assert site.asked == [(file(), 0, 16 * 1024)], "once, and no more than a record takes"


@pytest.mark.parametrize(
    "job",
    [
        a_job(comment=json.dumps(END)),
        a_job("CANCELLED", start_time=None),
    ],
    ids=["whose comment tells", "that never started"],
)
async def test_no_file_is_read_for_a_job(reports: Reports, job: RemoteJob) -> None:
    site = Site()

    assert await reports.ended(door(site), [job]) == [job]
    assert site.asked == []


async def test_a_gateway_without_files_is_asked_for_none(reports: Reports) -> None:
    jobs = [a_job(), a_job("RUNNING", 2)]

    assert await reports.ended(door(object()), jobs) == jobs
    assert await reports.running(door(object()), jobs) == jobs


async def test_a_missing_file_is_no_error_and_delays_nothing(reports: Reports) -> None:
    job = a_job(comment='{"v": 1, "s": 4}')

    assert await reports.ended(door(Site()), [job]) == [job]


@pytest.mark.parametrize("trouble", [Unavailable("busy"), Unauthorized("expired")])
async def test_a_file_that_can_not_be_read_now_holds_the_end_back_for_a_while(
    reports: Reports, clock: Clock, trouble: PasserelleError
) -> None:
    site = Site()
    site.files[file()] = trouble
    (held,) = await reports.ended(door(site), [a_job()])
    clock.now += PATIENCE_SECONDS - 1
    (still,) = await reports.ended(door(site), [a_job()])
    assert (held.stage, still.stage) == (Stage.ENDING, Stage.ENDING)

    clock.now += 2
    (told,) = await reports.ended(door(site), [a_job()])
    assert (told.stage, told.report_trouble) == (Stage.ENDED, trouble.message)


async def test_what_comes_within_that_while_is_told(reports: Reports) -> None:
    site = Site()
    site.files[file()] = Unavailable("busy")
    await reports.ended(door(site), [a_job()])
    site.files[file()] = written(END)
    (told,) = await reports.ended(door(site), [a_job()])

    assert (told.stage, told.report_trouble, parse_comment(told.comment).stderr) == (Stage.ENDED, "", "boom")


async def test_what_will_never_be_readable_holds_nothing_back(reports: Reports) -> None:
    site = Site()
    site.files[file()] = Rejected("No storage holds it.")
    (told,) = await reports.ended(door(site), [a_job()])

    assert (told.stage, told.report_trouble) == (Stage.ENDED, "No storage holds it.")


async def test_one_that_never_answers_costs_a_look_seconds_and_the_others_are_not_tried(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hung(Site):
        async def read(self, path: str, offset: int, length: int) -> bytes:
            self.asked.append((path, offset, length))
            await asyncio.sleep(3600)
            return b""

    monkeypatch.setattr("passerelle.reports.READ_SECONDS", 0.05)
    site = Hung()
    jobs = [a_job(number=number) for number in range(1, 30)]
    held = await reports.ended(door(site), jobs)

    assert {job.stage for job in held} == {Stage.ENDING}
    assert len(site.asked) == 4


async def test_a_look_reads_so_many_files_and_ends_that_were_not_read_wait(reports: Reports) -> None:
    site = Site()
    jobs = [a_job(number=number) for number in range(1, READS_PER_LOOK + 3)]
    told = await reports.ended(door(site), jobs)

    assert len(site.asked) == READS_PER_LOOK
    assert [job.job_id for job in told] == [job.job_id for job in jobs]
    assert [job.stage for job in told].count(Stage.ENDING) == 2


async def test_of_jobs_that_run_all_are_read_in_turn(reports: Reports, clock: Clock) -> None:
    site = Site()
    jobs = [a_job("RUNNING", number) for number in range(1, 2 * READS_PER_LOOK)]
    for _ in range(2):
        await reports.running(door(site), jobs)
        clock.now += 60

    assert {path for path, _, _ in site.asked} == {file(number) for number in range(1, 2 * READS_PER_LOOK)}


async def test_a_job_that_runs_tells_its_progress_and_keeps_it_where_it_can_not_be_read(reports: Reports) -> None:
    site = Site()
    site.files[file(1)] = written({"v": 1, "s": 5})
    site.files[file(2)] = Unavailable("busy")
    one, other = await reports.running(door(site), [a_job("RUNNING", 1), a_job("RUNNING", 2)])

    assert (one.stage, one.comment) == (Stage.RUNNING, '{"v": 1, "s": 5}')
    assert (other.stage, other.comment) == (Stage.RUNNING, "")


async def test_a_job_whose_comment_tells_needs_no_file(reports: Reports) -> None:
    site = Site()
    await reports.running(door(site), [a_job("RUNNING", comment='{"v": 1, "s": 5}')])

    assert site.asked == []


async def test_an_end_in_the_file_of_a_job_that_runs_waits_for_the_jobs(reports: Reports) -> None:
    site = Site()
    site.files[file()] = written(END)
    (told,) = await reports.running(door(site), [a_job("RUNNING")])

    assert told.comment == "", "it may be that of an earlier life"


@pytest.mark.parametrize(
    "content,facts",
    [
        (written(END, job_id="999"), {}),  # a surplus job of the attempt is asked for, and another one is the attempt
        (written(END, restarts=0), {"restart_count": 1}),
        (b'{"jobId": "41"', {}),
        (b"[" * 10_000, {}),
        (b"[]", {}),
        (b'{"jobId": "41", "restartCount": 0, "record": "text"}', {}),
        (b"\xff\xfe", {}),
        (b"", {}),
    ],
)
def test_what_is_no_record_of_this_job_tells_nothing(content: bytes, facts: dict[str, Any]) -> None:
    assert record(content, a_job(**facts)) == ""


def test_where_slurms_number_is_not_known_the_owner_of_the_claim_counts() -> None:
    assert parse_comment(record(written(END), replace(a_job(), job_id="5d5dcdb11efb"))).stderr == "boom"
    assert record(written(END), replace(a_job(), job_id="5d5dcdb11efb", slurm_id="999")) == ""

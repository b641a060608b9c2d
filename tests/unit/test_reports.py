"""Which report files are read, how many, and what becomes of a record whose file tells something, nothing, or can't be
had."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest

from passerelle.errors import Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Gateway
from passerelle.marker import Run
from passerelle.progress import parse_comment
from passerelle.reports import PATIENCE_SECONDS, READS_PER_LOOK, STILL, Reports, record
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


@pytest.mark.parametrize("number_of_jobs, looks", [(2 * READS_PER_LOOK, 2), (READS_PER_LOOK + 8, 5)])
async def test_of_jobs_that_run_all_are_read_in_turn(
    reports: Reports, clock: Clock, number_of_jobs: int, looks: int
) -> None:
    site = Site()
    jobs = [a_job("RUNNING", number) for number in range(1, number_of_jobs + 1)]
    for _ in range(looks):
        await reports.running(door(site), jobs)
        clock.now += 60

    often = Counter(path for path, _, _ in site.asked)
    assert often == dict.fromkeys((file(number) for number in range(1, number_of_jobs + 1)), often[file(1)])


async def test_a_job_that_runs_tells_its_progress_and_keeps_it_where_it_can_not_be_read(reports: Reports) -> None:
    site = Site()
    site.files[file(1)] = written({"v": 1, "s": 5})
    site.files[file(2)] = Unavailable("busy")
    one, other = await reports.running(door(site), [a_job("RUNNING", 1), a_job("RUNNING", 2)])

    assert (one.stage, one.comment) == (Stage.RUNNING, '{"v": 1, "s": 5}')
    assert (other.stage, other.comment) == (Stage.RUNNING, "")


async def test_one_file_that_can_not_be_read_keeps_no_other_from_its_turn(reports: Reports, clock: Clock) -> None:
    site = Site()
    site.files[file(1)] = Unavailable("It can't be used.")
    site.files |= {file(number): written({"v": 1, "s": 5}, job_id=str(40 + number)) for number in range(2, 11)}
    first, *others = await reports.running(door(site), [a_job("RUNNING", number) for number in range(1, 11)])

    assert first.comment == ""
    assert {job.comment for job in others} == {'{"v": 1, "s": 5}'}


async def test_one_file_that_can_not_be_read_costs_no_other_end_its_words(reports: Reports, clock: Clock) -> None:
    site = Site()
    site.files[file(1)] = Unavailable("It can't be used.")
    site.files |= {file(number): written(END, job_id=str(40 + number)) for number in range(2, 11)}
    held, *told = await reports.ended(door(site), [a_job(number=number) for number in range(1, 11)])

    assert held.stage is Stage.ENDING
    assert {(job.stage, parse_comment(job.comment).stderr) for job in told} == {(Stage.ENDED, "boom")}


async def test_where_the_site_gives_none_those_that_were_not_tried_come_first_and_wait_for_their_own(
    reports: Reports, clock: Clock
) -> None:
    site = Site()
    jobs = [a_job(number=number) for number in range(1, 11)]
    site.files |= {file(number): Unavailable("Broken.", reason="Unreachable") for number in range(1, 5)}
    site.files |= {file(number): written(END, job_id=str(40 + number)) for number in range(5, 11)}
    held = await reports.ended(door(site), jobs)
    assert (len(site.asked), {job.stage for job in held}) == (4, {Stage.ENDING}), "the others are not tried in vain"

    clock.now += PATIENCE_SECONDS + 1
    told = await reports.ended(door(site), jobs)

    assert [job.report_trouble for job in told[:4]] == ["Broken."] * 4
    assert {parse_comment(job.comment).stderr for job in told[4:]} == {"boom"}


async def test_what_was_not_tried_is_held_back_longer_than_what_was(reports: Reports, clock: Clock) -> None:
    site = Site()
    jobs = [a_job(number=number) for number in range(1, 11)]
    site.files |= {file(number): Unavailable("Broken.", reason="Unreachable") for number in range(1, 11)}
    await reports.ended(door(site), jobs)
    clock.now += PATIENCE_SECONDS + 1
    told = await reports.ended(door(site), jobs)

    assert [job.stage for job in told] == [Stage.ENDED] * 4 + [Stage.ENDING] * 6


async def test_a_standing_trouble_is_logged_once(
    reports: Reports, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site()
    site.files |= {file(number): Unavailable("Broken.") for number in (1, 2)}
    site.files[file(3)] = written({"v": 1, "s": 5}, job_id="43")
    for _ in range(5):
        await reports.running(door(site), [a_job("RUNNING", number) for number in (1, 2, 3)])
        await reports.ended(door(site), [])
        await reports.ended(door(site), [a_job(number=4)])
        clock.now += 60
    assert caplog.text.count("reports can't be read") == 1

    del site.files[file(1)], site.files[file(2)]
    await reports.running(door(site), [a_job("RUNNING", number) for number in (1, 2)])
    site.files[file(1)] = Unavailable("Broken.")
    await reports.running(door(site), [a_job("RUNNING", 1)])
    assert caplog.text.count("reports can't be read") == 2, "it is news again"


async def test_a_defect_in_reading_one_file_stops_no_other(
    reports: Reports, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(content: bytes, job: RemoteJob) -> str:
        if job.job_id == "41":
            raise KeyError("record")
        return record(content, job)

    monkeypatch.setattr("passerelle.reports.record", broken)
    site = Site()
    site.files |= {file(number): written(END, job_id=str(40 + number)) for number in (1, 2)}
    one, other = await reports.ended(door(site), [a_job(number=1), a_job(number=2)])

    assert (one.stage, one.report_trouble) == (Stage.ENDED, "The operator failed to read it; see its log.")
    assert parse_comment(other.comment).stderr == "boom"
    assert "a report can't be read" in caplog.text


async def test_an_end_that_waits_is_kept_until_it_is_told_or_forgotten(reports: Reports) -> None:
    site = Site()
    site.files[file()] = Unavailable("busy")
    (ending,) = await reports.ended(door(site), [a_job()])

    assert reports.held([ending]) == [a_job()]
    assert reports.held([replace(ending, restart_count=1)]) == [], "another life"
    assert reports.held([a_job("RUNNING")]) == [], "it runs again"
    reports.forget(Run("psr-" + "b" * 26))
    assert reports.held([ending]) == [a_job()]
    reports.forget(RUN)
    assert reports.held([ending]) == []


async def test_where_a_comment_stands_still_the_file_is_read_and_what_is_newer_counts(reports: Reports) -> None:
    site = Site()
    site.files[file()] = written({"v": 1, "t": 99, "s": 50})
    old = a_job("RUNNING", comment='{"v": 1, "t": 10, "s": 5}')
    for _ in range(STILL):
        assert await reports.running(door(site), [old]) == [old]
    assert site.asked == []

    (told,) = await reports.running(door(site), [old])
    assert parse_comment(told.comment).told_at == 99

    moved = replace(old, comment='{"v": 1, "t": 100, "s": 51}')
    assert await reports.running(door(site), [moved]) == [moved]
    site.files[file()] = written({"v": 1, "t": 98, "s": 49})
    for _ in range(STILL):
        (told,) = await reports.running(door(site), [moved])
    assert told == moved, "the file is older"
    assert len(site.asked) == 2


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
        (b'{"jobId": "41", "restartCount": 0, "record": {"m": ' + b"[" * 900 + b"]" * 900 + b"}, " + b'"x": 1', {}),
    ],
)
def test_what_is_no_record_of_this_job_tells_nothing(content: bytes, facts: dict[str, Any]) -> None:
    assert record(content, a_job(**facts)) == ""


def test_where_slurms_number_is_not_known_the_owner_of_the_claim_counts() -> None:
    assert parse_comment(record(written(END), replace(a_job(), job_id="5d5dcdb11efb"))).stderr == "boom"
    assert record(written(END), replace(a_job(), job_id="5d5dcdb11efb", slurm_id="999")) == ""


async def test_a_job_whose_turn_it_is_not_is_remembered_until_it_is(reports: Reports) -> None:
    """In turns of one of two: whose comment stands still has its file read at its third turn, as if asked each time."""
    site = Site()
    jobs = [a_job("RUNNING", number, comment=json.dumps({"v": 1, "s": 1, "t": 5})) for number in (1, 2)]
    everybody = [job.job_id for job in jobs]
    for _ in range(STILL + 1):
        for job in jobs:
            await reports.running(door(site), [job], everybody)

    assert [path for path, *_ in site.asked] == [file(1), file(2)]

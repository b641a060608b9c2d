"""Records of real servers, shortened to the fields that are read, and the odd shapes beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from passerelle.gateways.slurmrestd.decode import accounted_job, light_state, live_job, newest, number, words
from passerelle.slurm import JobState, RemoteJob, Stage

RECORDINGS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "recordings").glob("v*.json"))
}
SCRATCH = "tmp"
VERSIONS = pytest.mark.parametrize("version", RECORDINGS)


def test_recordings_are_there() -> None:
    assert set(RECORDINGS) == {"v0.0.38", "v0.0.40", "v0.0.42", "v0.0.45"}


def of(version: str, source: str, kind: str) -> RemoteJob:
    record = RECORDINGS[version][source][kind]
    return live_job(record) if source == "live" else accounted_job(record)


@VERSIONS
def test_running_job(version: str) -> None:
    job = of(version, "live", "running")

    assert job.state == JobState("RUNNING")
    assert (job.user, job.cluster, job.account, job.qos, job.partition) == ("startup", "site", "startup", "gpu", "gpu")
    assert (job.nodes, job.node_count, job.gpus, job.time_limit_minutes) == ("n[1-2]", 2, 4, 30)
    assert (job.comment, job.standard_output) == ("hello", f"/{SCRATCH}/{job.job_id}.out")
    assert (job.end_time, job.exit_code, job.exit_signal, job.live) == (None, None, None, True)
    assert job.start_time is not None
    assert job.start_time >= job.submit_time > 1_700_000_000


@VERSIONS
def test_failed_job(version: str) -> None:
    live, accounted = of(version, "live", "failed"), of(version, "accounted", "failed")

    assert (live.state, live.exit_code, live.exit_signal) == (JobState("FAILED"), 3, None)
    assert live.state_reason == "NonZeroExitCode"
    assert accounted.state == JobState("FAILED")
    assert accounted.exit_code == (None if version == "v0.0.38" else 3), "22.05's accounting says SUCCESS, 0"
    for job in (live, accounted):
        assert job.end_time is not None
        assert job.end_time >= job.submit_time


@VERSIONS
def test_cancelled_job(version: str) -> None:
    live, accounted = of(version, "live", "cancelled"), of(version, "accounted", "cancelled")

    assert (live.state, live.exit_code, live.exit_signal) == (JobState("CANCELLED"), None, 15)
    assert (accounted.state, accounted.exit_code, accounted.exit_signal) == (JobState("CANCELLED"), None, None)
    assert accounted.cancelled_by == "startup"
    assert (accounted.live, accounted.node_count, accounted.gpus) == (False, 2, 4)
    assert (accounted.submit_time, accounted.end_time) == (live.submit_time, live.end_time)


@VERSIONS
def test_accounting_of_a_running_job(version: str) -> None:
    job = of(version, "accounted", "running")

    assert job.stage in (Stage.RUNNING, Stage.QUEUED)
    assert (job.end_time, job.exit_code, job.cancelled_by) == (None, None, "")


def test_record_of_a_refused_submit_has_neither_start_nor_exit() -> None:
    job = live_job(
        {
            "job_id": 7,
            "job_state": ["FAILED"],
            "state_reason": "BadConstraints",
            "nodes": "",
            "start_time": 5,
            "end_time": 5,
            "exit_code": {
                "status": ["SIGNALED"],
                "return_code": {"set": False},
                "signal": {"id": {"set": True, "number": 1}},
            },
        }
    )

    assert (job.start_time, job.exit_code, job.exit_signal, job.state_reason) == (None, None, None, "BadConstraints")


def test_the_node_that_failed_a_job_is_told_by_both_listings() -> None:
    record = {"job_id": 7, "job_state": ["NODE_FAIL"], "failed_node": "n2"}
    row = {"job_id": 7, "state": {"current": ["NODE_FAIL"]}, "failed_node": "n2"}

    assert [live_job(record).failed_node, accounted_job(row).failed_node] == ["n2", "n2"]
    assert live_job({"job_id": 7, "job_state": ["RUNNING"], "failed_node": None}).failed_node == ""


def test_v39_has_a_state_string_and_a_raw_exit_status_in_a_struct() -> None:
    def job(raw: int) -> RemoteJob:
        exit_code = {"set": True, "infinite": False, "number": raw}
        return live_job({"job_id": 7, "job_state": "FAILED", "nodes": "n1", "exit_code": exit_code, "submit_time": 5})

    assert (job(768).exit_code, job(768).exit_signal) == (3, None)
    assert (job(9).exit_code, job(9).exit_signal) == (None, 9)


@pytest.mark.parametrize(
    "value, expected",
    [
        (5, 5),
        (None, None),
        (True, None),
        ({"set": True, "infinite": False, "number": 5}, 5),
        ({"set": False, "infinite": False, "number": 0}, None),
        ({"set": False, "infinite": True, "number": 0}, None),
        ({"set": True, "infinite": True, "number": 0}, None),
        ("5", None),
    ],
)
def test_number(value: object, expected: int | None) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    "value, expected",
    [
        ("RUNNING", ["RUNNING"]),
        ("PENDING REQUEUED", ["PENDING", "REQUEUED"]),
        (["CANCELLED", "COMPLETING"], ["CANCELLED", "COMPLETING"]),
        (None, []),
    ],
)
def test_words(value: object, expected: list[str]) -> None:
    assert words(value) == expected


def test_light_state_passes_over_tasks_of_arrays() -> None:
    assert light_state({"job_id": "10971", "state": ["RUNNING"]}) == ("10971", JobState("RUNNING"))
    assert light_state({"job_id": 10971, "state": ["RUNNING"]}) == ("10971", JobState("RUNNING"))
    assert light_state({"job_id": "39_0", "state": ["RUNNING"]}) is None


def test_newest_life_of_a_requeued_job() -> None:
    def row(submitted: int, *state: str) -> dict[str, Any]:
        return {"job_id": 7, "state": {"current": list(state)}, "time": {"submission": submitted}}

    (job,) = newest(map(accounted_job, [row(200, "RUNNING"), row(100, "PENDING", "REQUEUED")]))

    assert (job.submit_time, job.state) == (200, JobState("RUNNING"))


def test_ids_that_started_again_are_other_jobs() -> None:
    def row(submitted: int, name: str) -> dict[str, Any]:
        return {"job_id": 7, "name": name, "state": {"current": ["COMPLETED"]}, "time": {"submission": submitted}}

    found = newest(map(accounted_job, [row(100, "psr-a-1"), row(200, "psr-b-1")]))

    assert [(job.name, job.submit_time) for job in found] == [("psr-a-1", 100), ("psr-b-1", 200)]


@pytest.mark.parametrize("record", [{}, {"job_state": 5, "exit_code": "x", "nodes": None, "comment": None}])
def test_garbage_is_no_crash(record: dict[str, Any]) -> None:
    assert live_job(record).state.base == accounted_job(record).state.base == "UNKNOWN"

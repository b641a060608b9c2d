"""Rows as FirecREST tells them: recorded in ssh and in rest mode."""

from __future__ import annotations

from typing import Any

import pytest

from passerelle.gateways.firecrest.decode import job, submitted
from passerelle.gateways.firecrest.system import System
from passerelle.gateways.sacct import OUR_CODES
from passerelle.slurm import Blame, RemoteJob, Stage


def record(state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    status = {"state": state, "stateReason": more.pop("reason", "None")}
    status |= {"exitCode": more.pop("code", 0), "interruptSignal": more.pop("signal", 0)}
    time = {"elapsed": 5, "start": 1000, "end": None, "suspended": 0, "limit": 300} | more.pop("time", {})
    return {
        "jobId": "166",
        "name": "psr-x-1",
        "status": status,
        "tasks": [],
        "time": time,
        "account": "startup",
        "allocationNodes": 2,
        "cluster": "real",
        "group": "startup",
        "nodes": "n[1-2]",
        "partition": "gpu",
        "killRequestUser": None,
        "user": "ada",
        "workingDirectory": "/scratch",
        "priority": 1,
        **more,
    }


ALPS = System("alps", "ssh", "24.11.5", 1)


def read(told: dict[str, Any], of: System = ALPS) -> RemoteJob:
    found = job(told, of, {"5001": "ada"})
    assert found is not None
    return found


def test_running_job() -> None:
    found = read(record())

    assert (found.job_id, found.name, found.user, found.cluster) == ("166", "psr-x-1", "ada", "alps")
    assert (found.stage, found.nodes, found.node_count, found.time_limit_minutes) == (Stage.RUNNING, "n[1-2]", 2, 5)
    assert (found.start_time, found.end_time, found.exit_code, found.exit_signal) == (1000, None, None, None)
    assert (found.submit_time, found.restart_count, found.comment, found.live) == (0, 0, "", True)


def test_waiting_job() -> None:
    told = record("PENDING", reason="Resources", nodes="None assigned", allocationNodes=0, code=None, signal=None)
    found = read(told | {"time": {"start": None, "end": None, "limit": 300}})

    assert (found.stage, found.state_reason, found.nodes, found.start_time) == (Stage.QUEUED, "Resources", "", None)


@pytest.mark.parametrize(
    "state, code, signal, expected",
    [
        ("COMPLETED", 0, 0, (0, None)),
        ("FAILED", 3, 0, (3, None)),
        ("FAILED", 0, 53, (None, 53)),
        ("TIMEOUT", 0, 0, (None, None)),
        ("NODE_FAIL", 1, 0, (1, None)),
        ("OUT_OF_MEMORY", 0, 125, (None, 125)),
    ],
)
def test_end(state: str, code: int, signal: int, expected: tuple[int | None, int | None]) -> None:
    found = read(record(state, code=code, signal=signal, time={"end": 2000}))

    assert found.stage is Stage.ENDED
    assert (found.exit_code, found.exit_signal, found.end_time) == (*expected, 2000)


@pytest.mark.parametrize("code", sorted(OUR_CODES))
def test_own_code_is_told_although_sacct_takes_128_from_it(code: int) -> None:
    cut = record("FAILED", code=code - 128, time={"end": 2000})

    assert read(cut).exit_code == code
    assert read(cut, System("alps", "hybrid", "24.11.5", 1)).exit_code == code - 128


@pytest.mark.parametrize("uid, name", [("5001", "ada"), ("0", "uid 0")])
def test_canceller_of_sacct(uid: str, name: str) -> None:
    found = read(record(f"CANCELLED by {uid}", time={"end": 2000}))

    assert str(found.state) == "CANCELLED"
    assert found.ending is not None
    assert found.ending.blame is Blame.CANCELLATION
    assert found.cancelled_by == name


def test_canceller_of_slurmrestd() -> None:
    assert read(record("CANCELLED", killRequestUser="root")).cancelled_by == "root"


def test_job_that_never_got_a_node_has_no_start_and_no_exit() -> None:
    found = read(record("FAILED", code=0, signal=1, nodes="None assigned", time={"start": 1000, "end": 1000}))

    assert found.refused
    assert (found.exit_code, found.exit_signal, found.start_time) == (None, None, None)


def test_task_of_an_array_is_no_job_of_ours() -> None:
    assert job(record(jobId="172_0"), ALPS, {}) is None


@pytest.mark.parametrize(
    "value, found", [("166", "166"), (166, "166"), (None, None), ("", None), (0, None), ("x", None)]
)
def test_id_of_a_submit(value: object, found: str | None) -> None:
    assert submitted({"jobId": value}) == found


def test_record_of_nothing_is_read_without_complaint() -> None:
    found = job({"jobId": 7, "status": None, "time": []}, ALPS, {})

    assert found is not None
    assert (found.state.base, found.user) == ("UNKNOWN", "")

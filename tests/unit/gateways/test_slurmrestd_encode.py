"""Every option is a field of the body, in the dialect of each family."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from options import changed_in
from passerelle.batch import Batch, Options
from passerelle.gateways.slurmrestd import encode
from passerelle.gateways.slurmrestd.versions import KNOWN, NEWEST

OPTIONS = Options(
    name="psr-a-1",
    account="acct",
    partition="gpu",
    qos="high",
    reservation="tuesday",
    nodes=2,
    tasks_per_node=4,
    cpus_per_task=7,
    memory_per_node_mib=1000,
    gpus_per_node=4,
    gpu_type="a100",
    gpu_request="gres",
    threads_per_core=1,
    constraint="a100_80",
    exclude=("n7", "n[9-11]"),
    time_limit_minutes=90,
    warning_seconds=300,
    working_directory="/scratch/run",
    standard_output="/scratch/run/%j.out",
    standard_error="/scratch/run/%j.err",
)
BATCH = Batch(options=OPTIONS, environment=(("A", "1=2,3"), ("B", "é\n'")), script="#!/bin/sh\n")
COMMON = {
    "name": "psr-a-1",
    "account": "acct",
    "partition": "gpu",
    "qos": "high",
    "reservation": "tuesday",
    "tasks": 8,
    "tasks_per_node": 4,
    "cpus_per_task": 7,
    "threads_per_core": 1,
    "constraints": "a100_80",
    "current_working_directory": "/scratch/run",
    "standard_output": "/scratch/run/%j.out",
    "standard_error": "/scratch/run/%j.err",
}
UNSAID: dict[str, Any] = {
    "account": None,
    "qos": None,
    "reservation": None,
    "memory_per_node_mib": None,
    "warning_seconds": None,
    "threads_per_core": None,
    "constraint": None,
    "exclude": (),
}


def whole(value: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": value}


def test_v38() -> None:
    assert encode.submit_v38(BATCH) == {
        "script": "#!/bin/sh\n",
        "job": COMMON
        | {
            "environment": {"A": "1=2,3", "B": "é\n'"},
            "nodes": 2,
            "time_limit": 90,
            "memory_per_node": 1000,
            "gres": "gpu:a100:4",
            "open_mode": "append",
            "no_requeue": True,
        },
    }


def test_v39_and_later() -> None:
    assert encode.submit_v39(BATCH) == {
        "script": "#!/bin/sh\n",
        "job": COMMON
        | {
            "environment": ["A=1=2,3", "B=é\n'"],
            "nodes": "2",
            "time_limit": whole(90),
            "memory_per_node": whole(1000),
            "tres_per_node": "gres/gpu:a100:4",
            "excluded_nodes": ["n7", "n[9-11]"],
            "open_mode": ["APPEND"],
            "requeue": False,
            "kill_warning_signal": "USR1",
            "kill_warning_delay": whole(300),
            "kill_warning_flags": ["BATCH_JOB"],
        },
    }


@pytest.mark.parametrize("submit", [encode.submit_v38, encode.submit_v39])
def test_what_is_not_asked_is_not_sent(submit: Any) -> None:
    bare = dataclasses.replace(OPTIONS, gpus_per_node=0, **UNSAID)
    job = submit(dataclasses.replace(BATCH, options=bare))["job"]

    assert None not in job.values()
    assert set(job) <= {
        "name",
        "partition",
        "environment",
        "nodes",
        "tasks",
        "tasks_per_node",
        "cpus_per_task",
        "time_limit",
        "current_working_directory",
        "standard_output",
        "standard_error",
        "open_mode",
        "requeue",
        "no_requeue",
    }


@pytest.mark.parametrize(
    "request_, gpu_type, v38, v39",
    [
        ("gpus-per-node", None, {"gpus_per_node": "4"}, {"tres_per_node": "gres/gpu:4"}),
        ("gpus-per-node", "a100", {"gpus_per_node": "a100:4"}, {"tres_per_node": "gres/gpu:a100:4"}),
        ("gres", None, {"gres": "gpu:4"}, {"tres_per_node": "gres/gpu:4"}),
        ("gpus", None, {"gpus": "8"}, {"tres_per_job": "gres/gpu:8"}),
        ("gpus", "a100", {"gpus": "a100:8"}, {"tres_per_job": "gres/gpu:a100:8"}),
        ("none", "a100", {}, {}),
    ],
)
def test_gpus_are_asked_for_as_the_site_wants_it(
    request_: Any, gpu_type: str | None, v38: dict[str, str], v39: dict[str, str]
) -> None:
    asked = dataclasses.replace(OPTIONS, gpu_request=request_, gpu_type=gpu_type)
    batch = dataclasses.replace(BATCH, options=asked)
    words = {"gres", "gpus", "gpus_per_node", "tres_per_node", "tres_per_job"}

    assert {key: value for key, value in encode.submit_v38(batch)["job"].items() if key in words} == v38
    assert {key: value for key, value in encode.submit_v39(batch)["job"].items() if key in words} == v39


@pytest.mark.parametrize("submit", [encode.submit_v38, encode.submit_v39])
def test_every_option_changes_the_body(submit: Any) -> None:
    """A new option that a family forgets fails here; the warning and excluded nodes are v0.0.38's known gaps."""
    gaps = {"warning_seconds", "warning_signal", "exclude"} if submit is encode.submit_v38 else set()
    for field in dataclasses.fields(Options):
        changed = dataclasses.replace(BATCH, options=changed_in(OPTIONS, field.name))

        assert (submit(changed) != submit(BATCH)) is (field.name not in gaps), field.name


def test_versions_are_newest_first_and_without_a_gap() -> None:
    assert [version.number for version in KNOWN] == list(range(45, 37, -1))
    assert NEWEST.word == "v0.0.45"

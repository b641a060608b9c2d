"""Every option is a field of the body, in the dialect of each family."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

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
    unsaid = {"account", "qos", "reservation", "memory_per_node", "gres", "tres_per_node", "kill_warning_delay"}
    assert not unsaid & set(job)


@pytest.mark.parametrize("submit", [encode.submit_v38, encode.submit_v39])
def test_every_option_changes_the_body(submit: Any) -> None:
    """A new option that a family forgets fails here; the warning is v0.0.38's known gap."""
    gaps = {"warning_seconds", "warning_signal"} if submit is encode.submit_v38 else set()
    for field in dataclasses.fields(Options):
        before = getattr(OPTIONS, field.name)
        after: Any = (
            (not before) if isinstance(before, bool) else before + 1 if isinstance(before, int) else before + "x"
        )
        change: dict[str, Any] = {field.name: after}
        changed = dataclasses.replace(BATCH, options=dataclasses.replace(OPTIONS, **change))

        assert (submit(changed) != submit(BATCH)) is (field.name not in gaps), field.name


def test_versions_are_newest_first_and_without_a_gap() -> None:
    assert [version.number for version in KNOWN] == list(range(45, 37, -1))
    assert NEWEST.word == "v0.0.45"

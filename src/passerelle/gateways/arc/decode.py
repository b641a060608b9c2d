"""A-REX's answers -> RemoteJob. Pure.

A-REX renders JSON from XML: every scalar is text, a list of one may be its one element, and a list of none may be
missing (1.0). What a job is doing comes from a file that is written every few seconds to minutes, what it is from one
that stands from the beginning (`diagnose/local`): so names and times of submission come from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from passerelle.gateways.arc.notes import Given, Left
from passerelle.gateways.arc.outcome import Outcome
from passerelle.gateways.base import Identity
from passerelle.slurm import JobState, RemoteJob

QUEUED = frozenset({"ACCEPTING", "ACCEPTED", "PREPARING", "PREPARED", "SUBMITTING", "QUEUING"})
RUNNING = frozenset({"RUNNING", "EXITINGLRMS", "EXECUTED", "FINISHING", "OTHER"})
"""EXITINGLRMS to FINISHING: Slurm has ended the job, A-REX does not yet say how. OTHER: in Slurm, in a state for which
A-REX has no word."""
ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
GONE = frozenset({"WIPED", "None"})
"""Cleaned away, or not known."""

STATES: Mapping[str, JobState] = {
    **dict.fromkeys(QUEUED, JobState("PENDING")),
    **dict.fromkeys(RUNNING, JobState("RUNNING")),
    "HELD": JobState("SUSPENDED"),
    "KILLING": JobState("CANCELLED", frozenset({"COMPLETING"})),
}
"""By A-REX's word, of a job that has not ended."""

_ID = re.compile(r"[A-Za-z0-9]{6,64}")


def active(word: str) -> JobState:
    """The state of a job that A-REX still has in hand; a word that nobody knows yet is one of them."""
    return STATES.get(word, JobState("RUNNING"))


def job_list(body: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """The jobs in an answer: of a list, of one, or of none. None where it is no answer about jobs."""
    if body is None:
        return None
    found = body.get("job", body.get("jobs", []))
    if isinstance(found, dict) and "job" in found:
        found = found["job"]
    listed = texts(found)
    return [each for each in listed if isinstance(each, dict)]


def texts(value: object) -> list[Any]:
    """A list that may be one element or missing."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def is_id(word: str) -> bool:
    """Whether a word may be an id of A-REX's: others never reach an address."""
    return _ID.fullmatch(word) is not None


@dataclass(frozen=True, slots=True)
class Local:
    """What A-REX wrote down of a job when it took it; `localid` comes later, when Slurm has it."""

    name: str
    sessiondir: str
    submitted: int
    queue: str
    slurm_id: str


def local(text: str) -> Local:
    """`diagnose/local`: a line each, NAME=VALUE."""
    found = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    return Local(
        name=found.get("jobname", ""),
        sessiondir=found.get("sessiondir", ""),
        submitted=moment(found.get("starttime", "")) or 0,
        queue=found.get("queue", ""),
        slurm_id=found["localid"] if found.get("localid", "").isdecimal() else "",
    )


@dataclass(frozen=True, slots=True)
class Activity:
    """What `action=info` says: A-REX's own state, whether it knows when it began and ended, and why it failed."""

    state: str
    start_time: int | None = None
    end_time: int | None = None
    errors: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


def activity(record: Mapping[str, Any]) -> Activity:
    """Of one job's entry."""
    document = record.get("info_document")
    told = document.get("ComputingActivity") if isinstance(document, dict) else None
    told = told if isinstance(told, dict) else {}
    states = [str(each) for each in texts(told.get("State"))]
    return Activity(
        state=next((each.partition(":")[2] for each in states if each.startswith("arcrest:")), ""),
        start_time=moment(str(told.get("StartTime") or "")),
        end_time=moment(str(told.get("ComputingManagerEndTime") or told.get("EndTime") or "")),
        errors=tuple(str(each) for each in texts(told.get("Error"))),
        nodes=tuple(str(each) for each in texts(told.get("ExecutionNode"))),
    )


def moment(text: str) -> int | None:
    """Epoch seconds of A-REX's 20261124041632Z or 2026-11-24T04:16:32Z."""
    digits = re.sub(r"[-:T]", "", text)
    try:
        return int(datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def remote_job(
    job_id: str,
    who: Identity,
    known: Local,
    now: Activity,
    outcome: Outcome,
    note: Given | None,
    last: Left | None = None,
) -> RemoteJob:
    """One job, of all that is told about it."""
    fields: Mapping[str, str] = note.fields if note is not None else {}
    nodes = fields.get("NodeList", "")
    if nodes in ("", "(null)"):
        nodes = ",".join(dict.fromkeys(now.nodes))
    count = fields.get("NumNodes", "").partition("-")[0]
    return RemoteJob(
        job_id=job_id,
        slurm_id=known.slurm_id,
        name=known.name,
        user=who.user,
        cluster=who.cluster,
        state=outcome.state,
        state_reason=outcome.reason,
        refusal=outcome.refusal,
        submit_time=known.submitted,
        start_time=note.began if note is not None else now.start_time,
        end_time=(last.moment if last is not None else now.end_time) if outcome.state.ending is not None else None,
        partition=fields.get("Partition") or known.queue,
        account=fields.get("Account", ""),
        qos=fields.get("QOS", ""),
        nodes=nodes,
        node_count=int(count) if count.isdecimal() else len(set(now.nodes)),
        gpus=note.gpus if note is not None else 0,
        time_limit_minutes=note.time_limit_minutes if note is not None else None,
        exit_code=outcome.exit_code,
        exit_signal=outcome.exit_signal,
        standard_output=note.standard_output if note is not None else "",
    )

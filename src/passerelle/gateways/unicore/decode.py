"""UNICORE's job -> RemoteJob and JobState. Pure.

| UNICORE                        | here                                                                   |
|--------------------------------|------------------------------------------------------------------------|
| READY, STAGINGIN, QUEUED       | PENDING                                                                |
| RUNNING                        | RUNNING                                                                |
| STAGINGOUT                     | RUNNING, STAGE_OUT: no outcome stands yet                               |
| SUCCESSFUL                     | COMPLETED                                                              |
| FAILED, an exit code           | FAILED with that code                                                  |
| FAILED, "Job aborted."         | CANCELLED                                                              |
| FAILED, never in Slurm         | FAILED, BadConstraints, no start: a refusal that came after the 201; or |
|                                | BOOT_FAIL, where what failed was UNICORE's own                          |
| FAILED, no exit code           | what Slurm says: TIMEOUT, OUT_OF_MEMORY, NODE_FAIL, …                   |

The last but one is how a refusal looks here: a job is taken with 201 whatever it asks for, and is looked at later. What
Slurm says stands in `details`, while slurmctld knows the job, and in the log of a job that ended without an exit code.

The server's times carry their zone. Those of its log and of Slurm carry none that can be read; the log begins with the
submit, whose time is known, so its first line tells by how much it is off, and Slurm is taken to live in its zone.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from passerelle.gateways.unicore.encode import TAG
from passerelle.marker import parse
from passerelle.slurm import ENDINGS, JobState, RemoteJob

Record = dict[str, Any]

LIGHT = "status,statusMessage,exitCode,terminationTime"
FULL = f"{LIGHT},name,tags,submissionTime,batchSystemID,queue,consumedTime,log"
"""The `fields` of a job that are asked for."""

REFUSED = "BadConstraints"
"""Slurm's own reason for a job that it refused."""

TIME = "%Y-%m-%dT%H:%M:%S%z"
_WAITING = frozenset({"READY", "STAGINGIN", "QUEUED"})
_ABORTED = "Job aborted"
_OWN_TROUBLE = (
    "Staging in failed",
    "Error processing stage-in",
    "TSI",
    "Problem creating working directory",
    "Socket timed out",
    "Unable to contact slurm",
)
"""Parts of messages of jobs that never came to Slurm, which say nothing against the job."""
_SLURM_REFUSES = ("Batch job submission failed", "sbatch: error", "Invalid resource request")
_BEFORE_WORDS = ("Processing failed: ", "Exception: ", "sbatch: error: ")
_WRAPPED = re.compile(r" \([A-Z][^()]*\)$")
"""UNICORE's class of an error, behind its message."""
_REFUSAL_LIMIT = 300
_IN_LOG = "Detailed job information from batch system: "
_LOGGED = re.compile(r"^\w{3} (\w{3} \d\d \d\d:\d\d:\d\d) \S+ (\d{4}): ")
_NUMBER = re.compile(r"\d+")
_TRES_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d+)")
_BY_SLURM = ENDINGS.keys() - {"COMPLETED", "FAILED"}
"""Ends that are no doing of the script's."""
_NONE = frozenset({"", "N/A", "(null)", "None"})


def light_state(record: Record) -> JobState:
    """The state as far as the job alone tells it: that of an end without an exit code is Slurm's to tell."""
    return _state(record, {})


def job(job_id: str, record: Record, details: Record, *, cluster: str, user: str) -> RemoteJob:
    """A job and what Slurm says of it, `{}` where it says nothing."""
    details = details or details_in_log(record)
    state = _state(record, details)
    number = text(record.get("batchSystemID"))
    code, signal = _exit(record, details, state)
    started = _started(record, details) if code is not None or _in_slurm(record) else None
    live = state.ending is None
    nodes = text(details.get("NodeList"))
    return RemoteJob(
        job_id=job_id,
        slurm_id=number if number.isdecimal() else "",
        name=marker_of(record),
        user=user,
        cluster=cluster,
        state=state,
        submit_time=_submitted(record, details),
        state_reason=_reason(record, details, state),
        start_time=started,
        end_time=None if live else _ended(record),
        restart_count=_int(details.get("Restarts")) or 0,
        partition=text(details.get("Partition")) or text(record.get("queue")),
        account=text(details.get("Account")),
        qos=text(details.get("QOS")),
        nodes=nodes,
        node_count=_int(details.get("NumNodes")) or 0,
        gpus=_gpus(details),
        time_limit_minutes=_minutes(details.get("TimeLimit")),
        exit_code=code,
        exit_signal=signal,
        comment=_comment(details),
        standard_output=text(details.get("StdOut")),
        refusal=_refusal(record) if state.base == "FAILED" and started is None else "",
    )


def marker_of(record: Record) -> str:
    """The tag that is a marker: it stands from the first moment, the name only once the job was looked at."""
    tags = record.get("tags")
    tags = tags if isinstance(tags, list) else []
    found = [tag for tag in tags if isinstance(tag, str) and parse(tag)]
    return found[0] if len(found) == 1 and TAG in tags else ""


def instant(value: object) -> int | None:
    """Epoch seconds of a time of the server."""
    try:
        return int(datetime.strptime(str(value), TIME).timestamp())  # noqa: DTZ007 -- TIME has %z
    except ValueError:
        return None


def text(value: object) -> str:
    return value if isinstance(value, str) and value not in _NONE else ""


def _state(record: Record, details: Record) -> JobState:
    status, message = record.get("status"), str(record.get("statusMessage") or "")
    if status in _WAITING:
        return JobState("PENDING")
    if status == "RUNNING":
        return JobState("RUNNING")
    if status == "STAGINGOUT":
        return JobState("RUNNING", frozenset({"STAGE_OUT"}))
    if status == "SUCCESSFUL":
        return JobState("COMPLETED")
    if status != "FAILED":
        return JobState("UNKNOWN")
    by_slurm = JobState.parse([text(details.get("JobState"))]).base
    if _int(record.get("exitCode")):
        # Slurm ended the script, which still told its code: of a node that it gave up, say, 143.
        return JobState(by_slurm if by_slurm in _BY_SLURM else "FAILED")
    if message.startswith(_ABORTED):
        return JobState("CANCELLED")
    if "Processing failed" in message or "Could not submit job" in message or "Staging in failed" in message:
        return JobState("FAILED" if _is_refusal(message) else "BOOT_FAIL")
    return JobState(by_slurm if by_slurm in ENDINGS else "FAILED")


def _is_refusal(message: str) -> bool:
    if any(each in message for each in _SLURM_REFUSES):
        return True
    return not any(each in message for each in _OWN_TROUBLE)


def _reason(record: Record, details: Record, state: JobState) -> str:
    message = str(record.get("statusMessage") or "")
    if state.base == "FAILED" and not _in_slurm(record) and "failed" in message:
        return REFUSED
    return text(details.get("Reason"))


def _refusal(record: Record) -> str:
    """What Slurm said, else what UNICORE did, without the words in which it is wrapped."""
    message = " ".join(str(record.get("statusMessage") or "").split())
    for mark in _BEFORE_WORDS:
        message = message.rpartition(mark)[2]
    return _WRAPPED.sub("", message).rstrip(" :.")[:_REFUSAL_LIMIT]


def _in_slurm(record: Record) -> bool:
    """Whether the job came to the batch system, so that it may have run."""
    return bool(text(record.get("batchSystemID"))) and "Could not submit job" not in str(record.get("statusMessage"))


def _exit(record: Record, details: Record, state: JobState) -> tuple[int | None, int | None]:
    """(exit code, signal), each None where it is unknown or the job still lives. UNICORE knows how the script ended;
    Slurm, `code:signal`, how the job did.
    """
    if state.ending is None or state.base == "CANCELLED":
        return None, None
    code = _int(record.get("exitCode"))
    if code is not None and state.base not in _BY_SLURM:
        return code, None
    first, _, second = text(details.get("ExitCode")).partition(":")
    if second and _int(second):
        return None, _int(second)
    code = _int(first)
    return (code if code or state.ending.succeeded else None), None


def _submitted(record: Record, details: Record) -> int:
    """The submit to UNICORE; of a job that was requeued, Slurm's later one: the same job has another life."""
    first = instant(record.get("submissionTime")) or 0
    if not _int(details.get("Restarts")):
        return first
    return _by_slurm(record, details.get("SubmitTime")) or first


def _started(record: Record, details: Record) -> int | None:
    """The start, a waiting job's forecast included. Where Slurm says nothing, what went by before it is counted from
    the submit on, once the job has left the queue.
    """
    by_slurm = _by_slurm(record, details.get("StartTime"))
    if by_slurm is not None:
        return by_slurm
    submitted = instant(record.get("submissionTime")) or 0
    spent = record.get("consumedTime")
    spent = spent if isinstance(spent, dict) else {}
    queued = _int(spent.get("queued"))
    if queued is None:
        return submitted if _int(record.get("exitCode")) is not None else None
    return submitted + queued + (_int(spent.get("stage-in")) or 0) + (_int(spent.get("preCommand")) or 0)


def _ended(record: Record) -> int:
    """The end: as long after the submit as the log's last line is after its first."""
    times = _log_times(record)
    spent = int((times[-1] - times[0]).total_seconds()) if times else 0
    return (instant(record.get("submissionTime")) or 0) + max(spent, 0)


def _by_slurm(record: Record, value: object) -> int | None:
    """Epoch seconds of Slurm's own `2026-11-25T04:35:23`; None where it tells no time, or the log doesn't."""
    times, submitted = _log_times(record), instant(record.get("submissionTime"))
    try:
        told = datetime.strptime(text(value), "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 -- compared with its like
    except ValueError:
        return None
    return submitted + int((told - times[0]).total_seconds()) if times and submitted else None


def _log_times(record: Record) -> list[datetime]:
    log = record.get("log")
    return [when for line in log if (when := _logged(line)) is not None] if isinstance(log, list) else []


def _logged(line: object) -> datetime | None:
    found = _LOGGED.match(line) if isinstance(line, str) else None
    try:
        return datetime.strptime(f"{found[2]} {found[1]}", "%Y %b %d %H:%M:%S") if found else None  # noqa: DTZ007
    except ValueError:
        return None


def details_in_log(record: Record) -> Record:
    """What Slurm said of a job that ended without an exit code."""
    log = record.get("log")
    for line in reversed(log if isinstance(log, list) else []):
        _, found, rest = str(line).partition(_IN_LOG)
        if found:
            try:
                told = json.loads(rest)
            except ValueError:
                return {}
            return told if isinstance(told, dict) else {}
    return {}


def _comment(details: Record) -> str:
    """UNICORE cuts what Slurm says at blanks: a comment comes whole, or not at all."""
    told = text(details.get("Comment"))
    try:
        json.loads(told)
    except ValueError:
        return ""
    return told


def _gpus(details: Record) -> int:
    for key in ("AllocTRES", "TRES", "ReqTRES"):
        found = _TRES_GPUS.search(text(details.get(key)))
        if found:
            return int(found[1])
    return 0


def _minutes(value: object) -> int | None:
    """Slurm's `1-02:03:04`, in minutes."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text(value))
    if not found:
        return None
    return int(found[1] or 0) * 1440 + int(found[2]) * 60 + int(found[3])


def _int(value: object) -> int | None:
    """A number that UNICORE and Slurm write as text; `1-3` is a range of node counts, whose first counts."""
    found = _NUMBER.match(str(value)) if isinstance(value, str | int) else None
    return int(found[0]) if found else None

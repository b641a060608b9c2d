"""FirecREST's records -> RemoteJob.

A record is a row of sacct, or of squeue while the job waits, in JSON. It has no comment, no GPUs, no QoS, no paths, no
submit time and no count of restarts: those stay empty, since what is made up would be believed. The cluster is the
system's name: that is what the Site names, and Slurm's own name is told by jobs alone.
"""

from __future__ import annotations

from typing import Any

from passerelle.gateways import sacct
from passerelle.gateways.firecrest.system import System
from passerelle.slurm import NO_REASON, JobState, RemoteJob

Record = dict[str, Any]

_NO_NODES = frozenset({"", "None assigned", "(null)"})
_BY = "by"


def job(record: Record, of: System, users: dict[str, str], *, live: bool = True) -> RemoteJob | None:
    """A job of ours; None for what has no job's id (an array's task, 172_0). `users` maps uids to names."""
    job_id = str(record.get("jobId") or "")
    if not job_id.isdigit():
        return None
    status, time = _object(record.get("status")), _object(record.get("time"))
    words = str(status.get("state") or "").split()
    state = JobState.parse(words)
    nodes = _text(record.get("nodes"))
    nodes = "" if nodes in _NO_NODES else nodes
    ended = state.ending is not None
    code, signal = _exit(status, state, cut=of.mode == "ssh") if nodes else (None, None)
    reason = _text(status.get("stateReason"))
    return RemoteJob(
        job_id=job_id,
        name=_text(record.get("name")),
        user=_text(record.get("user")),
        cluster=of.name,
        state=JobState(state.base, frozenset()) if _BY in words else state,
        state_reason="" if reason in NO_REASON else reason,
        submit_time=0,
        start_time=None if ended and not nodes else (_number(time.get("start")) or None),
        end_time=(_number(time.get("end")) or None) if ended else None,
        partition=_text(record.get("partition")),
        account=_text(record.get("account")),
        nodes=nodes,
        node_count=_number(record.get("allocationNodes")) or 0,
        time_limit_minutes=_minutes(time.get("limit")),
        exit_code=code,
        exit_signal=signal,
        cancelled_by=_canceller(record, words, users) if state.base == "CANCELLED" else "",
        live=live,
    )


def submitted(body: Record) -> str | None:
    """The id in the answer to a submit: a string since 2.5.0, a number before."""
    found = str(body.get("jobId") or "")
    return found if found.isdigit() and int(found) > 0 else None


def _exit(status: Record, state: JobState, *, cut: bool) -> tuple[int | None, int | None]:
    """(exit code, signal), each None where it is unknown or the job still lives. 0 counts only with success. `cut`: it
    is sacct's.
    """
    if state.ending is None:
        return None, None
    code, signal = _number(status.get("exitCode")), _number(status.get("interruptSignal"))
    if signal:
        return None, signal
    code = sacct.whole(code) if cut else code
    return (code if code or state.ending.succeeded else None), None


def _canceller(record: Record, words: list[str], users: dict[str, str]) -> str:
    """Of sacct `CANCELLED by 5001`; slurmrestd names the user."""
    named = _text(record.get("killRequestUser"))
    if named:
        return named
    uid = words[-1] if _BY in words else ""
    return users.get(uid, f"uid {uid}" if uid else "")


def _minutes(value: object) -> int | None:
    """FirecREST tells the time limit in seconds."""
    found = _number(value)
    return None if found is None else -(-found // 60)


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Record:
    return value if isinstance(value, dict) else {}

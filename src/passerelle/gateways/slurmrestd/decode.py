"""slurmrestd's records -> RemoteJob and JobState. Each reader takes a value in every shape that a version gives it.

| value     | v0.0.38          | v0.0.39                  | v0.0.40 and later                    |
|-----------|------------------|--------------------------|--------------------------------------|
| state     | `"RUNNING"`      | `"RUNNING"`              | `["RUNNING", flags…]`                |
| number    | int or null      | int or a struct          | `{"set", "infinite", "number"}`      |
| exit code | raw wait status  | a struct of a raw status | `{"status", "return_code", "signal"}`|

Both the scheduler and accounting give a running job an end (a forecast, and now), and any live job the exit code 0:
neither is passed on before the end. Accounting of 22.05 says 0 of failed jobs, too: 0 counts only with success. A
job that never got a node has no start and no exit: a submit refused as NodeConfigurationUnavailable leaves such a
record, FAILED, with the reason BadConstraints (in the live one alone), a start and "signal 1". Accounting of 22.05
names a short job `allocation` for its first seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from sys import intern
from typing import Any

from passerelle.slurm import JobState, RemoteJob

Record = dict[str, Any]

_TRES_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d+)")
_NO_NODES = frozenset({"None assigned", "(null)"})
_SIGNAL_BITS = 0x7F


def about(body: Record) -> Record:
    """What an answer's meta tells of the Slurm behind it: its `release`, and from v0.0.40 on its `cluster`."""
    meta = body.get("meta") or {}
    found: Record = meta.get("slurm") or meta.get("Slurm") or {}
    return found


def live_job(record: Record) -> RemoteJob:
    """A record of `jobs` or `job/{id}`."""
    state = JobState.parse(words(record.get("job_state")))
    nodes = _nodes(record)
    code, signal = _exit(record.get("exit_code"), state) if nodes else (None, None)
    job_id = _job_id(record)
    return RemoteJob(
        job_id=job_id,
        name=_text(record.get("name")),
        user=_word(record.get("user_name")),
        cluster=_word(record.get("cluster")),
        state=state,
        state_reason=_reason(record.get("state_reason")),
        submit_time=number(record.get("submit_time")) or 0,
        start_time=_start(record.get("start_time"), state, nodes),
        end_time=_end(record.get("end_time"), state),
        restart_count=number(record.get("restart_cnt")) or 0,
        partition=_word(record.get("partition")),
        account=_word(record.get("account")),
        qos=_word(record.get("qos")),
        nodes=nodes,
        node_count=number(record.get("node_count")) or 0,
        gpus=gpus_in_words(_text(record.get("tres_alloc_str")) or _text(record.get("tres_req_str"))),
        time_limit_minutes=number(record.get("time_limit")),
        exit_code=code,
        exit_signal=signal,
        failed_node=_text(record.get("failed_node")),
        comment=_text(record.get("comment")),
        standard_output=_path(record.get("stdout_expanded") or record.get("standard_output"), job_id),
    )


def accounted_job(record: Record) -> RemoteJob:
    """A record of slurmdbd's `jobs`. Its times are plain epoch seconds in every version, 0 where there is none."""
    found = _object(record.get("state"))
    state = JobState.parse(words(found.get("current")))
    nodes = _nodes(record)
    code, signal = _exit(record.get("exit_code"), state) if nodes else (None, None)
    times = _object(record.get("time"))
    tres = _object(record.get("tres"))
    job_id = _job_id(record)
    return RemoteJob(
        job_id=job_id,
        name=_text(record.get("name")),
        user=_word(record.get("user")) or _word(_object(record.get("association")).get("user")),
        cluster=_word(record.get("cluster")),
        state=state,
        state_reason=_reason(found.get("reason")),
        submit_time=number(times.get("submission")) or 0,
        start_time=_start(times.get("start"), state, nodes),
        end_time=_end(times.get("end"), state),
        restart_count=number(record.get("restart_cnt")) or 0,
        partition=_word(record.get("partition")),
        account=_word(record.get("account")),
        qos=_word(record.get("qos")),
        nodes=nodes,
        node_count=number(record.get("allocation_nodes")) or 0,
        gpus=_gpus_in_list(tres.get("allocated")) or _gpus_in_list(tres.get("requested")),
        time_limit_minutes=number(times.get("limit")),
        exit_code=code,
        exit_signal=signal,
        failed_node=_text(record.get("failed_node")),
        comment=_text(_object(record.get("comment")).get("job")),
        standard_output=_path(record.get("stdout_expanded") or record.get("stdout"), job_id),
        cancelled_by=_text(record.get("kill_request_user")),
        live=False,
    )


def newest(jobs: Iterable[RemoteJob]) -> list[RemoteJob]:
    """One record a job: the one submitted last, since accounting keeps a row for each life of a requeued one."""
    found: dict[tuple[str, str], RemoteJob] = {}
    for job in jobs:
        kept = found.get(job.key)
        if kept is None or (kept.submit_time, kept.restart_count) <= (job.submit_time, job.restart_count):
            found[job.key] = job
    return list(found.values())


def light_state(record: Record) -> tuple[str, JobState] | None:
    """A record of `jobs/state`; None for an array's task or a step (`39_0`), which are no jobs of ours."""
    job_id = str(record.get("job_id"))
    return (job_id, JobState.parse(words(record.get("state")))) if is_job_id(job_id) else None


def is_job_id(text: str) -> bool:
    """Whether this is a job id of Slurm's. Another goes into no address: no job has it."""
    return text.isascii() and text.isdecimal()


def number(value: object) -> int | None:
    """A number that may be unset or infinite. `infinite` comes with `set: false`, so it is looked at first."""
    if isinstance(value, dict):
        if value.get("infinite") or not value.get("set"):
            return None
        value = value.get("number")
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def words(value: object) -> list[str]:
    """A state: a list from v0.0.40 on, one string before, in which accounting may join flags by blanks or commas."""
    if isinstance(value, str):
        return [word for word in re.split(r"[ ,+]+", value) if word]
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def gpus_in_words(tres: str) -> int:
    """The GPUs of a list of TRES like `cpu=24,gres/gpu=12`; 0 where it names none."""
    found = _TRES_GPUS.search(tres)
    return int(found[1]) if found else 0


def _exit(value: object, state: JobState) -> tuple[int | None, int | None]:
    """(exit code, signal), each None where it is unknown or the job still lives."""
    if state.ending is None:
        return None, None
    if isinstance(value, dict) and "return_code" in value:
        code, signal = number(value.get("return_code")), _signal(value.get("signal"))
    else:
        raw = number(value)
        code, signal = (None, None) if raw is None else (raw >> 8, raw & _SIGNAL_BITS)
    if signal:
        return None, signal
    return (code if code or state.ending.succeeded else None), None


def _signal(value: object) -> int | None:
    found = _object(value)
    return number(found.get("id", found.get("signal_id")))


def _nodes(record: Record) -> str:
    nodes = _text(record.get("nodes"))
    return "" if nodes in _NO_NODES else nodes


def _start(value: object, state: JobState, nodes: str) -> int | None:
    """The start, a waiting job's forecast included."""
    return None if state.ending is not None and not nodes else (number(value) or None)


def _end(value: object, state: JobState) -> int | None:
    return (number(value) or None) if state.ending is not None else None


def _gpus_in_list(tres: object) -> int:
    """The untyped row holds the total; a site that counts only typed ones has rows `gpu:a100`."""
    rows = (
        [row for row in tres if isinstance(row, dict) and row.get("type") == "gres"] if isinstance(tres, list) else []
    )
    total = [number(row.get("count")) or 0 for row in rows if row.get("name") == "gpu"]
    typed = [number(row.get("count")) or 0 for row in rows if str(row.get("name")).startswith("gpu:")]
    return sum(total) or sum(typed)


def _path(value: object, job_id: str) -> str:
    """v0.0.45 of 26.05 gives the pattern in standard_output; only `%j`, which our own paths use, is filled in."""
    return _text(value).replace("%j", job_id)


def _job_id(record: Record) -> str:
    found = number(record.get("job_id"))
    return "" if found is None else str(found)


def _reason(value: object) -> str:
    text = _word(value)
    return "" if text == "None" else text


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _word(value: object) -> str:
    """A text that thousands of jobs have in common: all of them hold the same object."""
    return intern(_text(value))


def _object(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def live_jobs(body: Record) -> list[RemoteJob]:
    """All of an answer's jobs."""
    return [live_job(record) for record in body.get("jobs") or []]

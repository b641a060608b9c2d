"""What FirecREST runs on a login node in ssh mode, and what it reads from the output.

A row of sacct or squeue is cut at every |. A job whose name holds one gives a row of another length, which is passed
over, and then its steps belong to nobody: the whole list fails.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SACCT = (
    "JobID,AllocNodes,Cluster,ExitCode,Group,Account,JobName,NodeList,Partition,Priority,State,Reason,ElapsedRaw,"
    "Start,End,TimelimitRaw,User,WorkDir"
)
SQUEUE = "%i|%D|||%g|%a|%j|%N|%P|%Q|%T|%r|0|%S|%e|%l|%u|%Z"
COLUMNS = len(SACCT.split(","))
WINDOWS = {"1h": "now-1hour", "8h": "now-8hours", "24h": "now-24hours", "3d": "now-3days", "7d": "now-7days"}
_STAMPS = "SLURM_TIME_FORMAT=%s"


class TimeIsUp(Exception):
    """The command did not end in time."""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Shell(Protocol):
    """Runs a command line as a user at the site; raises TimeIsUp."""

    def __call__(self, command: str, user: str, stdin: bytes | None = None) -> Done: ...


class ListBroken(Exception):
    """A step of a job that was passed over."""


def sbatch(job: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The command for a job. Its environment is one word, in which commas part the variables."""
    export = ",".join(["ALL", *(f"{name}={value}" for name, value in environment.items())])
    words = ["sbatch", f"--export={export}", f"--chdir={job['workingDirectory']}"]
    options = {
        "partition": "partition",
        "reservation": "reservation",
        "account": "account",
        "name": "job-name",
        "standardError": "error",
        "standardOutput": "output",
        "constraints": "constraint",
    }
    words += [f"--{option}={job[field]}" for field, option in options.items() if job.get(field)]
    if job.get("scriptPath"):
        words += ["--", job["scriptPath"]]
    return shlex.join(words)


def submitted(done: Done) -> str | None:
    found = re.search(r"Submitted batch job (\d+)", done.out)
    return found[1] if found else None


def sacct(user: str, *, names: str = "", job_id: str = "", window: str = "") -> str:
    words = ["sacct", "--parsable2", "--noheader", f"--format={SACCT}"]
    words += [f"--jobs={job_id}", "--allusers"] if job_id else [f"--starttime={WINDOWS[window]}", f"--user={user}"]
    return f"{_STAMPS} {shlex.join(words + ([f'--name={names}'] if names else []))}"


def squeue(user: str, *, names: str = "", job_id: str = "") -> str:
    words = ["squeue", "--noheader", f"--format={SQUEUE}"]
    words += [f"--jobs={job_id}"] if job_id else [f"--user={user}"]
    return f"{_STAMPS} {shlex.join(words + ([f'--name={names}'] if names else []))}"


def records(accounted: str, queued: str, *, poison: bool) -> list[dict[str, Any]]:
    """sacct's rows, and squeue's for what waits, or what sacct has not got yet."""
    found: dict[str, dict[str, Any]] = {}
    for line in accounted.splitlines():
        fields = line.split("|") if poison else _from_the_right(line)
        if len(fields) != COLUMNS:
            continue
        job_id, _, step = fields[0].partition(".")
        if step and job_id not in found:
            raise ListBroken
        if not step:
            found[job_id] = record(fields)
    for line in queued.splitlines():
        fields = line.split("|") if poison else _from_the_right(line)
        if len(fields) == COLUMNS and (fields[0] not in found or fields[10] == "PENDING"):
            found[fields[0]] = record(fields)
    return list(found.values())


def listed(line: str) -> dict[str, Any] | None:
    """A line of ls with quoted names, as FirecREST tells it; None for what it passes over."""
    found = re.match(r"^(\S)(\S+)\s+\d+\s+(\S+)\s+(\S+)\s+(\d+)\s+([\d:T-]+)\s+(.+)$", line)
    words = shlex.split(found[7]) if found else []
    if found is None or len(words) not in (1, 3):
        return None
    return {
        "name": words[0],
        "type": found[1],
        "linkTarget": words[2] if len(words) == 3 else None,
        "user": found[3],
        "group": found[4],
        "permissions": found[2],
        "lastModified": found[6],
        "size": found[5],
    }


def record(fields: Sequence[str]) -> dict[str, Any]:
    """A row as FirecREST tells it: no submit time, no comment, no GPUs."""
    exit_code, _, signal = fields[3].partition(":")
    return {
        "jobId": fields[0],
        "name": fields[6],
        "status": {
            "state": fields[10],
            "stateReason": fields[11],
            "exitCode": int(exit_code) if exit_code else None,
            "interruptSignal": int(signal) if signal else None,
        },
        "tasks": [],
        "time": {
            "elapsed": _number(fields[12]),
            "start": _number(fields[13]),
            "end": _number(fields[14]),
            "suspended": 0,
            "limit": _seconds(fields[15]),
        },
        "account": fields[5],
        "allocationNodes": int(fields[1] or 0),
        "cluster": fields[2],
        "group": fields[4],
        "nodes": fields[7],
        "partition": fields[8],
        "priority": _number(fields[9]),
        "killRequestUser": None,
        "user": fields[16],
        "workingDirectory": fields[17],
    }


def _from_the_right(line: str) -> list[str]:
    """A row whose name may hold a |: the columns before the name and those after it are counted."""
    fields = line.split("|")
    more = len(fields) - COLUMNS
    return [*fields[:6], "|".join(fields[6 : 7 + more]), *fields[7 + more :]] if more > 0 else fields


def _number(value: str) -> int | None:
    return int(value) if value.isdigit() else None


def _seconds(limit: str) -> int | None:
    """Minutes in sacct, 1-02:03:04 in squeue."""
    if limit.isdigit():
        return int(limit) * 60
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

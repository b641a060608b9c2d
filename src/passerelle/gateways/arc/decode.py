"""A-REX's answers -> RemoteJob. Pure.

A-REX renders JSON from XML: every scalar is text, a list of one may be its one element, and a list of none may be
missing (1.0). What a job is doing comes from a file that is written every few seconds to minutes, what it is from one
that stands from the beginning (`diagnose/local`): so names and times of submission come from there.

How a job ended is told by three witnesses, of whom each may be silent: what slurmstepd wrote when Slurm ended it,
A-REX's sentence about the failure, and our own note of the script's exit in the session directory. Where none of them
tells it, it is not guessed: see `ending`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

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

UNKNOWN = JobState("UNKNOWN")
"""Of a job that has ended nobody says how."""
KILLED_WORDS = "canceled by external request"

_STEPD = re.compile(r"\*\*\* JOB \d+ ON \S+ CANCELLED AT \S+(?: DUE TO ([A-Z]+).*?)? \*\*\*")
_CAUSES = {"": "CANCELLED", "TIME": "TIMEOUT", "PREEMPTION": "PREEMPTED", "NODE": "NODE_FAIL"}
"""What slurmstepd says in the job's own words' file when Slurm ends it."""
_OUT_OF_MEMORY = re.compile(r"oom[_-]kill event|Out Of Memory", re.IGNORECASE)
_SBATCH = re.compile(r"^sbatch: (?:error|fatal): (.+)$", re.MULTILINE)

_LRMS = re.compile(r"LRMS error: \((-?\d+)\) *(.*)")
_ENDINGS = (
    ("job was cancelled", "CANCELLED"),
    ("job timeout", "TIMEOUT"),
    ("node fail", "NODE_FAIL"),
)
"""A-REX's sentences for Slurm's states; it has none for OUT_OF_MEMORY, PREEMPTED, BOOT_FAIL and DEADLINE."""

_SIGNALLED = 256
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


@dataclass(frozen=True, slots=True)
class Given:
    """What Slurm gave to the job, as the job's first line of ours wrote it down; see payload.py."""

    began: int
    standard_output: str
    fields: Mapping[str, str]

    @property
    def gpus(self) -> int:
        found = re.search(r"gres/gpu=(\d+)", self.fields.get("AllocTRES") or self.fields.get("TRES", ""))
        return int(found[1]) if found else 0

    @property
    def time_limit_minutes(self) -> int | None:
        """Of `2-03:04:05`; None for UNLIMITED."""
        found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", self.fields.get("TimeLimit", ""))
        if found is None:
            return None
        days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
        return (days * 24 + hours) * 60 + minutes + (seconds > 0)


def given(text: str) -> Given | None:
    """Of the note: a moment, the path of the log, and what `scontrol --oneliner show job` said."""
    lines = text.splitlines()
    if len(lines) < 2 or not lines[0].isdecimal():  # noqa: PLR2004 -- scontrol may have failed
        return None
    told = " ".join(lines[2:])
    return Given(int(lines[0]), lines[1], dict(re.findall(r"(?:^|\s)([A-Za-z/:]+)=(\S*)", told)))


@dataclass(frozen=True, slots=True)
class Left:
    """How the script ended, by its own note."""

    code: int
    moment: int


def left(text: str) -> Left | None:
    """Of the note: a code and a moment."""
    words = text.split()
    return Left(*map(int, words)) if len(words) == 2 and all(map(str.isdecimal, words)) else None  # noqa: PLR2004


def sentences(text: str) -> tuple[str, ...]:
    """`diagnose/failed`: why A-REX says that the job failed."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


@dataclass(frozen=True, slots=True)
class End:
    """What the witnesses say of a job that has ended: A-REX's word, its sentences, what the tools of Slurm wrote, and the
    script's own note.
    """

    word: str
    sentences: tuple[str, ...] = ()
    tools: str = ""
    left: Left | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """State, exit and reason, as a RemoteJob tells them."""

    state: JobState
    exit_code: int | None = None
    exit_signal: int | None = None
    reason: str = ""


def ending(end: End, *, reached_slurm: bool) -> Outcome:
    """What the end was.

    Slurm's word is worth most, then the script's own note, which stands there only where the script has ended by
    itself. A-REX's FINISHED alone does not mean success: a time limit has exit code 0 in Slurm, and a job "missing from
    SLURM" may have ended in any way.
    """
    said = "; ".join(end.sentences)
    if end.word == "KILLED" or KILLED_WORDS in said:
        return Outcome(JobState("CANCELLED"), reason=said)
    base = _by_slurm(end, said)
    if base is not None:
        return Outcome(JobState(base), reason=said)
    if end.left is not None:
        return Outcome(JobState("FAILED" if end.left.code else "COMPLETED"), end.left.code, reason=said)
    if not reached_slurm:
        return Outcome(JobState("FAILED"), reason="; ".join(dict.fromkeys([said, *_SBATCH.findall(end.tools)])))
    found = _LRMS.search(said)
    if found is not None and found[2].startswith("Job failed"):
        code = int(found[1])
        signal = code - _SIGNALLED if code > _SIGNALLED else None
        return Outcome(JobState("FAILED"), code if 0 < code < _SIGNALLED else None, signal, said)
    return Outcome(UNKNOWN, reason=said)


def _by_slurm(end: End, said: str) -> str | None:
    """The base state where Slurm ended the job and said so."""
    stepd, lrms = _STEPD.search(end.tools), _LRMS.search(said)
    if stepd is not None:
        return _CAUSES.get(stepd[1] or "", "CANCELLED")
    failed = end.left is None or end.left.code != 0
    if failed and _OUT_OF_MEMORY.search(_after_submission(end.tools)):
        return "OUT_OF_MEMORY"
    sentence = lrms[2].lower() if lrms is not None else ""
    return next((state for word, state in _ENDINGS if word in sentence), None)


def _after_submission(tools: str) -> str:
    """What the job wrote; before it stands the script that A-REX submitted."""
    return tools.rpartition("Contents of output stream forwarded by the LRMS")[2]


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

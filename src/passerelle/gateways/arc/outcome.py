"""How a job ended. Pure.

It is told by three witnesses, of whom each may be silent: what slurmstepd wrote when Slurm ended the job, A-REX's
sentence about the failure, and our own note of the script's exit in the session directory. Where none of them tells
it, it is not guessed: see `ending`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from passerelle.gateways.arc.notes import Left
from passerelle.slurm import JobState

UNKNOWN = JobState("UNKNOWN")
"""Of a job that has ended nobody says how."""
KILLED_WORDS = "canceled by external request"

_STEPD = re.compile(r"\*\*\* JOB \d+ ON \S+ CANCELLED AT \S+(?: DUE (?:TO|to) ([A-Z]+).*?)? \*\*\*")
_CAUSES = {"": "CANCELLED", "TIME": "TIMEOUT", "PREEMPTION": "PREEMPTED", "NODE": "NODE_FAIL"}
"""What slurmstepd says in the job's own words' file when Slurm ends it. Of a cancel newer releases name the signal."""
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


def sentences(text: str) -> tuple[str, ...]:
    """`diagnose/failed`: why A-REX says that the job failed."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


@dataclass(frozen=True, slots=True)
class End:
    """What the witnesses say of a job that has ended: A-REX's word, its sentences, what Slurm's tools wrote, and the
    script's own note.
    """

    word: str
    sentences: tuple[str, ...] = ()
    tools: str = ""
    left: Left | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """State, exit and reason, as a RemoteJob tells them; `refusal`: what is said of a job that never reached Slurm."""

    state: JobState
    exit_code: int | None = None
    exit_signal: int | None = None
    reason: str = ""
    refusal: str = ""


def ending(end: End, *, reached_slurm: bool) -> Outcome:
    """What the end was.

    Slurm's word is worth most, then the script's own note, which stands there only where the script has ended by
    itself. A-REX's FINISHED alone does not mean success: a time limit has exit code 0 in Slurm, and a job "missing from
    SLURM" may have ended in any way. And it takes a job for killed that had succeeded before anybody's cancel came.
    """
    said = "; ".join(end.sentences)
    base = _by_slurm(end, said)
    if end.word == "KILLED" or KILLED_WORDS in said:
        if base is None and end.left is not None and end.left.code == 0:
            return Outcome(JobState("COMPLETED"), 0, reason=said)
        return Outcome(JobState("CANCELLED"), reason=said)
    if base is not None:
        return Outcome(JobState(base), reason=said)
    if end.left is not None:
        return Outcome(JobState("FAILED" if end.left.code else "COMPLETED"), end.left.code, reason=said)
    if not reached_slurm:
        told = "; ".join(dict.fromkeys([said, *_SBATCH.findall(end.tools)]))
        return Outcome(JobState("FAILED"), reason=told, refusal=told)
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

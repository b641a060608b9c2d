"""How a record leaves the job: into the job's own comment, and into a report file in the run directory.

The operator reads the comment through the gateway. Where the site lets nobody write one, or the gateway tells none, it
reads the file, whose path follows from the run directory and the attempt alone (places.py). The file is the claim
owner's: a job that has lost the claim, to a later attempt or to a later life of its own, writes it no more. Whose the
record is stands beside it, for a write that was under way when that happened.
"""

import json
import os
from typing import Callable, List, Optional

from passerelle.onsite.claim import superseded
from passerelle.onsite.files import read_json, scontrol, write_json
from passerelle.onsite.places import report

_TRANSIENT = (
    "did not answer",
    "unable to contact",
    "timed out",
    "try again",
    "temporarily",
    "zero bytes",
    "authentication",
    "standby",
)
"""Of scontrol's complaints, those that pass: the controller restarts, is busy or hands over, or munge is away."""


def ways() -> List[Callable[[str], Optional[str]]]:
    """What tells a record, each in its way. Where the Site's gateway tells nobody a comment, none is written: slurmctld
    has it for nothing.
    """
    spec = read_json(os.path.join(os.environ["PASSERELLE_ATTEMPT_DIR"], "spec.json")) or {}
    return [to_file] if spec.get("commentPeriod", 0) is None else [to_comment, to_file]


def to_comment(record: str, hurry: Callable[[], bool] = lambda: False) -> Optional[str]:
    """Put the record into the job's comment. None, or why not."""
    code, said = scontrol("update", "JobId=" + os.environ["SLURM_JOB_ID"], "Comment=" + record, hurry=hurry)
    return None if code == 0 else said or "scontrol ended with %d" % code


def passing(why: str) -> bool:
    """Whether a comment was refused for a moment: the next period may try again."""
    return any(word in why.lower() for word in _TRANSIENT)


def to_file(record: str) -> Optional[str]:
    """Put the record into the attempt's report file. None, or why not."""
    run, attempt = os.environ["PASSERELLE_RUN_DIR"], int(os.environ["PASSERELLE_ATTEMPT"])
    me = read_json(os.path.join(os.environ["PASSERELLE_ATTEMPT_DIR"], "owner.json"))
    if me is None:
        return "owner.json can't be read"
    why = superseded(run, attempt, me)
    if why is not None:
        return why
    told = {"jobId": me["jobId"], "restartCount": me["restartCount"], "record": json.loads(record)}
    try:
        write_json(report(run, attempt), told)
    except OSError as error:
        return str(error)
    return None

"""What sbatch says on standard error when the scheduler refuses a job, in the same reasons as slurmrestd's numbers.

sbatch prints the text of Slurm's error, never its number: so the texts, which 22.05, 24.11 and 26.05 share, lead back
to the number, and the number to the reason. Only `submission failed:` followed by a known refusal, or a complaint of
sbatch's own about its options, is a no. Whatever else it says (a controller that can't be reached, a socket that timed
out) may come after the controller has taken the job.
"""

from __future__ import annotations

import re

from passerelle.errors import Rejected
from passerelle.gateways.slurmrestd.errors import POLICIES, REFUSALS

TEXTS: dict[str, int] = {
    "Invalid partition name specified": 2000,
    "No partition specified or system default partition": 2001,
    "Access/permission denied": 2002,
    "User's group not permitted to use this partition": 2003,
    "Requested nodes not in this partition": 2004,
    "More processors requested than permitted": 2005,
    "Node count specification invalid": 2006,
    "Job size specification needs to be provided": 2008,
    "Job script not specified": 2009,
    "Batch script is empty": 2009,
    "Batch script contains": 2009,
    "This does not look like a batch script": 2009,
    "Pathname of a file, directory or other parameter too long": 2012,
    "Requested node configuration is not available": 2014,
    "Memory required by task is not available": 2014,
    "Requested partition configuration not available now": 2015,
    "Invalid node name specified": 2018,
    "Invalid feature specification": 2029,
    "Job dependency problem": 2038,
    "Invalid account or account/partition combination specified": 2045,
    "Unable to create job record": 2007,
    "Job violates accounting/QOS policy": 2050,
    "Requested time limit is invalid": 2051,
    "Requested reservation is invalid": 2053,
    "Invalid qos specification": 2066,
    "Invalid generic resource (gres) specification": 2072,
    "Invalid Trackable RESource (TRES) specification": 2115,
}
"""The text, or its beginning -> the number of slurmrestd's table. Whichever door sbatch's words come through, they mean
the same.
"""

NOT_UNDERSTOOD = "NotUnderstood"
_FAILED = re.compile(r"submission failed: (.+)")
_ERROR = re.compile(r"sbatch: (?:error|fatal): (.+)$", re.MULTILINE)
_USAGE = re.compile(r'sbatch: (?:unrecognized|invalid) option|sbatch: option .+ requires an|Try "sbatch --help"')
_HINTS = 3
"""Lines before the cause that a person reads, too: sbatch names there what can't be satisfied."""


def last_word(said: str) -> str:
    """What sbatch ended with: why the submission failed, else its last complaint, of what it did not even send. Where a
    site is full it says so, and tries again for two minutes.
    """
    ends = _FAILED.findall(said) or _ERROR.findall(said)
    return ends[-1].strip() if ends else ""


def known(word: str) -> int | None:
    """The number of a text of the table, None for any other."""
    return next((number for text, number in TEXTS.items() if word.startswith(text)), None)


def refusal(said: str) -> Rejected | None:
    """The error for what sbatch said; None where it is no refusal, so that the job may have been taken."""
    failed = _FAILED.findall(said)
    if failed:
        number = known(failed[-1])
        if number is None:
            return None
        hints = [line.rstrip(".") for line in _ERROR.findall(said) if "submission failed" not in line]
        text = "; ".join([failed[-1].strip().rstrip("."), *dict.fromkeys(hints[:_HINTS])])
        return of_number(number, text)
    return misused(said)


def misused(said: str) -> Rejected | None:
    """The error where sbatch complains of how it was called: then it sent nothing."""
    if _USAGE.search(said) and not _FAILED.search(said):
        return Rejected("sbatch did not understand an option of the job.", reason=NOT_UNDERSTOOD)
    return None


def of_number(number: int, said: str) -> Rejected:
    """The error for a refusal that Slurm has this number for; `said` are its words."""
    reason = REFUSALS.get(number) or POLICIES[number]
    return Rejected(f"Slurm refused the job: {said}.", reason=reason, transient=number in POLICIES)

"""What Slurm's commands say when they fail, by Slurm's own texts. Pure.

The texts are those of slurm_errno.c, in the one table of sbatch_words.py: one refusal has one reason, whichever door it
came through. Whatever no table names is unknown, and unknown is never a refusal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from passerelle.errors import PasserelleError, Rejected, Unavailable
from passerelle.gateways.sbatch_words import known, last_word, misused, of_number
from passerelle.gateways.ssh.commands import INCOMPLETE, NOT_FOUND, TIMED_OUT, UNKNOWN_JOB
from passerelle.gateways.windows import QUERY_TOO_WIDE, TOO_WIDE

_SITES_OWN = "Unspecified error"
"""slurmctld's answer where a job_submit plugin of the site says no."""
_NOT_REACHED = "Unable to contact slurm controller (connect failure)"
"""The one failure of which sbatch knows that slurmctld got nothing."""
_NOISE = re.compile(r"^(?:sbatch|squeue|sacct|scancel|scontrol): (?:error: )?|^Batch job submission failed: ")
_TOO_WIDE = "Too wide of a date range in query"
_GONE = (UNKNOWN_JOB, "already completing or completed")
_WORDS_LIMIT = 500
_SIGNALLED, _MOST_SIGNAL = 128, 64
"""A shell's exit code for a command that a signal ended is 128 and the signal's number."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed behind its mark, and how it ended; `status` is None where a signal ended it."""

    status: int | None
    stdout: str
    stderr: str


def refusal(answer: Answer) -> PasserelleError:
    """The error for a submit that printed no id: Rejected, or Unavailable."""
    said = words(answer)
    if answer.status == INCOMPLETE:
        return Unavailable("The script did not reach the login node whole.", reason="Unreachable", sent=False)
    if answer.status == NOT_FOUND:
        return _no_slurm(sent=False)
    if answer.status is None or answer.status in TIMED_OUT:
        return Unavailable(f"Slurm does not answer: {said}.", reason="SchedulerUnavailable")
    # What it said before counts for nothing: it tries again by itself, and another try may have been taken.
    last = last_word(answer.stderr)
    number = known(last)
    if number is not None:
        return of_number(number, said)
    if last.startswith(_SITES_OWN):
        return Rejected(f"The site refused the job by a rule of its own: {said}.", reason="RefusedBySite")
    sent = not last.startswith(_NOT_REACHED)
    return misused(answer.stderr) or Unavailable(
        f"Slurm does not answer: {said}.", reason="SchedulerUnavailable", sent=sent
    )


def failure(answer: Answer) -> Unavailable:
    """The error for a read of the scheduler that failed."""
    if answer.status == NOT_FOUND:
        return _no_slurm(sent=True)
    return Unavailable(f"Slurm does not answer: {words(answer)}.", reason="SchedulerUnavailable")


def accounting_failure(answer: Answer) -> Unavailable:
    """The error for a read of the accounting that failed."""
    if answer.status == NOT_FOUND:
        return _no_slurm(sent=True)
    if _TOO_WIDE in answer.stderr:
        return Unavailable(TOO_WIDE, reason=QUERY_TOO_WIDE)
    return Unavailable(f"Slurm's accounting does not answer: {words(answer)}.", reason="AccountingUnavailable")


def unread(answer: Answer) -> Unavailable:
    """The error for a file of which no digest was made."""
    return Unavailable(f"The site's file can't be read: {words(answer)}.", reason="FileFailed")


def was_ended(answer: Answer) -> bool:
    """Whether a command did not come to an end of its own: a signal, or a limit of its time, ended it."""
    status = answer.status
    return status is None or status in TIMED_OUT or _SIGNALLED < status <= _SIGNALLED + _MOST_SIGNAL


def job_is_gone(answer: Answer) -> bool:
    """Whether a command failed since the job it names has ended, or is unknown."""
    return any(text in answer.stderr for text in _GONE)


def words(answer: Answer) -> str:
    """What the command said for itself, without its name and the lines that say nothing, in one line."""
    if answer.status in TIMED_OUT:
        return "the command had to be ended"
    lines = [_NOISE.sub("", _NOISE.sub("", line.strip())) for line in answer.stderr.splitlines()]
    said = "; ".join(dict.fromkeys(line.rstrip(".") for line in lines if line))
    return said[:_WORDS_LIMIT] or f"exit code {answer.status}"


def _no_slurm(*, sent: bool) -> Unavailable:
    return Unavailable(
        "The login node has no Slurm commands where a shell without a terminal looks for them; have the user's .bashrc "
        "put them into PATH.",
        reason="SlurmMissing",
        sent=sent,
    )

"""What A-REX's refusals mean. They come in two places: as the reason phrase of a bare 500, which HTTP/1.1 alone has,
and as a code and a reason for each job inside an answer of 201. What no table names is unknown, and never a refusal.
"""

from __future__ import annotations

from typing import Any

from passerelle.errors import PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.arc.credential import ArcCredential
from passerelle.gateways.http import BUSY, Answer

NOT_MAPPED = "User can't be assigned configuration"
TOO_MANY = "No more jobs allowed"
CREATED, ACCEPTED, OK, NO_CONTENT, NOT_FOUND, FAULT, NOT_IMPLEMENTED = 201, 202, 200, 204, 404, 500, 501

_UNAUTHORIZED = frozenset({401, 403})
BUSY_STATUS = frozenset({429, 503})

FILE_REFUSALS = frozenset(
    {
        "Error creating file",
        "Error writing to file",
        "Error writing file",
        "Error seeking to specified position",
        "Error seeking to specified position in file",
        "Failed to delete",
    }
)
"""A-REX's reason phrases where the site's file system says no: no right, no room, something else of that name."""

_REASONS = (
    ("queue", "InvalidPartition"),
    ("too big", "TooLong"),
    ("not allowed", "AccessDenied"),
    ("runtime environment", "RuntimeEnvironmentMissing"),
)
"""A word in A-REX's reason for a refused job -> our reason."""


def refuses(answer: Answer) -> bool:
    """Whether A-REX does not take the credential; it says so before anything else."""
    return answer.status in _UNAUTHORIZED or (answer.status == FAULT and NOT_MAPPED in answer.phrase)


def refused(held: ArcCredential) -> Unauthorized:
    text = (
        "ARC does not take the credential: it is no token or certificate that the site maps to a user; ask the site's "
        f"support to map it, or renew it in {held.place}."
    )
    return Unauthorized(text, reason="TokenRefused")


def failure(answer: Answer) -> Unavailable:
    """The error for an answer that is none, to someone whom the site knows: Unavailable(sent=True)."""
    said = answer.phrase or "no reason"
    if answer.status in BUSY_STATUS:
        text = f"ARC is busy: HTTP {answer.status}."
        return Unavailable(text, reason=BUSY, retry_after=answer.retry_after)
    return Unavailable(f"ARC does not answer: HTTP {answer.status}, {said}.", reason="UnexpectedAnswer")


def submit_failure(answer: Answer) -> PasserelleError:
    """The same for a submit, which A-REX can refuse before it reads the job."""
    if answer.status == FAULT and TOO_MANY in answer.phrase:
        return Rejected("The site's ARC takes no more jobs now.", reason="TooManyJobs", transient=True)
    return failure(answer)


def refusal(job: dict[str, Any]) -> PasserelleError:
    """The error for a job that was not made, by its entry in the answer."""
    said = str(job.get("reason") or "").strip().rstrip(".")
    if code(job) in (None, CREATED) or not said:  # made, under a name that is none: it may run
        return Unavailable("ARC's answer to a submit can't be read.", reason="UnexpectedAnswer")
    reason = next((ours for word, ours in _REASONS if word in said.lower()), "RefusedBySite")
    return Rejected(f"ARC refused the job: {said}.", reason=reason)


def code(job: dict[str, Any]) -> int | None:
    """The status of one job's entry."""
    word = str(job.get("status-code") or "")
    return int(word) if word.isdecimal() else None

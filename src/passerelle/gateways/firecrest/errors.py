"""What FirecREST's errors mean. The HTTP status says how far the request came, and rarely what became of it.

| status                  | what happened                                                    | a submit               |
|-------------------------|------------------------------------------------------------------|------------------------|
| 400 `validation`        | the body was not understood; the message repeats it all          | refused                |
| 401                     | the token, before anything else                                  | not sent               |
| 403                     | no right to the system; or a limit of accounting, in sbatch's words | refused             |
| 404 `System not found`  | the Site names a system that is not there                        | not sent               |
| 413, 501                | a proxy takes less; the mode can't do it                         | refused                |
| 429                     | a proxy asks for patience                                        | not sent               |
| 503 `… is unhealthy`    | FirecREST's own probe says so, before any command                | not sent               |
| 500 with sbatch's words | sbatch ended with an error                                       | refused where they say |
| any other               | a command that ran out of time, a broken SSH connection, a proxy | unknown                |

Only an answer of FirecREST's own counts, JSON with `errorType`: proxies use the same numbers. A message of a validation
is never passed on; of others only what a table here knows by its beginning, in at most a line.
"""

from __future__ import annotations

from typing import Any

from passerelle.errors import Invalid, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways import sbatch_words
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.http import BUSY, Answer
from passerelle.gateways.secret import TOKEN

SCHEDULER_UNAVAILABLE = "SchedulerUnavailable"
NO_FILE = ("No such file or directory", "Not a directory")
ENDED = ("invalid job id", "already completing or completed", "Job not found")
"""In the text of a cancel that failed: there is nothing to cancel any more."""

_PERMISSION = "Permission denied"
_UNHEALTHY = "is unhealthy"
_NO_SYSTEM = "System not found"
_ACCOUNTING = "sacctmgr: error"
_QUOTA = "accounting/QOS policy limit"
_TELLING = (
    "Error executing Slurm command",
    "Error fetching Slurm API data",
    "Command execution timeout",
    "Command output exceeded",
    "SSH ",
    "Unable to establish SSH",
    "Unable to open a new SSH",
    "The scheduler service",
    "The ssh service",
    "The requested filesystem",
    "Unexpected Slurm command response",
    "Unexpected Slurm API response",
    "Access token",
    "Token's public key",
    "Inactive authentication",
    "Not authorized to access system",
    "Unable to verify system access",
    "Job not found",
    _NO_SYSTEM,
)
_LINE = 300


def message_of(answer: Answer) -> str | None:
    """The message of an error of FirecREST's own; None where the answer is somebody else's. Not for people's eyes."""
    body = answer.json() or {}
    said = body.get("message")
    return said if isinstance(said, str) and isinstance(body.get("errorType"), str) else None


def said(answer: Answer) -> str:
    """What of an answer may be told: the status, and the message's first line where the table knows it."""
    text = message_of(answer) or ""
    told = next((text for known in _TELLING if text.startswith(known)), "").strip().splitlines()
    return f"HTTP {answer.status}" + (f", {told[0][:_LINE].rstrip('.')}" if told else "")


def refusal(answer: Answer) -> PasserelleError:
    """The error for a submit that gave no id. Where it may have been taken all the same: Unavailable(sent=True)."""
    certain = before_any_command(answer)
    if certain is not None:
        return certain
    message = message_of(answer)
    match answer.status:
        case 400 if _is_validation(answer):
            return Rejected("FirecREST did not understand the job's description.", reason="NotUnderstood")
        case 403 if message is not None and _QUOTA in message:
            return sbatch_words.refusal(message) or Rejected(
                "Slurm refused the job: a limit of accounting or of the QoS is reached.",
                reason="PolicyLimit",
                transient=True,
            )
        case 413 if message is None:
            return Rejected("A proxy before FirecREST takes no script of this size.", reason="TooLong")
        case 501 if message is not None:
            return Rejected("FirecREST can't hand this job to the scheduler in its mode.", reason="NotUnderstood")
        case 500 if message is not None and (refused := sbatch_words.refusal(message)) is not None:
            return refused
    return failure(answer)


def failure(answer: Answer) -> PasserelleError:
    """The error for an answer that is neither success nor refusal."""
    certain = before_any_command(answer)
    if certain is not None:
        return certain
    if message_of(answer) is None:
        text = f"What answers is not FirecREST: HTTP {answer.status}."
        return Unavailable(text, reason="UnexpectedAnswer", retry_after=answer.retry_after)
    if _ACCOUNTING in (message_of(answer) or ""):
        text = "Slurm's accounting, which FirecREST asks first who we are, does not answer."
        return Unavailable(text, reason="AccountingUnavailable", retry_after=answer.retry_after)
    text = f"Slurm can't be asked through FirecREST: {said(answer)}."
    return Unavailable(text, reason=SCHEDULER_UNAVAILABLE, retry_after=answer.retry_after)


def before_any_command(answer: Answer) -> PasserelleError | None:
    """The error for an answer that came before anything was run; None for the others."""
    message = message_of(answer)
    match answer.status:
        case 429:
            text = "The gateway asks for patience: HTTP 429."
            return Unavailable(text, reason=BUSY, sent=False, retry_after=answer.retry_after)
        case 403 if message is not None and "authorized to access system" in message:
            return Unauthorized("FirecREST lets the user not use this system.", reason="AccessDenied")
        case 404 if message is not None and message.startswith(_NO_SYSTEM):
            return Invalid("FirecREST has no such system; correct gateway.system.", reason="SystemNotFound")
        case 503 if message is not None and _UNHEALTHY in message:
            text = f"FirecREST passes nothing on: {said(answer)}."
            return Unavailable(text, reason=SCHEDULER_UNAVAILABLE, sent=False, retry_after=answer.retry_after)
    return None


def refused(answer: Answer, held: FirecrestCredential) -> Unauthorized:
    """The error for 401, which comes before anything else."""
    fix = f"get a new one of the site's issuer, and write it under {TOKEN} into {held.place}"
    if held.client is not None:
        fix = f"check that token-url in {held.place} is of the issuer that the site trusts"
    return Unauthorized(f"FirecREST refused the token: {said(answer)}; {fix}.", reason="TokenRefused")


def ended(answer: Answer) -> bool:
    """Whether a cancel failed because there is nothing left to cancel."""
    message = (message_of(answer) or "").lower()
    return any(words.lower() in message for words in ENDED)


def no_file(answer: Answer) -> bool:
    """Whether a file operation failed because the file is not there."""
    message = message_of(answer) or ""
    return any(words in message for words in NO_FILE)


def not_permitted(answer: Answer) -> bool:
    """Whether a file operation failed because the site's user may not."""
    return _PERMISSION in (message_of(answer) or "")


def read(answer: Answer) -> dict[str, Any]:
    """The body of a successful read. Raises Unauthorized, Invalid or Unavailable."""
    body = answer.json()
    if body is None or answer.status != _HTTP_OK or "errorType" in body:
        raise failure(answer)
    return body


def _is_validation(answer: Answer) -> bool:
    return (answer.json() or {}).get("errorType") == "validation"


_HTTP_OK = 200

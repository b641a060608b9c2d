"""What slurmrestd's errors mean, by Slurm's own number.

The HTTP status of one and the same refusal is 500 in 22.05 and 24.11 and 422 in 26.05, and slurmdbd's failure can come
with 200: so the number decides, and the status only where there is no number. Whatever no table names is unknown, and
unknown is never a refusal.
"""

from __future__ import annotations

from typing import Any

from passerelle.errors import PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.http import BUSY, Answer
from passerelle.gateways.secret import TOKEN
from passerelle.gateways.windows import QUERY_TOO_WIDE, TOO_WIDE

REFUSALS = {
    2000: "InvalidPartition",
    2001: "PartitionMissing",
    2002: "AccessDenied",
    2003: "PartitionNotAllowed",
    2004: "NodesNotInPartition",
    2005: "TooManyCpus",
    2006: "InvalidNodeCount",
    2008: "SizeMissing",
    2009: "ScriptMissing",
    2012: "TooLong",
    2014: "NodeConfigurationUnavailable",
    2015: "PartitionConfigurationUnavailable",
    2018: "InvalidNodeName",
    2029: "InvalidFeature",
    2038: "InvalidDependency",
    2045: "InvalidAccount",
    2051: "InvalidTimeLimit",
    2053: "InvalidReservation",
    2063: "WorkingDirectoryMissing",
    2066: "InvalidQos",
    2072: "InvalidGres",
    2115: "InvalidTres",
    2127: "EnvironmentMissing",
}
"""The scheduler read the request and will say the same tomorrow."""

POLICIES = {2007: "TooManyJobs", 2050: "PolicyLimit"}
"""The scheduler said no to this many, now. 2050 is the one number of all limits of associations and QoS, MaxSubmitJobs
among them, and covers a too long time limit as well: the number can't tell.
"""

NOT_UNDERSTOOD = range(9000, 9218)
"""slurmrestd could not parse the request: a bug of ours, or a release that nobody knows. Nothing was submitted."""

NOTHING_FOUND = 9003
UNKNOWN_JOB, ENDED_JOB = 2017, 2021
DATABASE = range(7000, 7100)
TOO_WIDE_A_QUERY = 7007
"""ESLURM_DB_QUERY_TOO_WIDE, of MaxQueryTimeRange."""
AUTHENTICATION = frozenset({1007, *range(6000, 6100)})
_HARMLESS = frozenset({0, NOTHING_FOUND, UNKNOWN_JOB})
_AUTHENTICATION_STATUS = frozenset({401, 511})
_BUSY_STATUS = frozenset({429, 503})
_OK = 200
_NUMBER_KEYS = ("error_number", "error_code", "errno")
_SAYS_NOTHING = "Batch job submission failed"
"""Stands beside the cause in refusals of a submit."""


def errors_of(body: dict[str, Any] | None) -> list[tuple[int | None, str]]:
    """(number, text) of each error in an answer. 22.05 writes the number as error_number, error_code or errno."""
    found = (body or {}).get("errors")
    return [_error(each) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def numbers_of(body: dict[str, Any] | None) -> set[int]:
    return {number for number, _ in errors_of(body) if number is not None}


def refusal(answer: Answer, place: str) -> PasserelleError:
    """The error for a submit or a cancel that was not accepted: Rejected, Unauthorized, or Unavailable(sent=True)."""
    errors = errors_of(answer.json())
    for number, text in errors:
        if number in REFUSALS or number in POLICIES:
            reason = REFUSALS.get(number) or POLICIES[number]
            return Rejected(f"Slurm refused the job: {text}.", reason=reason, transient=number in POLICIES)
    if any(number in NOT_UNDERSTOOD for number, _ in errors):
        texts = "; ".join(text for _, text in errors)
        return Rejected(f"slurmrestd did not understand the request: {texts}.", reason="NotUnderstood")
    return failure(answer, place)


def not_ended(answer: Answer, place: str, reason: str) -> PasserelleError:
    """The error for a job that was not cancelled or signalled. A number that no table names is an answer all the same,
    about this job: where nobody answered, the looks fail.
    """
    error = refusal(answer, place)
    if isinstance(error, Unavailable) and error.reason == "SchedulerUnavailable":
        said = "; ".join(text for _, text in errors_of(answer.json()))
        return Unavailable(f"Slurm did not end the job: {said}.", reason=reason)
    return error


def failure(answer: Answer, place: str) -> PasserelleError:
    """The error for an answer that is neither success nor refusal: Unauthorized, or Unavailable(sent=True). `place` is
    where the token is written.
    """
    errors = errors_of(answer.json())
    numbers = {number for number, _ in errors}
    said = "; ".join(text for _, text in errors) or f"HTTP {answer.status}"
    if numbers & AUTHENTICATION or answer.status in _AUTHENTICATION_STATUS:
        fix = f"make a new one at the site (`scontrol token`), and write it under {TOKEN} into {place}"
        return Unauthorized(f"Slurm refused the token: {said}; {fix}.", reason="TokenRefused")
    if TOO_WIDE_A_QUERY in numbers:
        return Unavailable(TOO_WIDE, reason=QUERY_TOO_WIDE)
    if any(number in DATABASE for number in numbers):
        return Unavailable(f"Slurm's accounting does not answer: {said}.", reason="AccountingUnavailable")
    if answer.status in _BUSY_STATUS:
        return Unavailable(f"The gateway is busy: {said}.", reason=BUSY, retry_after=answer.retry_after)
    reason = "SchedulerUnavailable" if numbers else "UnexpectedAnswer"
    return Unavailable(f"Slurm does not answer: {said}.", reason=reason, retry_after=answer.retry_after)


def refuses_token(answer: Answer) -> bool:
    return answer.status != _OK and isinstance(failure(answer, ""), Unauthorized)


def read(answer: Answer, place: str) -> dict[str, Any]:
    """The body of a successful read. Raises Unauthorized or Unavailable.

    200 alone proves nothing: with slurmdbd dead 22.05 answers a search with 200, an empty list and error 7000.
    """
    body = answer.json()
    if body is None or answer.status != _OK or numbers_of(body) - _HARMLESS:
        raise failure(answer, place)
    return body


def _error(each: dict[str, Any]) -> tuple[int | None, str]:
    number = next((each[key] for key in _NUMBER_KEYS if isinstance(each.get(key), int)), None)
    texts = [text.rstrip(".") for key in ("error", "description") if isinstance(text := each.get(key), str)]
    return number, ", ".join(text for text in texts if text not in ("", _SAYS_NOTHING)) or f"error {number}"

"""Answers as 22.05, 24.11 and 26.05 gave them, and whose turn it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passerelle.errors import PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.http import Answer
from passerelle.gateways.slurmrestd.errors import POLICIES, REFUSALS, failure, not_ended, read, refusal

PLACE = "the Secret ns/slurm"


def answer(status: int, *errors: dict[str, Any], **body: Any) -> Answer:
    return Answer(status, "application/json", json.dumps({"errors": list(errors), **body}).encode())


def text(status: int, words: str = "Authentication failure") -> Answer:
    return Answer(status, "text/plain", words.encode())


def numbered(number: int, words: str = "Some words", key: str = "error_number") -> dict[str, Any]:
    return {key: number, "error": words}


@pytest.mark.parametrize("number", sorted(REFUSALS | POLICIES))
@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("key", ["error_number", "error_code", "errno"])
def test_refusals_go_by_number(number: int, status: int, key: str) -> None:
    error = refusal(answer(status, numbered(number, "Invalid qos specification", key)), PLACE)

    assert isinstance(error, Rejected)
    assert error.reason == (REFUSALS | POLICIES)[number]
    assert error.transient is (number in POLICIES)
    assert "Invalid qos specification" in error.message


def test_reasons_are_single_camel_case_words() -> None:
    assert all(reason.isalpha() and reason[0].isupper() for reason in (REFUSALS | POLICIES).values())
    assert not set(REFUSALS) & set(POLICIES)


@pytest.mark.parametrize(
    "given, kind, reason",
    [
        (answer(511, numbered(1007)), Unauthorized, "TokenRefused"),
        (answer(500, numbered(6001)), Unauthorized, "TokenRefused"),
        (answer(511), Unauthorized, "TokenRefused"),
        (text(401), Unauthorized, "TokenRefused"),
        (answer(502, numbered(1800)), Unavailable, "SchedulerUnavailable"),
        (answer(504, numbered(5004)), Unavailable, "SchedulerUnavailable"),
        (answer(500, numbered(5005)), Unavailable, "SchedulerUnavailable"),
        (answer(500, numbered(-1)), Unavailable, "SchedulerUnavailable"),
        (answer(403, numbered(1, "Operation not permitted")), Unavailable, "SchedulerUnavailable"),
        (answer(500, numbered(2019)), Unavailable, "SchedulerUnavailable"),
        (answer(502, numbered(7000)), Unavailable, "AccountingUnavailable"),
        (answer(200, numbered(7000), jobs=[]), Unavailable, "AccountingUnavailable"),
        (answer(200), Unavailable, "UnexpectedAnswer"),
        (text(404, "Unable to find requested URL"), Unavailable, "UnexpectedAnswer"),
        (text(429, ""), Unavailable, "Busy"),
        (text(302, ""), Unavailable, "UnexpectedAnswer"),
        (Answer(200, "application/json", b"{"), Unavailable, "UnexpectedAnswer"),
        (Answer(200, "text/html", b"<html>"), Unavailable, "UnexpectedAnswer"),
    ],
)
def test_everything_else_of_a_submit(given: Answer, kind: type[PasserelleError], reason: str) -> None:
    error = refusal(given, PLACE)

    assert type(error) is kind
    assert error.reason == reason
    if isinstance(error, Unavailable):
        assert error.sent


def test_field_that_v38_does_not_know() -> None:
    error = refusal(
        answer(400, {"description": 'Unknown key "nonsense"'}, numbered(9001, "Failure during parsing")), PLACE
    )

    assert isinstance(error, Rejected)
    assert (error.reason, error.transient) == ("NotUnderstood", False)
    assert "nonsense" in error.message


def test_the_cause_is_found_behind_the_parser_s_complaint() -> None:
    error = refusal(answer(400, numbered(9001), numbered(2127, "environment must be set")), PLACE)

    assert error.reason == "EnvironmentMissing"


@pytest.mark.parametrize(
    "error, words",
    [
        (
            {"error": "More processors requested than permitted", "description": "Batch job submission failed"},
            "More processors requested than permitted",
        ),
        ({"error": "Batch job submission failed.", "description": "Invalid qos."}, "Invalid qos"),
        ({"error": "Batch job submission failed"}, "error 2005"),
        ({"error": "Parsing", "description": "not a number"}, "Parsing, not a number"),
    ],
)
def test_a_refusal_says_the_cause_alone(error: dict[str, str], words: str) -> None:
    assert refusal(answer(500, {"error_number": 2005, **error}), PLACE).message == f"Slurm refused the job: {words}."


@pytest.mark.parametrize("number", [2020, 2023, 5005])
def test_a_number_that_no_table_names_is_an_answer_about_the_job_that_was_to_end(number: int) -> None:
    error = not_ended(answer(500, numbered(number)), PLACE, "CancelFailed")

    assert isinstance(error, Unavailable)
    assert error.sent
    assert (error.reason, error.message) == ("CancelFailed", "Slurm did not end the job: Some words.")
    for other, reason in ((answer(503), "Busy"), (answer(500), "UnexpectedAnswer"), (text(401), "TokenRefused")):
        assert not_ended(other, PLACE, "CancelFailed").reason == reason


def test_retry_after_is_passed_on() -> None:
    error = failure(Answer(503, "text/plain", b"", {"retry-after": "9"}), PLACE)

    assert isinstance(error, Unavailable)
    assert error.retry_after == 9.0


@pytest.mark.parametrize("number", [0, 2017, 9003])
def test_reads_pass_over_harmless_numbers(number: int) -> None:
    assert read(answer(200, numbered(number), jobs=[]), PLACE)["jobs"] == []


@pytest.mark.parametrize(
    "given", [answer(200, numbered(7000), jobs=[]), answer(200, numbered(1234), jobs=[]), text(200)]
)
def test_an_empty_list_with_an_error_is_no_answer(given: Answer) -> None:
    with pytest.raises(Unavailable):
        read(given, PLACE)

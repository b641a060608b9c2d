"""Recorded answers, each with what it means for a submit and for a read."""

from __future__ import annotations

import json

import pytest

from passerelle.errors import Invalid, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.firecrest import errors, system
from passerelle.gateways.http import Answer

SCRIPT = "#!/bin/bash\nexport hf_token=hf_secret\n"


def answer(status: int, message: str | None = None, kind: str = "error", **headers: str) -> Answer:
    if message is None:
        return Answer(status, "text/html", b"<html>oops</html>", headers)
    body = {"errorType": kind, "message": message, "causedBy": None, "data": None, "user": "ada"}
    return Answer(status, "application/json", json.dumps(body).encode(), headers)


IN_DOUBT = [
    answer(408, "Command execution timeout limit exceeded."),
    answer(424, "Unable to establish SSH connection."),
    answer(500, "('Channel not open for sending',)"),
    answer(500, "Unable to submit new job"),
    answer(
        500,
        "Unexpected Slurm command response. exit_status:1 std_err:sbatch: error: Batch job submission failed: "
        "Unable to contact slurm controller (connect failure)\n",
    ),
    answer(413, "Command output exceeded buffer limit."),
    answer(400),
    answer(404),
    answer(500),
    answer(502),
    answer(503),
    answer(504),
    answer(302),
]


@pytest.mark.parametrize("each", IN_DOUBT, ids=lambda each: f"{each.status}-{errors.message_of(each)}"[:60])
def test_submit_that_may_have_been_taken(each: Answer) -> None:
    found = errors.refusal(each)

    assert isinstance(found, Unavailable)
    assert found.sent


@pytest.mark.parametrize(
    "each, kind, reason",
    [
        (answer(400, "1 validation error", "validation"), Rejected, "NotUnderstood"),
        (answer(413), Rejected, "TooLong"),
        (answer(501, "Scheduler can't handle this request when configured to use rest"), Rejected, "NotUnderstood"),
        (answer(403, "Not authorized to access system"), Unauthorized, "AccessDenied"),
        (answer(404, "System not found"), Invalid, "SystemNotFound"),
        (
            answer(
                403, "Job submission rejected: accounting/QOS policy limit exceeded. sbatch: error: QOSMaxJobsLimit"
            ),
            Rejected,
            "PolicyLimit",
        ),
    ],
)
def test_submit_that_was_not_taken(each: Answer, kind: type[PasserelleError], reason: str) -> None:
    found = errors.refusal(each)

    assert type(found) is kind
    assert found.reason == reason


@pytest.mark.parametrize(
    "each, wait",
    [
        (answer(429, **{"retry-after": "7"}), 7.0),
        (answer(429, **{"ratelimit-reset": "3"}), 3.0),
        (answer(429, "API rate limit exceeded"), 30.0),
        (answer(503, "The scheduler service for the requested system (alps) is unhealthy."), 30.0),
    ],
)
def test_submit_that_was_not_passed_on(each: Answer, wait: float | None) -> None:
    found = errors.refusal(each)

    assert isinstance(found, Unavailable)
    assert (found.sent, found.retry_after) == (False, wait)


@pytest.mark.parametrize("echo", [SCRIPT, SCRIPT.lower(), SCRIPT.upper(), repr(SCRIPT)])
@pytest.mark.parametrize("status", [400, 500, 408, 403])
def test_what_was_sent_is_in_no_message(status: int, echo: str) -> None:
    for kind in ("validation", "error"):
        each = answer(status, f"1 validation error: {{'job': {{'script': '{echo}'}}}}", kind)
        for found in (errors.refusal(each), errors.failure(each)):
            assert "secret" not in found.message.lower()


def test_second_line_of_a_message_is_not_told() -> None:
    each = answer(500, "Unexpected Slurm command response. exit_status:1 std_err:sbatch: error: oops\nhf_secret\n")

    assert "oops" in errors.failure(each).message
    assert "hf_secret" not in errors.failure(each).message


def test_a_good_read_is_json_without_an_error() -> None:
    good = Answer(200, "application/json", b'{"jobs": []}')

    assert errors.read(good) == {"jobs": []}
    for bad in (answer(200), answer(200, "oops"), answer(500, "oops"), Answer(200, "application/json", b"[]")):
        with pytest.raises(Unavailable):
            errors.read(bad)


def systems(**entry: object) -> dict[str, object]:
    return {"systems": [{"name": "Alps", "scheduler": {"type": "slurm", "version": "24.11"}, **entry}]}


@pytest.mark.parametrize(
    "scheduler, mode",
    [
        ({"type": "slurm", "connectionMode": "ssh", "apiUrl": "http://rest"}, "ssh"),
        ({"type": "slurm", "connectionMode": "hybrid"}, "hybrid"),
        ({"type": "slurm", "connectionMode": "rest"}, "rest"),
        ({"type": "slurm", "connectionMode": "new"}, "rest"),
        ({"type": "slurm", "apiUrl": "http://rest"}, "rest"),
        ({"type": "slurm"}, "ssh"),
    ],
)
def test_mode_of_old_and_new_servers(scheduler: dict[str, object], mode: str) -> None:
    assert system.find(systems(scheduler=scheduler), "alps").mode == mode


def test_services_that_are_needed_and_unwell() -> None:
    services = [
        {"serviceType": "scheduler", "healthy": False, "message": "ping: DOWN\nat length"},
        {"serviceType": "ssh", "healthy": True},
        {"serviceType": "s3", "healthy": False},
    ]

    assert system.find(systems(servicesHealth=services), "alps").trouble == "scheduler is unhealthy, ping: DOWN"
    assert system.find(systems(servicesHealth=services[1:]), "alps").trouble == ""
    assert system.find(systems(servicesHealth=None), "alps").trouble == ""


def test_other_scheduler_is_refused() -> None:
    with pytest.raises(Invalid, match="is pbs"):
        system.find(systems(scheduler={"type": "pbs"}), "alps")


def test_limit_of_file_operations() -> None:
    assert system.find(systems(dataOperation={"max_ops_file_size": 10}), "alps").ops_limit == 10
    assert system.find(systems(), "alps").ops_limit == system.OPS_LIMIT

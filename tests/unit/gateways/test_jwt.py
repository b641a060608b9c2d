"""What is read from a token before it is sent: whatever somebody wrote into it, it is no defect of ours."""

from __future__ import annotations

import base64

import pytest

from passerelle.attempts import rfc3339
from passerelle.gateways.arc.credential import credential_from_secret as of_arc
from passerelle.gateways.firecrest.credential import credential_from_secret as of_firecrest
from passerelle.gateways.jwt import claims_of, moment


def token(claims: str) -> str:
    return f"head.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.signature"


def test_claims_are_read_without_a_key() -> None:
    assert claims_of(token('{"sub": "ada", "exp": 12}')) == {"sub": "ada", "exp": 12}


@pytest.mark.parametrize(
    "text",
    ["opaque", "a.b", "a.!.c", token("no JSON"), token("[1]"), token("[" * 100_000 + "]" * 100_000)],
    ids=["opaque", "two parts", "no base64", "no JSON", "no object", "too deep"],
)
def test_what_is_no_such_token_has_no_claims(text: str) -> None:
    assert claims_of(text) == {}


@pytest.mark.parametrize("claim", [None, "soon", [1], 0, -5, 1e300, float("inf"), float("nan"), 10**400])
def test_what_is_no_time_is_none(claim: object) -> None:
    assert moment(claim) is None


def test_every_time_can_be_written_into_a_status() -> None:
    latest = moment(253_402_214_400)

    assert rfc3339(latest) == "9999-12-31T00:00:00Z"
    assert moment(253_402_214_401) is None


@pytest.mark.parametrize("end", ["0", "1e999"])
def test_a_token_without_an_end_has_none_behind_any_door(end: str) -> None:
    told = token(f'{{"sub": "ada", "iss": "https://issuer", "exp": {end}}}').encode()

    assert of_arc("ns/s", {"token": told}).expires is None
    assert of_firecrest("ns/s", {"token": told}).expires is None

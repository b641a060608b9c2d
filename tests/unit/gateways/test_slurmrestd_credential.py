from __future__ import annotations

import base64
import json

import pytest

from passerelle.errors import Unauthorized
from passerelle.gateways.slurmrestd.credential import (
    TokenCredential,
    credential_from_secret,
    headers_of,
    refuse_expired,
)


def token(**claims: object) -> bytes:
    parts = [json.dumps(each).encode() for each in ({"alg": "HS256"}, claims)]
    return b".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts), b"c2ln"])


def test_user_and_end_come_from_the_token() -> None:
    credential = credential_from_secret(
        "ns/lumi", {"token": b"SLURM_JWT=" + token(sun="ada", exp=2000, iat=1000) + b"\n"}
    )

    assert (credential.user, credential.issued, credential.expires) == ("ada", 1000.0, 2000.0)
    assert not credential.token.startswith("SLURM_JWT")


def test_a_credential_shows_no_token() -> None:
    credential = credential_from_secret("ns/lumi", {"token": b"opaque", "username": b"ada"})

    assert repr(credential) == "TokenCredential(user='ada', expires=None, issued=None, client=None)"


def test_opaque_token_needs_a_username() -> None:
    assert credential_from_secret("ns/lumi", {"token": b"opaque", "username": b"ada"}) == TokenCredential(
        user="ada", token="opaque"
    )


@pytest.mark.parametrize(
    "data, reason, fix",
    [
        ({}, "TokenMissing", "write the site's token under token."),
        ({"token": b"  "}, "TokenMissing", "write the site's token under token."),
        ({"token": b"opaque"}, "UsernameMissing", "write the site's user name under username."),
        (
            {"token": b"\xff", "username": b"ada"},
            "TokenMalformed",
            "more than plain ASCII under token; write it without line breaks.",
        ),
        (
            {"token": token(sun="ada"), "username": b"bob"},
            "UserMismatch",
            "write ada under username, or a token of bob under token.",
        ),
    ],
)
def test_what_is_wrong_with_a_secret_and_what_to_write(data: dict[str, bytes], reason: str, fix: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        credential_from_secret("ns/lumi", data)

    assert caught.value.reason == reason
    assert caught.value.message.startswith("The Secret ns/lumi ")
    assert caught.value.message.endswith(fix)


def test_mismatch_names_both_users_and_no_token() -> None:
    with pytest.raises(Unauthorized, match=r"bob.*ada") as caught:
        credential_from_secret("ns/lumi", {"token": token(sun="ada"), "username": b"bob"})

    assert "eyJ" not in str(caught.value)


def test_expired_token_is_told_before_any_call() -> None:
    refuse_expired(TokenCredential(user="ada", token="t", expires=2000.0), 1999.0)
    refuse_expired(TokenCredential(user="ada", token="t", expires=None), 1e12)
    with pytest.raises(Unauthorized, match=r"2 h ago"):
        refuse_expired(TokenCredential(user="ada", token="t", expires=2000.0), 2000.0 + 7300)


def test_token_with_a_line_break_is_no_header() -> None:
    with pytest.raises(Unauthorized):
        headers_of(TokenCredential(user="ada", kept="ns/slurm"), "a\r\nX-Evil: 1")

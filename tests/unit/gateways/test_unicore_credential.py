"""What a Secret must hold, and what is told where it doesn't."""

from __future__ import annotations

import pytest

from passerelle.errors import Unauthorized
from passerelle.gateways.unicore.credential import UnicoreCredential, basic, credential_from_secret
from unit.gateways.unicore_server import jwt


def secret(**data: str) -> UnicoreCredential:
    return credential_from_secret("ns/jsc", {key: value.encode() for key, value in data.items()})


def test_a_login_and_its_password() -> None:
    held = secret(username="ada@example.eu", password="säcret\n")

    assert (held.user, held.password, held.token, held.expires) == ("ada@example.eu", "säcret", "", None)
    assert basic(held) == "Basic YWRhQGV4YW1wbGUuZXU6c8OkY3JldA=="


def test_a_token_tells_whose_it_is_and_when_it_ends() -> None:
    held = secret(token=jwt(sub="CN=Ada", preferred_username="ada", exp=2_000_000_000))

    assert (held.user, held.expires) == ("ada", 2_000_000_000.0)


def test_an_opaque_token_is_taken_as_it_is() -> None:
    assert (secret(token="opaque").user, secret(token="opaque").expires) == ("", None)


def test_one_account_of_several_is_chosen_by_uid() -> None:
    held = secret(token=jwt(sub="CN=Ada"), uid="ada2")

    assert (held.uid, held.user) == ("ada2", "ada2")


@pytest.mark.parametrize(
    "data, reason, told",
    [
        ({}, "PasswordMissing", "write username and password, or token"),
        ({"username": "ada"}, "PasswordMissing", "no key password"),
        ({"password": "x"}, "UsernameMissing", "under username"),
        ({"username": "a:b", "password": "x"}, "UsernameMissing", "without a colon"),
        ({"username": "ada", "password": "x", "token": "y"}, "CredentialAmbiguous", "leave one"),
        ({"token": "a\nb"}, "TokenMalformed", "under token"),
        ({"token": "é"}, "TokenMalformed", "under token"),
        ({"token": "t", "uid": "a\tb"}, "TokenMalformed", "under uid"),
    ],
)
def test_what_is_missing_is_said(data: dict[str, str], reason: str, told: str) -> None:
    with pytest.raises(Unauthorized, match=told) as caught:
        secret(**data)

    assert caught.value.reason == reason
    assert "ns/jsc" in caught.value.message


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(Unauthorized, match="under password"):
        credential_from_secret("ns/jsc", {"username": b"ada", "password": b"\xff"})


def test_no_secret_is_shown() -> None:
    shown = repr(secret(username="ada", password="geheim")) + repr(secret(token="geheim"))

    assert "geheim" not in shown

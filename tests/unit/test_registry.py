"""Which login is for which image, as a kubelet has it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from passerelle.registry import LOGIN_LIMIT, Login, host, login


def auth(login_: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{login_}:pw".encode()).decode()}


def chosen(image: str, **auths: Any) -> str | None:
    found = login(image, [json.dumps({"auths": auths}).encode()])
    return found.username if found else None


@pytest.mark.parametrize(
    "image, registry",
    [
        ("nvcr.io/nvidia/pytorch@sha256:" + "a" * 64, "nvcr.io"),
        ("localhost:5000/train:7", "localhost:5000"),
        ("nvidia/cuda:12", "docker.io"),
        ("python", "docker.io"),
        ("python:3", "docker.io"),
        ("index.docker.io/library/python", "docker.io"),
    ],
)
def test_an_image_s_registry(image: str, registry: str) -> None:
    assert host(image) == registry


@pytest.mark.parametrize(
    "image, address",
    [
        ("ghcr.io/lab/train:7", "ghcr.io"),
        ("ghcr.io/lab/train:7", "https://ghcr.io"),
        ("ghcr.io/lab/train:7", "https://ghcr.io/v2/"),
        ("ghcr.io/lab/train:7", "ghcr.io/lab"),
        ("ghcr.io/lab/train:7", "ghcr.io/lab/train"),
        ("localhost:5000/train", "localhost:5000"),
        ("nvidia/cuda", "https://index.docker.io/v1/"),
        ("docker.io/nvidia/cuda", "docker.io"),
    ],
)
def test_an_address_that_the_name_begins_with_fits(image: str, address: str) -> None:
    assert chosen(image, **{address: auth("alice")}) == "alice"


@pytest.mark.parametrize("address", ["quay.io", "ghcr.io/la", "ghcr.io/lab/train/more", "ghcr.io.example", "io"])
def test_another_address_does_not(address: str) -> None:
    assert chosen("ghcr.io/lab/train:7", **{address: auth("alice")}) is None


def test_the_longest_address_counts() -> None:
    assert (
        chosen("ghcr.io/lab/train", **{"ghcr.io": auth("a"), "ghcr.io/lab": auth("b"), "ghcr.io/x": auth("c")}) == "b"
    )


def test_a_password_may_have_colons_and_auth_counts_alone() -> None:
    entry = {"username": "x", "password": "y", "auth": base64.b64encode(b"alice:a:b:c").decode()}

    assert login("ghcr.io/a", [json.dumps({"auths": {"ghcr.io": entry}}).encode()]) == Login("alice", "a:b:c")
    assert "a:b:c" not in repr(Login("alice", "a:b:c"))


def test_only_the_entry_that_fits_best_is_looked_into() -> None:
    assert chosen("ghcr.io/lab/train", **{"ghcr.io": {"identitytoken": "x"}, "ghcr.io/lab": auth("b")}) == "b"


@pytest.mark.parametrize(
    "username, password",
    [("alice", ""), ("", "pw"), ("alice", "\0"), ("alice", "\ud800"), ("alice", "x" * LOGIN_LIMIT)],
)
def test_a_login_is_one_that_a_process_can_be_given(username: str, password: str) -> None:
    with pytest.raises(ValueError, match="a user name and a password"):
        chosen("ghcr.io/a", **{"ghcr.io": {"username": username, "password": password}})


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b"{}",
        b'{"auths": 7}',
        b'{"auths": ["ab"]}',
        b'{"auths": {"ghcr.io": {"auth": "?"}}}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_such_file_is_refused(told: bytes) -> None:
    with pytest.raises(ValueError, match="dockerconfigjson"):
        login("ghcr.io/a", [told])

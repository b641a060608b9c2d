"""The login with which an image is pulled, out of Secrets as `kubectl create secret docker-registry` writes them. Pure.

As in a Pod: of the logins whose address the image's name begins with, the one with the longest address counts.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

KEY = ".dockerconfigjson"
LOGIN_LIMIT = 16 * 1024
"""Bytes of a user name with its password: both become variables of a process, which the kernel bounds."""
_HUB = "docker.io"
_HUB_NAMES = frozenset({_HUB, "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True)
class Login:
    """Who pulls."""

    username: str = field(repr=False)
    password: str = field(repr=False)


def host(image: str) -> str:
    """The registry of an image's name; Docker's where it names none."""
    return _place(_untagged(image)).partition("/")[0]


def login(image: str, configurations: Iterable[bytes]) -> Login | None:
    """The login for an image, the first of those that fit alike; None where there is none. Raises ValueError, whose
    text holds nothing of them, for what is no such file.
    """
    place, best = f"{_place(_untagged(image))}/", ""
    found: list[Any] = []  # the best entry, which alone is looked into
    for each in configurations:
        for address, entry in _entries(each).items():
            known = _place(re.sub(r"^https?://|/(v[12]/?)?$", "", address))
            if place.startswith(f"{known}/") and len(known) > len(best):
                best, found = known, [entry]
    return _login(found[0]) if found else None


def _untagged(image: str) -> str:
    """An image's name without tag and digest."""
    return re.sub(r":[^/]*$", "", image.partition("@")[0])


def _place(name: str) -> str:
    """A name with its registry in front, or a registry's name, under the one of its names that counts here."""
    first, slash, rest = name.partition("/")
    if not ("." in first or ":" in first or first == "localhost"):
        return f"{_HUB}/{name}"
    return (_HUB if first in _HUB_NAMES else first) + slash + rest


def _entries(configuration: bytes) -> dict[str, Any]:
    try:
        told = json.loads(configuration)["auths"]
    except (ValueError, KeyError, TypeError, RecursionError):
        told = None
    if not isinstance(told, dict):
        text = f"{KEY} is no such file; create the Secret with kubectl create secret docker-registry"
        raise ValueError(text) from None  # noqa: TRY004 -- one error for whatever it is
    return told


def _login(entry: Any) -> Login:  # noqa: ANN401 -- whatever stands in the file
    """`auth` is both in one, in base64, and counts alone."""
    told = entry if isinstance(entry, dict) else {}
    username, password = told.get("username"), told.get("password")
    if isinstance(told.get("auth"), str):
        try:
            username, _, password = base64.b64decode(told["auth"], validate=True).decode().partition(":")
        except ValueError:
            username = None
    if not (isinstance(username, str) and isinstance(password, str) and _is_text(username) and _is_text(password)):
        raise ValueError(f"{KEY} has an entry without a user name and a password; write both") from None
    if len((username + password).encode()) > LOGIN_LIMIT:
        raise ValueError(f"{KEY} has a user name and a password of more than {LOGIN_LIMIT} bytes; write shorter ones")
    return Login(username, password)


def _is_text(word: str) -> bool:
    """Whether a variable can hold it, and there is something to hold."""
    return bool(word) and "\0" not in word and not any("\ud800" <= each <= "\udfff" for each in word)

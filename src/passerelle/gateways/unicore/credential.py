"""What a Secret must hold for UNICORE: a login and its password, or a token.

With a password the driver fetches tokens of the server by itself, so nothing expires. A token, of the site's OpenID
Connect or of UNICORE, ends when it says so, and a person replaces it in time.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from passerelle.errors import Unauthorized
from passerelle.gateways.base import Credential

USERNAME, PASSWORD, TOKEN, UID = "username", "password", "token", "uid"
KEYS = "username and password, or token"
_NAMES = ("preferred_username", "sub")
_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UnicoreCredential(Credential):
    """`password` or `token`, never both. `uid` is the account at the site to use, where one login has several."""

    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    uid: str = ""


def credential_from_secret(name: str, data: Mapping[str, bytes]) -> UnicoreCredential:
    """The credential in a Secret's keys: `username` and `password`, or `token`; and `uid`, where it is wanted.

    `name` is namespace/name, for messages. Raises Unauthorized with what is missing.
    """
    username, token = _text(name, data, USERNAME), _text(name, data, TOKEN)
    password, uid = _text(name, data, PASSWORD), _text(name, data, UID)
    if token and password:
        text = f"The Secret {name} has both a password and a token; leave one of them out."
        raise Unauthorized(text, reason="CredentialAmbiguous")
    if token:
        claims = claims_of(token)
        said = next((str(claims[key]) for key in _NAMES if claims.get(key)), "")
        ends = claims.get("exp")
        expires = float(ends) if isinstance(ends, int | float) else None
        return UnicoreCredential(user=uid or username or said, token=token, uid=uid, expires=expires)
    if not password:
        text = f"The Secret {name} has no key password and no key token; write username and password, or token."
        raise Unauthorized(text, reason="PasswordMissing")
    if not username or ":" in username:
        text = f"The Secret {name} needs the site's login under username, without a colon, beside its password."
        raise Unauthorized(text, reason="UsernameMissing")
    return UnicoreCredential(user=username, password=password, uid=uid)


def basic(credential: UnicoreCredential) -> str:
    """The Authorization header of a login and its password."""
    pair = f"{credential.user}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def claims_of(token: str) -> dict[str, Any]:
    """A token's claims, unverified; empty where it is no JSON Web Token: only the site can judge it then."""
    parts = token.split(".")
    if len(parts) != _PARTS:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _text(name: str, data: Mapping[str, bytes], key: str) -> str:
    """One line of text. What a header can't carry is refused here, where it can be told."""
    try:
        text = data.get(key, b"").decode("utf-8").strip()
    except UnicodeDecodeError:
        text = "\n"
    if not text.isprintable() or (key in (TOKEN, UID) and not text.isascii()):
        raise Unauthorized(f"The Secret {name} has no plain line of text under {key}.", reason="TokenMalformed")
    return text

"""What a Secret must hold for UNICORE: a login and its password, a token, or an OIDC client.

With a password the driver fetches tokens of the server by itself, so nothing expires. A token, of the site's OpenID
Connect or of UNICORE, ends when it says so, and a person replaces it in time; those of an OIDC client are fetched.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from passerelle.errors import Unauthorized
from passerelle.gateways import oidc
from passerelle.gateways.base import Credential
from passerelle.gateways.jwt import claims_of, moment
from passerelle.gateways.oidc import Client
from passerelle.gateways.secret import token as token_in

USERNAME, PASSWORD, UID = "username", "password", "uid"
KEYS = f"username and password, or token, or an OIDC client: {oidc.KEYS}"
_NAMES = ("preferred_username", "sub")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnicoreCredential(Credential):
    """One of `password`, `token` and `client`. `uid` is the account at the site to use, where one login has several."""

    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    client: Client | None = None
    uid: str = ""


def credential_from_secret(name: str, data: Mapping[str, bytes]) -> UnicoreCredential:
    """The credential in a Secret's keys: `username` and `password`, or `token`; and `uid`, where it is wanted.

    `name` is namespace/name, for messages. Raises Unauthorized with what is missing.
    """
    username, token = _text(name, data, USERNAME), token_in(name, data)
    password, uid = _text(name, data, PASSWORD), _text(name, data, UID)
    client = oidc.client_in(name, data)
    if (bool(token), bool(password), client is not None).count(True) > 1:
        text = f"The Secret {name} has more than one of password, token and OIDC client; leave one."
        raise Unauthorized(text, reason="CredentialAmbiguous")
    if client is not None:
        user = uid or username or client.client_id
        return UnicoreCredential(user=user, client=client, uid=uid, expires=client.expires)
    if token:
        claims = claims_of(token)
        said = next((str(claims[key]) for key in _NAMES if claims.get(key)), "")
        ends = moment(claims.get("exp"))
        return UnicoreCredential(user=uid or username or said, token=token, uid=uid, expires=ends)
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


def _text(name: str, data: Mapping[str, bytes], key: str) -> str:
    """One line of text. What a header can't carry is refused here, where it can be told."""
    try:
        text = data.get(key, b"").decode("utf-8").strip()
    except UnicodeDecodeError:
        text = "\n"
    if not text.isprintable() or (key == UID and not text.isascii()):
        raise Unauthorized(f"The Secret {name} has no plain line of text under {key}.", reason="TokenMalformed")
    return text

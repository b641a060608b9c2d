"""A Slurm JSON Web Token: what it says of itself, read without its key.

slurmrestd never checks a token, it hands it on; what is wrong with it comes back as a number that differs from release
to release, or, from slurmdbd, not at all (a refused token and a dead database look alike: 7000). So what can be known
here is said here, in words, before a request is made.
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

USERNAME, TOKEN = "username", "token"
_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCredential(Credential):
    """A user name and a bearer token. `expires` is None where the token does not tell."""

    token: str = field(repr=False)


def credential_from_secret(name: str, data: Mapping[str, bytes]) -> TokenCredential:
    """The credential in a Secret's keys `token` and `username` (optional where the token names its user).

    `name` is namespace/name, for messages. `SLURM_JWT=…`, as `scontrol token` prints it, is taken, too. Raises
    Unauthorized with what is missing or differs.
    """
    token = _text(name, data, TOKEN).removeprefix("SLURM_JWT=")
    if not token:
        text = f"The Secret {name} has no key token, or it is empty; write the site's token under token."
        raise Unauthorized(text, reason="TokenMissing")
    claims = claims_of(token)
    holder = claims.get("sun")
    user = _text(name, data, USERNAME) or (holder if isinstance(holder, str) else "")
    if not user:
        text = (
            f"The Secret {name} has no key username, and its token does not name its user; write the site's user name "
            "under username."
        )
        raise Unauthorized(text, reason="UsernameMissing")
    if isinstance(holder, str) and holder != user:
        text = (
            f"The Secret {name} has username {user}, but its token is of {holder}; write {holder} under username, or a "
            f"token of {user} under token."
        )
        raise Unauthorized(text, reason="UserMismatch")
    return TokenCredential(user=user, token=token, expires=_time(claims.get("exp")), issued=_time(claims.get("iat")))


def claims_of(token: str) -> dict[str, Any]:
    """A token's claims, unverified. Slurm's own have `sun` (the user), `exp` and `iat` (epoch seconds).

    Empty where the text is no such token: a site may hand out others, and only the site can judge them.
    """
    parts = token.split(".")
    if len(parts) != _PARTS:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def refuse_expired(credential: Credential, now: float) -> None:
    """Raise Unauthorized for a token whose time is over by our clock, so that no request is spent on it."""
    if credential.expires is not None and credential.expires <= now:
        ago = _ago(now - credential.expires)
        text = f"The token of {credential.user} expired {ago} ago; write a new one under token into the Site's Secret."
        raise Unauthorized(text, reason="TokenExpired")


def headers_of(credential: TokenCredential) -> dict[str, str]:
    """Both headers, always: 22.05 demands the name, later releases refuse a name that isn't the token's.

    Raises Unauthorized where a value can't be a header (a line break inside a pasted token).
    """
    values = {"X-SLURM-USER-NAME": credential.user, "X-SLURM-USER-TOKEN": credential.token}
    if not all(value.isascii() and value.isprintable() for value in values.values()):
        text = "The Site's Secret holds a character that no name and no token has; write both without line breaks."
        raise Unauthorized(text, reason="TokenMalformed")
    return values


def _text(name: str, data: Mapping[str, bytes], key: str) -> str:
    try:
        return data.get(key, b"").decode("utf-8").strip()
    except UnicodeDecodeError:
        text = f"The Secret {name} has no text under {key}; write it as UTF-8."
        raise Unauthorized(text, reason="TokenMalformed") from None


def _time(claim: object) -> float | None:
    return float(claim) if isinstance(claim, int | float) else None


def _ago(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word}"
    return f"{int(seconds)} s"

"""A Slurm JSON Web Token: what it says of itself, read without its key.

slurmrestd never checks a token, it hands it on; what is wrong with it comes back as a number that differs from release
to release, or, from slurmdbd, not at all (a refused token and a dead database look alike: 7000). So what can be known
here is said here, in words, before a request is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from passerelle.errors import Unauthorized
from passerelle.gateways import oidc
from passerelle.gateways.base import Credential
from passerelle.gateways.jwt import claims_of, moment
from passerelle.gateways.oidc import Client
from passerelle.gateways.secret import TOKEN
from passerelle.gateways.secret import token as token_in

USERNAME = "username"
KEYS = f"{USERNAME} and {TOKEN}, or {USERNAME} and an OIDC client: {oidc.KEYS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCredential(Credential):
    """A user name, and a token or the OIDC client that gets tokens. `expires` is None where neither tells."""

    token: str = field(default="", repr=False)
    client: Client | None = None


def credential_from_secret(name: str, data: Mapping[str, bytes]) -> TokenCredential:
    """The credential in a Secret's keys `token` and `username` (optional where the token names its user), or those of
    an OIDC client, whose tokens a site with AuthAltParameters=jwks takes: then `username` says whom it takes them for.

    `name` is namespace/name, for messages. `SLURM_JWT=…`, as `scontrol token` prints it, is taken, too. Raises
    Unauthorized with what is missing or differs.
    """
    client = oidc.client_in(name, data)
    if client is not None:
        return _of_client(name, data, client)
    token = token_in(name, data).removeprefix("SLURM_JWT=")
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
    return TokenCredential(user=user, token=token, expires=moment(claims.get("exp")), issued=moment(claims.get("iat")))


def _of_client(name: str, data: Mapping[str, bytes], client: Client) -> TokenCredential:
    if data.get(TOKEN, b"").strip():
        text = f"The Secret {name} has both a token and an OIDC client; leave one of them out."
        raise Unauthorized(text, reason="CredentialAmbiguous")
    user = _text(name, data, USERNAME)
    if not user:
        text = f"The Secret {name} has no key username; write the site's user name there, beside its OIDC client."
        raise Unauthorized(text, reason="UsernameMissing")
    return TokenCredential(user=user, client=client, expires=client.expires)


def refuse_expired(credential: Credential, now: float) -> None:
    """Raise Unauthorized for a token whose time is over by our clock, so that no request is spent on it."""
    if credential.expires is not None and credential.expires <= now:
        ago = _ago(now - credential.expires)
        text = f"The token of {credential.user} expired {ago} ago; write a new one under token into {credential.place}."
        raise Unauthorized(text, reason="TokenExpired")


def headers_of(held: TokenCredential, token: str) -> dict[str, str]:
    """Both headers, always: 22.05 demands the name, later releases refuse a name that isn't the token's.

    Raises Unauthorized where a value can't be a header (a line break inside a pasted token).
    """
    values = {"X-SLURM-USER-NAME": held.user, "X-SLURM-USER-TOKEN": token}
    if not all(value.isascii() and value.isprintable() for value in values.values()):
        text = f"A name or a token in {held.place} holds a character that none has; write both without line breaks."
        raise Unauthorized(text, reason="TokenMalformed")
    return values


def _text(name: str, data: Mapping[str, bytes], key: str) -> str:
    try:
        return data.get(key, b"").decode("utf-8").strip()
    except UnicodeDecodeError:
        text = f"The Secret {name} has no text under {key}; write it as UTF-8."
        raise Unauthorized(text, reason="TokenMalformed") from None


def _ago(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word}"
    return f"{int(seconds)} s"

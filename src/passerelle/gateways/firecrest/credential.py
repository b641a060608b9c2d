"""What a Site's Secret holds for FirecREST: an OIDC client that tokens are fetched for, or one token as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from passerelle.errors import Invalid, Unauthorized
from passerelle.gateways.base import Credential
from passerelle.gateways.http import checked
from passerelle.gateways.slurmrestd.credential import claims_of

USERNAME, TOKEN = "username", "token"
CLIENT_ID, CLIENT_SECRET, TOKEN_URL, CLIENT_AUTH = "client-id", "client-secret", "token-url", "client-auth"

ClientAuth = Literal["post", "basic"]
"""How the client shows its secret: in the form (OIDC's client_secret_post), or as a Basic header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An OIDC client and where it gets its tokens."""

    client_id: str
    secret: str = field(repr=False)
    token_url: str
    auth: ClientAuth = "post"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirecrestCredential(Credential):
    """Either `client` or `token`. `user` is what the Secret or the token says before the site was asked; `username`
    only what the Secret says, and the site must agree.
    """

    client: Client | None = None
    token: str = field(default="", repr=False)
    username: str = ""


def credential_from_secret(name: str, data: Mapping[str, bytes]) -> FirecrestCredential:
    """The credential in a Secret's keys: `client-id`, `client-secret` and `token-url`, or `token`; and `username`.

    `name` is namespace/name, for messages. Raises Unauthorized with what is missing.
    """
    username = _text(name, data, USERNAME)
    if not any(data.get(key) for key in (CLIENT_ID, CLIENT_SECRET, TOKEN_URL)):
        token = _text(name, data, TOKEN)
        if not token:
            text = (
                f"The Secret {name} has no credentials for FirecREST; write an OIDC client under client-id, "
                "client-secret and token-url, or a token under token."
            )
            raise Unauthorized(text, reason="TokenMissing")
        claims = claims_of(token)
        holder, expires = claims.get("preferred_username") or claims.get("sub"), claims.get("exp")
        return FirecrestCredential(
            user=username or (holder if isinstance(holder, str) else ""),
            username=username,
            token=token,
            expires=float(expires) if isinstance(expires, int | float) else None,
        )
    found = {key: _text(name, data, key) for key in (CLIENT_ID, CLIENT_SECRET, TOKEN_URL)}
    missing = [key for key, value in found.items() if not value]
    if missing:
        text = f"The Secret {name} has no {' and no '.join(missing)}; an OIDC client needs all of {', '.join(found)}."
        raise Unauthorized(text, reason="TokenMissing")
    try:
        usable = checked(found[TOKEN_URL]).path.strip("/") != ""
    except Invalid:
        usable = False
    if not usable:
        text = f"The Secret {name} has no usable address under token-url; write one like https://auth.example.eu/token."
        raise Unauthorized(text, reason="TokenUrlInvalid")
    match _text(name, data, CLIENT_AUTH) or "post":
        case "post" | "basic" as auth:
            pass
        case _:
            text = (
                f"The Secret {name} has neither post nor basic under client-auth; write one of them, or leave it out."
            )
            raise Unauthorized(text, reason="TokenMalformed")
    client = Client(client_id=found[CLIENT_ID], secret=found[CLIENT_SECRET], token_url=found[TOKEN_URL], auth=auth)
    return FirecrestCredential(user=username or client.client_id, username=username, client=client)


def _text(name: str, data: Mapping[str, bytes], key: str) -> str:
    """One line of printable ASCII, which is what can stand in a header; or nothing."""
    try:
        text = data.get(key, b"").decode("ascii").strip()
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        sentence = f"The Secret {name} has more than plain ASCII under {key}; write it without line breaks."
        raise Unauthorized(sentence, reason="TokenMalformed")
    return text

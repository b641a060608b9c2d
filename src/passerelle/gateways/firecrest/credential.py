"""What a Site's Secret holds for FirecREST: an OIDC client that tokens are fetched for, or one token as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from passerelle.errors import Unauthorized
from passerelle.gateways import oidc
from passerelle.gateways.base import Credential
from passerelle.gateways.jwt import claims_of, moment
from passerelle.gateways.oidc import Client
from passerelle.gateways.secret import TOKEN, line
from passerelle.gateways.secret import token as token_in

USERNAME = "username"
KEYS = f"{oidc.KEYS}, or {TOKEN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirecrestCredential(Credential):
    """Either `client` or `token`. `user` is what the Secret or the token says before the site was asked; `username`
    only what the Secret says, and the site must agree.
    """

    client: Client | None = None
    token: str = field(default="", repr=False)
    username: str = ""


def credential_from_secret(name: str, data: Mapping[str, bytes]) -> FirecrestCredential:
    """The credential in a Secret's keys: an OIDC client's, or `token`; and `username`.

    `name` is namespace/name, for messages. Raises Unauthorized with what is missing.
    """
    username = line(name, data, USERNAME)
    client = oidc.client_in(name, data)
    if client is not None:
        user = username or client.client_id
        return FirecrestCredential(user=user, username=username, client=client, expires=client.expires)
    token = token_in(name, data)
    if not token:
        text = (
            f"The Secret {name} has no credentials for FirecREST; write an OIDC client under client-id, "
            "client-secret and token-url, or a token under token."
        )
        raise Unauthorized(text, reason="TokenMissing")
    claims = claims_of(token)
    holder = claims.get("preferred_username") or claims.get("sub")
    return FirecrestCredential(
        user=username or (holder if isinstance(holder, str) else ""),
        username=username,
        token=token,
        expires=moment(claims.get("exp")),
    )

"""What a Site's Secret holds for ARC: a token, or a certificate with its key, which may be a proxy's.

A-REX knows a user by the subject of what was shown. Which Unix user that is, the site decides and A-REX does not tell,
so the subject stands for the user: jobs of one are never taken for jobs of another.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from passerelle.errors import Unauthorized
from passerelle.gateways.arc.x509 import holder
from passerelle.gateways.base import Credential
from passerelle.gateways.http import ClientCertificate
from passerelle.gateways.jwt import claims_of, moment
from passerelle.gateways.secret import TOKEN, the_secret
from passerelle.gateways.secret import token as token_in

CERTIFICATE, KEY, PROXY = "tls.crt", "tls.key", "proxy.pem"
KEYS = f"{TOKEN}, or {CERTIFICATE} and {KEY}, or {PROXY}"
USER_LIMIT = 64
"""Characters of a user's name in a status. A longer subject keeps its end, which tells most, and a digest of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcCredential(Credential):
    """Exactly one of `token` and `certificate`."""

    token: str = field(default="", repr=False)
    certificate: ClientCertificate | None = field(default=None, repr=False)


def credential_from_secret(name: str, data: Mapping[str, bytes]) -> ArcCredential:
    """The credential in a Secret's keys: `token`, or `tls.crt` and `tls.key` as in a Secret of type kubernetes.io/tls,
    or `proxy.pem` as arcproxy writes it. `name` is namespace/name, for messages. Raises Unauthorized with what is
    missing.
    """
    proxy, token = data.get(PROXY, b"").strip(), token_in(name, data)
    chain, key = data.get(CERTIFICATE, b"").strip(), data.get(KEY, b"").strip()
    held = [what for what, there in ((PROXY, proxy), (CERTIFICATE, chain or key), (TOKEN, token)) if there]
    if not held:
        text = (
            f"The Secret {name} has no credentials for ARC; write a token under {TOKEN}, a certificate and its key "
            f"under {CERTIFICATE} and {KEY}, or a proxy under {PROXY}."
        )
        raise Unauthorized(text, reason="TokenMissing")
    if len(held) > 1:
        text = f"The Secret {name} has {' and '.join(held)}, and only one of them can be shown; leave one."
        raise Unauthorized(text, reason="CredentialAmbiguous")
    if token:
        return _of_token(name, token)
    if not proxy and not (chain and key):
        lacking = KEY if chain else CERTIFICATE
        raise Unauthorized(f"The Secret {name} has no {lacking}; a certificate needs its key.", reason="TokenMissing")
    return _of_certificate(name, PROXY if proxy else CERTIFICATE, proxy or chain, proxy or key)


def refuse_expired(credential: ArcCredential, now: float | None = None) -> None:
    """Raise Unauthorized for what has ended by our clock, so that no request is spent on it: a TLS server would answer
    an old certificate with a broken connection.
    """
    if credential.expires is not None and credential.expires <= (time.time() if now is None else now):
        what = "token" if credential.token else "certificate"
        text = f"The {what} of {credential.user} has expired; write a new one into {credential.place}."
        raise Unauthorized(text, reason="TokenExpired")


def named(subject: str) -> str:
    """A subject as a user's name."""
    if len(subject) <= USER_LIMIT:
        return subject
    digest = hashlib.sha256(subject.encode()).hexdigest()[:12]
    return f"{digest}…{subject[-(USER_LIMIT - len(digest) - 1) :]}"


def _of_token(name: str, token: str) -> ArcCredential:
    claims = claims_of(token)
    subject, issuer = claims.get("sub"), claims.get("iss")
    if not isinstance(subject, str) or not isinstance(issuer, str):
        text = (
            f"The token in the Secret {name} names no issuer and no subject; write a JSON Web Token of the VO's issuer."
        )
        raise Unauthorized(text, reason="TokenMalformed")
    return ArcCredential(
        user=named(f"{issuer}/{subject}"),
        token=token,
        expires=moment(claims.get("exp")),
    )


def _of_certificate(name: str, where: str, chain: bytes, key: bytes) -> ArcCredential:
    try:
        found = holder(chain)
    except ValueError:
        text = (
            f"The Secret {name} has no certificate in PEM under {where}; write it from -----BEGIN CERTIFICATE----- on."
        )
        raise Unauthorized(text, reason="CertificateMalformed") from None
    if b"PRIVATE KEY-----" not in key or b"ENCRYPTED" in key:
        key_name = PROXY if where == PROXY else KEY
        text = f"The Secret {name} has no unencrypted private key in PEM under {key_name}; write one there."
        raise Unauthorized(text, reason="CertificateMalformed")
    shown = ClientCertificate(chain, key, the_secret(name))
    return ArcCredential(user=named(found.subject), certificate=shown, expires=found.expires)

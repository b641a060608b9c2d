"""What a Secret holds for a login node: whose key, which certificate, and the host keys that are trusted.

Only text is looked at here, for the Secret is read before every look: a key with a passphrase takes a second to open,
and is opened when a connection is made. There is no trust on first use: without known_hosts there is no connection.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import asyncssh

from passerelle.errors import Unauthorized
from passerelle.gateways.base import Credential
from passerelle.gateways.ssh.certificate import validity

USERNAME, PRIVATE_KEY, CERTIFICATE = "username", "ssh-privatekey", "ssh-certificate"
PASSPHRASE, KNOWN_HOSTS = "passphrase", "known_hosts"
"""The keys of the Secret; ssh-privatekey is that of Kubernetes' own kind kubernetes.io/ssh-auth."""

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshCredential(Credential):
    """A user's key; with a certificate, `valid_after` and `expires` are its own."""

    private_key: str
    certificate: str | None = None
    passphrase: str | None = None
    known_hosts: str
    valid_after: float = 0.0

    def __repr__(self) -> str:
        return f"SshCredential(user={self.user!r}, private_key=…, expires={self.expires!r})"

    @property
    def digest(self) -> str:
        """Tells one credential from another, and nothing about either."""
        parts = (self.user, self.private_key, self.certificate or "", self.passphrase or "", self.known_hosts)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def credential_from_secret(name: str, data: Mapping[str, bytes]) -> SshCredential:
    """The credential in a Secret's keys. `name` is namespace/name, for messages. Raises Unauthorized with what is
    missing.
    """
    user = _text(name, data, USERNAME)
    if not _USER.fullmatch(user):
        text = f"The Secret {name} has no user name under username; write that of the site's user."
        raise Unauthorized(text, reason="UsernameMissing")
    private_key = _text(name, data, PRIVATE_KEY)
    if not private_key:
        text = f"The Secret {name} has no key ssh-privatekey; write the user's private SSH key under it."
        raise Unauthorized(text, reason="KeyMissing")
    if not private_key.startswith("-----BEGIN "):
        text = (
            f"The Secret {name} has no private key under ssh-privatekey; write the whole file, from -----BEGIN to "
            "the last line."
        )
        raise Unauthorized(text, reason="KeyMalformed")
    certificate = _text(name, data, CERTIFICATE) or None
    after, expires = _validity(name, certificate)
    return SshCredential(
        user=user,
        private_key=private_key + "\n",
        certificate=certificate,
        passphrase=_text(name, data, PASSPHRASE) or None,
        known_hosts=_known_hosts(name, data),
        valid_after=after,
        expires=expires,
    )


SKEW_SECONDS = 600.0
"""How far an authority's clock may be ahead of ours: what it signed a moment ago is valid at the site, whose clock
counts."""


def refuse_untimely(credential: SshCredential, now: float) -> None:
    """Raise Unauthorized for a certificate whose time is over by our clock, or so far away that it is no clock's."""
    if credential.expires is not None and credential.expires <= now:
        text = (
            f"The SSH certificate of {credential.user} expired {_span(now - credential.expires)} ago; fetch a new one, "
            f"and write it under ssh-certificate into {credential.place}."
        )
        raise Unauthorized(text, reason="CertificateExpired")
    if credential.valid_after > now + SKEW_SECONDS:
        text = (
            f"The SSH certificate of {credential.user} is valid only in {_span(credential.valid_after - now)}; check "
            "the clocks of the site's authority and of this cluster."
        )
        raise Unauthorized(text, reason="CertificateNotYetValid")


def _validity(name: str, certificate: str | None) -> tuple[float, float | None]:
    if certificate is None:
        return 0.0, None
    try:
        found = validity(certificate)
    except ValueError as error:
        text = (
            f"The Secret {name} has no SSH certificate under ssh-certificate: {error}; write the line of key-cert.pub."
        )
        raise Unauthorized(text, reason="CertificateMalformed") from None
    return found.after, found.before


def _known_hosts(name: str, data: Mapping[str, bytes]) -> str:
    text = _text(name, data, KNOWN_HOSTS)
    if not text:
        raise Unauthorized(
            f"The Secret {name} has no key known_hosts; write the login node's host keys there, as the site publishes "
            "them, since no host is trusted unseen.",
            reason="KnownHostsMissing",
        )
    try:
        asyncssh.import_known_hosts(text)
    except ValueError:
        raise Unauthorized(
            f"The Secret {name} has a line under known_hosts that is none of sshd(8)'s; write `HOST KIND KEY`.",
            reason="KnownHostsMalformed",
        ) from None
    return text + "\n"


def _text(name: str, data: Mapping[str, bytes], key: str) -> str:
    try:
        return data.get(key, b"").decode("utf-8").replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        text = f"The Secret {name} has no text under {key}; write it as UTF-8."
        raise Unauthorized(text, reason="KeyMalformed") from None


def _span(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word}"
    return f"{int(seconds)} s"

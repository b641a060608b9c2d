"""Logging in: one try, with one key, towards hosts whose keys are known. And what a failed try means.

Nothing of this machine counts: no agent, no configuration file, no known_hosts of the operator's own, no password. A
host whose key is not in the Secret is asked for nothing; one whose key differs from it is not spoken to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket

import asyncssh

from passerelle.errors import PasserelleError, Unauthorized, Unavailable
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.ssh.address import Address
from passerelle.gateways.ssh.credential import SshCredential
from passerelle.gateways.ssh.node import LOGIN_REFUSED, UNREACHABLE, LoginCut

CONNECT_SECONDS, LOGIN_SECONDS = 15.0, 30.0
KEEPALIVE_SECONDS, KEEPALIVE_COUNT = 15.0, 3
"""A connection that says nothing for so long, so many times, is dead."""

asyncssh.set_log_level(logging.WARNING)  # each session would be a line of the operator's log

_COMPRESSION = ("zlib@openssh.com", "none")
"""A listing is mostly blanks."""
_BULK_COMPRESSION = ("none",)
_BULK_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Before all others: data does not get smaller, and of the ciphers these are twice as fast here as the first choice."""

_CLOSED = re.compile("Passphrase must be specified|Unable to decrypt")
"""asyncssh's words for a key whose passphrase is missing or wrong, where it has no error of its own."""


async def log_in(
    address: Address,
    jump: Address | None,
    credential: SshCredential,
    *,
    bulk: bool = False,
    caller: Caller = NOBODY,
) -> tuple[asyncssh.SSHClientConnection, asyncssh.SSHClientConnection | None]:
    """A connection to the login node, and the one to the host on the way, where there is one; `bulk` chooses what suits
    large files, `caller` is told to both hosts. Raises Unauthorized, or Unavailable(sent=False).
    """
    hosts = asyncssh.import_known_hosts(credential.known_hosts)
    for each in filter(None, (jump, address)):
        _refuse_unknown(each, hosts, credential)
    keys = await asyncio.to_thread(_keys, credential)  # opening a key with a passphrase takes a second
    if jump is None:
        return await _connect(address, credential, hosts, keys, None, bulk=bulk, banner=caller.banner), None
    first = await _connect(jump, credential, hosts, keys, None, bulk=bulk, banner=caller.banner)
    try:
        return await _connect(address, credential, hosts, keys, first, bulk=bulk, banner=caller.banner), first
    except BaseException:
        first.close()
        raise


async def _connect(
    address: Address,
    credential: SshCredential,
    hosts: asyncssh.SSHKnownHosts,
    keys: list[asyncssh.SSHKeyPair],
    tunnel: asyncssh.SSHClientConnection | None,
    *,
    bulk: bool,
    banner: str,
) -> asyncssh.SSHClientConnection:
    client = _Client()
    try:
        async with asyncio.timeout(CONNECT_SECONDS + LOGIN_SECONDS):
            return await asyncssh.connect(
                address.host,
                address.port,
                client_factory=lambda: client,
                username=credential.user,
                client_version=banner,
                client_keys=keys,
                known_hosts=hosts,
                tunnel=tunnel or (),
                config=None,
                agent_path=None,
                password=None,
                gss_host=None,
                x509_trusted_certs=None,
                preferred_auth=("publickey",),
                disable_trivial_auth=True,
                compression_algs=_BULK_COMPRESSION if bulk else _COMPRESSION,
                encryption_algs=_BULK_CIPHERS if bulk else (),
                connect_timeout=CONNECT_SECONDS,
                login_timeout=LOGIN_SECONDS,
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_COUNT,
            )
    except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
        raise _meaning(error, address, credential, cut=client.had_keys) from None


class _Client(asyncssh.SSHClient):
    """Remembers how far a connection came that failed."""

    def __init__(self) -> None:
        self._connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    @property
    def had_keys(self) -> bool:
        """Whether keys were exchanged: what is refused after that is the login."""
        return self._connection is not None and self._connection.get_extra_info("send_cipher") is not None


def _refuse_unknown(address: Address, hosts: asyncssh.SSHKnownHosts, credential: SshCredential) -> None:
    trusted_keys, authorities, *_ = hosts.match(address.host, "", address.port)
    if not trusted_keys and not authorities:
        name = address.host if address.port == 22 else f"[{address.host}]:{address.port}"  # noqa: PLR2004 -- SSH's own
        text = (
            f"There is no host key of {address} in {credential.place}; write a line for {name} under known_hosts, with "
            "the key that the site publishes."
        )
        raise Unauthorized(text, reason="HostKeyUnknown")


def _keys(credential: SshCredential) -> list[asyncssh.SSHKeyPair]:
    """The private key, opened; with a certificate that alone, for the bare key would cost a second try."""
    try:
        key = asyncssh.import_private_key(credential.private_key, credential.passphrase)
    except ValueError as error:
        if isinstance(error, asyncssh.KeyEncryptionError) or _CLOSED.search(str(error)):
            text = (
                f"The private key in {credential.place} does not open; write its passphrase under passphrase, or a key "
                "without one."
            )
            raise Unauthorized(text, reason="PassphraseWrong") from None
        text = f"The private key in {credential.place} is damaged or of an unknown kind; write an OpenSSH key, whole."
        raise Unauthorized(text, reason="KeyMalformed") from None
    if credential.certificate is None:
        return list(asyncssh.load_keypairs([key]))
    try:
        certificate = asyncssh.import_certificate(credential.certificate)
        if certificate.key.public_data != key.public_data:
            raise ValueError
    except ValueError:
        text = (
            f"The certificate in {credential.place} is not of the private key beside it; write the two of one pair, "
            "and renew both together."
        )
        raise Unauthorized(text, reason="CertificateMismatch") from None
    return [pair for pair in asyncssh.load_keypairs([(key, certificate)]) if pair.has_cert]


def _meaning(error: BaseException, address: Address, credential: SshCredential, *, cut: bool) -> PasserelleError:
    """Our error for one of asyncssh's, by who must act; its own text is the other side's, and is not kept. `cut`: keys
    had been exchanged.
    """
    if isinstance(error, asyncssh.PermissionDenied):
        what = "certificate" if credential.certificate else "key"
        return Unauthorized(
            f"The login node {address} refused the {what} of {credential.user}; check that the site knows it, and that "
            "a login with it asks for nothing more: no second factor, no address from which it is not taken.",
            reason=LOGIN_REFUSED,
        )
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return Unauthorized(
            f"The login node {address} shows another host key than {credential.place} has; compare with what the site "
            "publishes, and correct known_hosts only if it announced a new one.",
            reason="HostKeyChanged",
        )
    text = f"The login node {address} can't be reached{_no_connection(error)}."
    kind = LoginCut if cut and isinstance(error, asyncssh.DisconnectError) else Unavailable
    return kind(text, reason=UNREACHABLE, sent=False)


def _no_connection(error: BaseException) -> str:
    """Why no connection came about, and what to change."""
    match error:
        case asyncssh.KeyExchangeFailed():
            return ": it speaks no cipher or key exchange that is known here"
        case asyncssh.ConnectionLost():
            return ": it broke the connection before the login ended"
        case asyncssh.ChannelOpenError():
            return ": the host on the way opens no connection to it"
        case asyncssh.Error():
            return ": what listens there does not speak SSH as it should; check the port in gateway.url"
        case socket.gaierror():
            return ": the host's name can't be resolved; check it in gateway.url"
        case ConnectionRefusedError():
            return ": the connection was refused; check the port in gateway.url"
        case TimeoutError():
            return ": no answer in time; check host and port in gateway.url, and firewalls on the way"
        case OSError(errno=int(number)):
            return f": {os.strerror(number).lower()}"
    return ""

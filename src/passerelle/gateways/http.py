"""The carrier: one bounded HTTP client a gateway, and the one table from httpx's exceptions to ours.

It carries bytes and judges nothing but whether they may have arrived: a failure before the first byte of a request is
`Unavailable(sent=False)`, whatever comes after it `Unavailable(sent=True)`. It tries once, follows no redirect (a
token must not travel to another host), and never puts a header or a body into a message. What a server echoes of a
proof that was shown to it is taken out of its refusal before anybody reads that.

A proxy of the environment (HTTPS_PROXY, NO_PROXY) is gone through, but never between us and our own host.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import ipaddress
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx

from passerelle.errors import Invalid, Unauthorized, Unavailable
from passerelle.gateways import meter
from passerelle.gateways.patience import PATIENCE_STATUS, patience
from passerelle.gateways.secret import the_secret
from passerelle.gateways.sieve import Sieve
from passerelle.gateways.unreached import AUTHORITY, Ca, no_connection
from passerelle.v1alpha1.site import CA_KEY

if importlib.util.find_spec("sniffio") is None:
    # httpcore imports it five times a request, if it is there. Python searches the disk anew each time for what is not:
    # a quarter of what a request costs. This is how Python is told to remember.
    cast("dict[str, object]", sys.modules)["sniffio"] = None

CONNECTIONS = 8
"""Connections a gateway: a login node's proxy serves others, too."""

KEEP_ALIVE_SECONDS = 5.0
"""An idle connection is closed by us first: one that the server closed under a submit would make its fate unknown."""

TIMEOUTS = httpx.Timeout(connect=10.0, read=60.0, write=30.0, pool=60.0)
"""Seconds. slurmrestd waits 20 s for a frozen slurmctld and 45 s for a frozen slurmdbd before it answers."""

BODY_LIMIT = 256 * 1024 * 1024
"""Bytes of an answer: a full listing takes 8 KiB a job, so this is some 30,000 jobs."""

PIECE_BYTES = 1024 * 1024
"""Of what is sent: a larger payload goes in pieces."""

CODINGS = frozenset({"", "identity", "gzip"})
"""Of an answer: one that is packed twice, or otherwise than was asked for, could grow a thousandfold twice over before
its size is seen.
"""

PROOFS = frozenset({"authorization", "x-slurm-user-token", "x-unicore-securitysession"})
SECRET_FIELDS = frozenset({"client_secret", "refresh_token"})
"""Headers, and fields of a form, whose values a refusal may echo."""

LEAST_PROOF = 8
"""Characters: a shorter word may stand anywhere by chance."""

HIDDEN = b"[hidden]"

UNREACHABLE = "Unreachable"
BUSY = "Busy"
TOO_LARGE = "AnswerTooLarge"

_FIRST_BYTE = ".send_request_headers.started"
"""httpcore's word for what it does once a connection has been found or made."""

EXCEPTIONS: dict[type[Exception], tuple[bool, str]] = {
    httpx.ConnectError: (False, "The gateway can't be reached"),
    httpx.ConnectTimeout: (False, "The gateway took no connection in time"),
    httpx.PoolTimeout: (False, "All connections to the gateway are busy"),
    httpx.UnsupportedProtocol: (False, "The gateway's address has no protocol that is spoken here"),
    httpx.InvalidURL: (False, "The request's address is not valid"),
    httpx.LocalProtocolError: (True, "The request broke HTTP's rules"),
    httpx.ReadTimeout: (True, "The gateway did not answer in time"),
    httpx.WriteTimeout: (True, "The gateway did not take the request in time"),
    httpx.ReadError: (True, "The connection broke while the answer was read"),
    httpx.WriteError: (True, "The connection broke while the request was sent"),
    httpx.CloseError: (True, "The connection broke while it was closed"),
    httpx.RemoteProtocolError: (True, "The gateway ended the connection or broke HTTP's rules"),
    httpx.ProxyError: (True, "The proxy on the way refused"),
    httpx.DecodingError: (True, "The answer's encoding is broken"),
    httpx.TooManyRedirects: (True, "The gateway redirects in circles"),
}
"""Every exception that a request can raise -> (may the first byte have left, what a person reads)."""


@dataclass(frozen=True, slots=True)
class Server:
    """What messages call the other side, where its address is written, and how its authority is told."""

    name: str = "gateway"
    field: str = "gateway.url"
    authority: str = AUTHORITY

    def words(self, sentence: str) -> str:
        """A sentence about the gateway, of this server."""
        told = sentence.replace("gateway.url", self.field).replace(AUTHORITY, self.authority)
        return told.replace("The gateway", f"The {self.name}").replace("the gateway", f"the {self.name}")


GATEWAY = Server()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a multipart form, as one of its parts."""

    part: str
    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What we show a server that asks who we are: PEM, a certificate with its chain, and its key; and where they are
    written.
    """

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    place: str = the_secret("")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole. `headers` has lower-case names. `phrase` stands beside the status in HTTP/1.1 alone."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    phrase: str = ""

    def json(self) -> dict[str, Any] | None:
        """The JSON object in the body, or None where there is none."""
        if "json" not in self.content_type:
            return None
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    @property
    def clock(self) -> float | None:
        """The server's clock, by its Date header."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except (ValueError, TypeError):
            return None

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks us to wait; a date counts from the server's own Date header."""
        return patience(self.status, self.headers)


class Carrier:
    """The client of one gateway. `url` may have a path; `ca` is believed instead of the system's authorities, or beside
    them where `public`. `agent` is who calls; httpx's own word where it is None.

    Raises Invalid for an address that would send the token in the clear or that is no address, and Unauthorized for a
    client certificate that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        ca: Ca | None = None,
        public: bool = False,
        server: Server = GATEWAY,
        certificate: ClientCertificate | None = None,
        agent: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        address = checked(url)
        local = _loopback(address.host)
        self._where = _where(address)
        self._server = server
        self._ca = ca
        self._plain = address.scheme == "http"
        self._client = httpx.AsyncClient(
            base_url=str(address).rstrip("/") + "/",
            headers={"user-agent": agent} if agent else None,
            verify=_trust(ca, certificate, public=public) if address.scheme == "https" else False,
            timeout=TIMEOUTS,
            limits=httpx.Limits(
                max_connections=CONNECTIONS,
                max_keepalive_connections=CONNECTIONS,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
            ),
            follow_redirects=False,
            transport=transport,
            trust_env=not local,  # a proxy from the environment, but never between us and our own host
        )

    async def send(  # noqa: PLR0913 -- the parts of a request, by name
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        query: Sequence[tuple[str, str]] = (),
        body: object | None = None,
        form: Mapping[str, str] | None = None,
        upload: Upload | None = None,
        payload: bytes | None = None,
        limit: int | None = None,
        raw: bool = False,
        sieve: Sieve | None = None,
    ) -> Answer:
        """One request, one answer of at most `limit` bytes, or BODY_LIMIT; with a JSON body, a form, a file, or a
        payload that is sent as it is. `raw`: the answer's encoding is its content's, and stays. A good answer passes
        through the `sieve`. Raises Unavailable, and nothing else of its own. Whether it may leave is asked before
        it waits for a connection, which may take a minute, and after.
        """
        try:
            if self._client.is_closed:  # whoever asks held on to it, and the Site has another one by now
                raise Unavailable("The connection was closed: the Site has changed.", reason=UNREACHABLE, sent=False)
            target = httpx.URL(path.lstrip("/"))
            if target.host:  # a path that a server gave: httpx would go where it says, whatever the base is
                raise httpx.InvalidURL("an address stands in the place of a path")
            if self._server is GATEWAY:  # an object store, or a token's server, is another's
                meter.leaving()
                meter.called()
            large = payload is not None and len(payload) > PIECE_BYTES
            length = {"content-length": str(len(payload))} if payload is not None and large else {}
            async with self._client.stream(
                method,
                target,
                headers={"accept-encoding": "gzip", **length, **headers},
                params=list(query) or None,
                json=body,
                content=_pieces(payload) if payload is not None and large else payload,
                data=dict(form) if form else None,
                files={upload.part: (upload.name, upload.content)} if upload else None,
                extensions={"trace": _leaving} if self._server is GATEWAY else None,
            ) as response:
                received = await _bounded(response, limit or BODY_LIMIT, raw, sieve if response.is_success else None)
                meter.answered(response.num_bytes_downloaded)
        except tuple(EXCEPTIONS) as error:
            raise unavailable(error, self._where, self._server, ca=self._ca, plain=self._plain) from None
        head = {name.lower(): value for name, value in response.headers.items()}
        if self._server is GATEWAY and response.status_code in PATIENCE_STATUS:
            meter.patience(patience(response.status_code, head) or 0.0)
        if not response.is_success:
            received = _without(received, proofs(headers, form or {}))
        return Answer(response.status_code, head.get("content-type", ""), received, head, response.reason_phrase)

    async def close(self) -> None:
        await self._client.aclose()


async def _leaving(step: str, _: object) -> None:
    """What httpcore tells of a request's way. An error of ours comes out of it as it is."""
    if step.endswith(_FIRST_BYTE):
        meter.leaving()


async def _pieces(payload: bytes) -> AsyncIterator[bytes]:
    """What is sent in one piece lies in memory five times on its way through TLS."""
    for start in range(0, len(payload), PIECE_BYTES):
        yield payload[start : start + PIECE_BYTES]


def proofs(headers: Mapping[str, str], form: Mapping[str, str]) -> set[str]:
    """The words in a request that prove who we are, with and without their scheme, and a login's decoded."""
    shown = {value for name, value in headers.items() if name.lower() in PROOFS}
    shown |= {value for name, value in form.items() if name in SECRET_FIELDS}
    for scheme, _, word in [value.partition(" ") for value in shown]:
        shown.add(word)
        if scheme == "Basic":
            with contextlib.suppress(ValueError):
                shown.add(base64.b64decode(word).decode().partition(":")[2])
    return {word for word in shown if len(word) >= LEAST_PROOF}


def _without(body: bytes, words: set[str]) -> bytes:
    """The longest first: one may be a part of another."""
    for word in sorted(words, key=len, reverse=True):
        body = body.replace(word.encode(), HIDDEN)
    return body


def unavailable(
    error: Exception, where: str, server: Server = GATEWAY, *, ca: Ca | None = None, plain: bool = False
) -> Unavailable:
    """Our error for one of httpx's; `where` is host:port, `plain`: no TLS was spoken. Its own text is never kept: it
    may hold what was sent.
    """
    sent, sentence = next(EXCEPTIONS[kind] for kind in type(error).__mro__ if kind in EXCEPTIONS)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        sentence += f" at {where}{no_connection(error, ca)}"
    if plain and isinstance(error, httpx.RemoteProtocolError):
        sentence += "; write https in gateway.url if TLS is spoken there"
    return Unavailable(server.words(f"{sentence}."), reason=UNREACHABLE, sent=sent)


def _where(address: httpx.URL) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port or (443 if address.scheme == 'https' else 80)}"


def checked(url: str) -> httpx.URL:
    """The address, or Invalid with what to write instead."""
    try:
        address = httpx.URL(url)
        host = address.host  # read off its punycode here: no such word is a ValueError
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise Invalid(f"The gateway's address is not valid: {error}.", reason="InvalidUrl") from None
    if address.scheme not in ("http", "https") or not host:
        raise Invalid("The gateway's address must be https://HOST[:PORT][/PATH].", reason="InvalidUrl")
    if address.userinfo:
        text = "Leave user and password out of the gateway's address: they belong into the Secret."
        raise Invalid(text, reason="InvalidUrl")
    if address.query or address.fragment:
        raise Invalid("Leave the query and the fragment out of the gateway's address.", reason="InvalidUrl")
    if address.scheme == "http" and not _loopback(host):
        raise Invalid("Plain http would show the token to everyone on the way: write https.", reason="InsecureUrl")
    return address


async def _bounded(response: httpx.Response, limit: int, raw: bool, sieve: Sieve | None) -> bytes:  # noqa: FBT001 -- send's
    """The body, unpacked unless `raw`, or what is left of it in the `sieve`. What one piece may unpack to is bounded,
    since it is packed once at most.
    """
    if not raw and response.headers.get("content-encoding", "").strip().lower() not in CODINGS:
        raise Unavailable("The answer is packed in a way that was not asked for.", reason="AnswerTooLarge")
    content, size = bytearray(), 0
    async for piece in response.aiter_raw() if raw else response.aiter_bytes():
        size += len(piece)
        if size > limit:
            raise Unavailable(f"The answer is larger than {limit} bytes.", reason=TOO_LARGE)
        if sieve is None:
            content += piece
        else:
            sieve.feed(piece)
    return bytes(content) if sieve is None else sieve.rest()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trust(ca: Ca | None, certificate: ClientCertificate | None, *, public: bool = False) -> ssl.SSLContext:
    try:
        told = ca.pem.decode("ascii") if ca is not None else None
        context = ssl.create_default_context(cadata=None if public else told)
        if public and told:
            context.load_verify_locations(cadata=told)
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        place = ca.place if ca is not None else CA_KEY
        text = f"No PEM certificate was found in {place}; write the authority's there, from its -----BEGIN line on."
        raise Invalid(text, reason="InvalidCertificate") from None
    if certificate is not None:
        _show(context, certificate)
    return context


def _show(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    """OpenSSL reads a key from a file only: this one is in memory, and nobody else's."""
    with open(os.memfd_create("certificate"), "wb") as file:  # noqa: PTH123 -- a descriptor has no path of its own
        file.write(certificate.key + b"\n" + certificate.chain)
        file.flush()
        try:
            # A password that is asked for would be asked for at a terminal: an encrypted key is refused instead.
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=lambda: "")
        except (ssl.SSLError, ValueError):
            text = f"There is no certificate with its own key, unencrypted and in PEM, in {certificate.place}."
            raise Unauthorized(text, reason="CertificateMalformed") from None

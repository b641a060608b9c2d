"""OpenID Connect: access tokens for the client that a Site's Secret holds, in time, whichever driver shows them.

A token is used for two thirds of its life and never in its last minute: FirecREST refuses one with less than 30 s left,
although it is valid. The pause between two fetches has a lower bound, whatever life a server claims, and is as long as
the server asks for. While fetches fail, a token that is still good serves on, and each pause is twice as long as the
one before; but when it ends another one is asked for. A fetch submits nothing: its failures are `sent=False`.

A refresh token is the Secret's, which the operator may read and not write: another hand, or Git, keeps it. Where a
server hands out a new one with each fetch, that one serves from then on, in memory; `rotates` tells that a restart goes
back to the Secret's, which such a server may refuse by then.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import quote

import httpx

from passerelle.errors import Invalid, PasserelleError, Unauthorized, Unavailable
from passerelle.gateways.http import Answer, Carrier, Server, checked
from passerelle.gateways.jwt import claims_of, moment
from passerelle.gateways.secret import line, the_secret
from passerelle.gateways.unreached import Ca

CLIENT_ID, CLIENT_SECRET, TOKEN_URL = "client-id", "client-secret", "token-url"
REFRESH_TOKEN, CLIENT_AUTH = "refresh-token", "client-auth"
"""The keys of a Secret."""

KEYS = f"{CLIENT_ID} and {TOKEN_URL} with {CLIENT_SECRET} or {REFRESH_TOKEN}"

ROTATES = (
    "its token's server replaces refresh tokens, and the newest is in the operator's memory alone: a restart may need "
    "a new login (ask for an offline token that is not replaced, or for a client-secret)"
)

REFUSED_LAST_SECONDS = 30.0
"""FirecREST's min_token_ttl, since 2.5.1."""

SPARED_LAST_SECONDS = 60.0
LIFE_USED = 2 / 3
LEAST_SECONDS, MOST_SECONDS = 5.0, 3600.0
"""Between two fetches: a server may claim a life of no seconds, or of years."""

LONGEST_PAUSE_SECONDS = 60.0
"""Between two fetches that fail, while the token in use is good."""

LONGEST_PATIENCE_SECONDS = 900.0
"""A server that asks for more is asked again after that."""

ASSUMED_LIFE_SECONDS = 60.0
"""Where a server does not tell (RFC 6749 only recommends that it does)."""

ClientAuth = Literal["post", "basic"]
"""How the client shows its secret: in the form (OIDC's client_secret_post), or as a Basic header."""

_HTTP_OK = 200
_REFUSALS = range(400, 404)
"""OAuth's errors: 400 with a word, or 401 for an unknown client or a wrong secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An OIDC client and where it gets its tokens: by its own secret, or by a refresh token, beside which a client
    without a secret is a public one. `kept` is the namespace/name of its Secret.
    """

    client_id: str
    secret: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    token_url: str
    auth: ClientAuth = "post"
    kept: str = field(default="", repr=False, compare=False)

    @property
    def expires(self) -> float | None:
        """When the refresh token ends, where it says so; the operator fetches nothing after that. Offline tokens say
        nothing, or 0.
        """
        return moment(claims_of(self.refresh_token).get("exp"))


def client_in(name: str, data: Mapping[str, bytes]) -> Client | None:
    """The client in a Secret's keys; None where it has none of them. `name` is namespace/name, for messages. Raises
    Unauthorized with what is missing.
    """
    if not any(data.get(key) for key in (CLIENT_ID, CLIENT_SECRET, TOKEN_URL, REFRESH_TOKEN)):
        return None
    found = {key: line(name, data, key) for key in (CLIENT_ID, CLIENT_SECRET, TOKEN_URL, REFRESH_TOKEN)}
    missing = [key for key in (CLIENT_ID, TOKEN_URL) if not found[key]]
    if not found[CLIENT_SECRET] and not found[REFRESH_TOKEN]:
        missing.append(f"{CLIENT_SECRET} or {REFRESH_TOKEN}")
    if missing:
        text = f"The Secret {name} has no {' and no '.join(missing)}; an OIDC client needs {KEYS}."
        raise Unauthorized(text, reason="TokenMissing")
    try:
        usable = checked(found[TOKEN_URL]).path.strip("/") != ""
    except Invalid:
        usable = False
    if not usable:
        text = f"The Secret {name} has no usable address under token-url; write one like https://auth.example.eu/token."
        raise Unauthorized(text, reason="TokenUrlInvalid")
    match line(name, data, CLIENT_AUTH) or "post":
        case "post" | "basic" as auth:
            pass
        case _:
            text = (
                f"The Secret {name} has neither post nor basic under client-auth; write one of them, or leave it out."
            )
            raise Unauthorized(text, reason="TokenMalformed")
    return Client(
        client_id=found[CLIENT_ID],
        secret=found[CLIENT_SECRET],
        refresh_token=found[REFRESH_TOKEN],
        token_url=found[TOKEN_URL],
        auth=auth,
        kept=name,
    )


class Open(Protocol):
    """Makes the carrier to a token's server, whose address is given without its last segment."""

    def __call__(self, url: str, server: Server, /) -> Carrier: ...


@dataclass(frozen=True, slots=True)
class _Fetched:
    token: str = field(repr=False)
    renew_at: float
    good_until: float


class Tokens:
    """The access token of the client of the moment. `clock` is epoch seconds."""

    def __init__(self, open_carrier: Open, clock: Callable[[], float] = time.time) -> None:
        self._open = open_carrier
        self._clock = clock
        self._lock = asyncio.Lock()
        self._client: Client | None = None
        self._carrier: Carrier | None = None
        self._fetched: _Fetched | None = None
        self._refresh_token = ""
        self._tried_at = self._next_try = 0.0
        self._failures = 0  # in a row
        self._failure: PasserelleError | None = None
        self._believed_until = 0.0

    @property
    def rotates(self) -> bool:
        """Whether the refresh token that serves now is another than the Secret's."""
        return self._client is not None and self._refresh_token != self._client.refresh_token

    async def of(self, client: Client) -> str:
        """A token that serves for a while. Raises Unauthorized, or Unavailable(sent=False)."""
        async with self._lock:
            if client != self._client:
                await self._turn_to(client)
            now, held = self._clock(), self._fetched
            usable = held is not None and now < held.good_until
            if held is not None and usable and (now < held.renew_at or now < self._next_try):
                return held.token
            if self._failure is not None and now < self._next_try:
                raise self._failure.with_traceback(None)  # else it grows with every call
            self._tried_at, self._next_try, self._failure = now, now + LEAST_SECONDS, None
            try:
                held, self._failures = await self._fetch(client), 0
            except PasserelleError as error:
                self._failure, self._failures = error, self._failures + 1
                self._put_off(error, held if usable else None)
                if held is None or not usable:
                    raise
            self._fetched = held
            return held.token

    def _put_off(self, error: PasserelleError, held: _Fetched | None) -> None:
        """A fetch failed so; `held` is the token that serves meanwhile."""
        asked = error.retry_after if isinstance(error, Unavailable) else None
        pause = max(LEAST_SECONDS, min(asked or 0.0, LONGEST_PATIENCE_SECONDS))
        if held is None:
            self._next_try = self._tried_at + pause
        else:
            doubled = min(LEAST_SECONDS * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE_SECONDS)
            self._next_try = min(self._tried_at + max(pause, doubled), held.good_until)

    def refused(self, token: str) -> bool:
        """A site did not take this token. Whether another may be fetched: its key, or our clock, has changed. One that
        follows a refused one at once was refused for what it is, and another would be, too.
        """
        now = self._clock()
        if self._fetched is None or self._fetched.token != token or now < self._believed_until:
            return False
        self._fetched, self._believed_until = None, now + LEAST_SECONDS
        self._next_try = min(self._next_try, self._tried_at + LEAST_SECONDS)  # it does not serve any more
        return True

    async def close(self) -> None:
        if self._carrier is not None:
            await self._carrier.close()
            self._carrier = None

    async def _turn_to(self, client: Client) -> None:
        await self.close()
        self._client, self._fetched, self._failure, self._next_try, self._failures = client, None, None, 0.0, 0
        self._refresh_token = client.refresh_token
        server = Server("token's server", f"{TOKEN_URL} of {the_secret(client.kept)}")
        self._carrier = self._open(client.token_url.rpartition("/")[0], server)

    async def _fetch(self, client: Client) -> _Fetched:
        assert self._carrier is not None  # noqa: S101 -- opened with the client
        asked_at = self._clock()
        form, headers = request(client, self._refresh_token)
        try:
            path = client.token_url.rpartition("/")[2]
            answer = await self._carrier.send("POST", path, headers=headers, form=form)
        except Unavailable as error:
            text = f"No token could be fetched: {error.message}"
            raise Unavailable(text, reason="TokenUnavailable", sent=False) from None
        if answer.status in _REFUSALS:
            raise Unauthorized(_refusal(client, answer, rotated=self.rotates), reason="TokenRefused")
        body = answer.json() or {}
        token = body.get("access_token")
        if answer.status != _HTTP_OK or not isinstance(token, str) or not _presentable(token):
            text = f"No token could be fetched: {client.token_url} answers HTTP {answer.status} without one."
            raise Unavailable(text, reason="TokenUnavailable", sent=False, retry_after=answer.retry_after)
        newer = body.get("refresh_token")
        if client.refresh_token and isinstance(newer, str) and _presentable(newer):
            self._refresh_token = newer
        told = body.get("expires_in")
        life = float(told) if isinstance(told, int | float) and told > 0 else ASSUMED_LIFE_SECONDS
        return _Fetched(token, asked_at + renewal(life), asked_at + life - REFUSED_LAST_SECONDS)


def tokens(ca: Ca | None, transport: httpx.AsyncBaseTransport | None = None, agent: str | None = None) -> Tokens:
    """For a Site: its own authority is trusted beside the system's, since a token's server is often another's."""
    return Tokens(lambda at, server: Carrier(at, ca=ca, public=True, server=server, agent=agent, transport=transport))


def renewal(life: float) -> float:
    """Seconds after which a token of this life is fetched again."""
    return max(LEAST_SECONDS, min(life * LIFE_USED, life - SPARED_LAST_SECONDS, MOST_SECONDS))


def request(client: Client, refresh_token: str = "") -> tuple[dict[str, str], Mapping[str, str]]:
    """Form and headers of a fetch. Basic takes both parts form-encoded (RFC 6749, 2.3.1)."""
    form = {"grant_type": "client_credentials"}
    if refresh_token:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    headers = {"accept": "application/json"}
    if not client.secret:
        return form | {"client_id": client.client_id}, headers
    if client.auth == "post":
        return form | {"client_id": client.client_id, "client_secret": client.secret}, headers
    pair = f"{quote(client.client_id, safe='')}:{quote(client.secret, safe='')}"
    return form, headers | {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _presentable(word: str) -> bool:
    return bool(word) and word.isascii() and word.isprintable()


def _refusal(client: Client, answer: Answer, *, rotated: bool) -> str:
    """OAuth's error is one of a few words; nothing else of the answer is told."""
    word = (answer.json() or {}).get("error")
    said = word if isinstance(word, str) and word.replace("_", "").isalpha() else f"HTTP {answer.status}"
    if client.refresh_token and word == "invalid_grant":
        text = "The token's server does not take the refresh token any more (invalid_grant)"
        more = ": it replaces them" if rotated else ""
        return f"{text}{more}; log in anew, and write the new one under refresh-token into {the_secret(client.kept)}."
    other = "basic" if client.auth == "post" else "post"
    hint = f", or write {other} under client-auth" if client.secret else ""
    return (
        f"The token's server refused the client {client.client_id}: {said}; correct client-id and client-secret in "
        f"{the_secret(client.kept)}{hint}."
    )

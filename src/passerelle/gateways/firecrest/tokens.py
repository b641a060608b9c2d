"""Bearer tokens: one as it stands in the Secret, or fetched for an OIDC client and fetched again in time.

FirecREST refuses a token with less than 30 s left, although it is valid. So a fetched one is used for two thirds of its
life and never in its last minute; the pause between two fetches has a lower bound, whatever life a server claims. While
a fetch fails, a token that FirecREST still takes serves on. A fetch submits nothing: its failures are `sent=False`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from passerelle.errors import PasserelleError, Unauthorized, Unavailable
from passerelle.gateways.firecrest.credential import Client, FirecrestCredential
from passerelle.gateways.http import Answer, Carrier
from passerelle.gateways.slurmrestd.credential import refuse_expired

REFUSED_LAST_SECONDS = 30.0
"""FirecREST's min_token_ttl, since 2.5.1."""

SPARED_LAST_SECONDS = 60.0
LIFE_USED = 2 / 3
LEAST_SECONDS, MOST_SECONDS = 5.0, 3600.0
"""Between two fetches: a server may claim a life of no seconds, or of years."""

ASSUMED_LIFE_SECONDS = 60.0
"""Where a server does not tell (RFC 6749 only recommends that it does)."""

_HTTP_OK = 200
_REFUSALS = range(400, 404)
"""OAuth's errors: 400 with a word, or 401 for an unknown client or a wrong secret."""


class Open(Protocol):
    """Makes the carrier to a token's server, whose address is given without its last segment."""

    def __call__(self, url: str, /) -> Carrier: ...


@dataclass(frozen=True, slots=True)
class _Fetched:
    token: str
    renew_at: float
    good_until: float

    def __repr__(self) -> str:
        return f"_Fetched(token=…, renew_at={self.renew_at}, good_until={self.good_until})"


class Tokens:
    """The token of the credential of the moment. `clock` is epoch seconds."""

    def __init__(self, open_carrier: Open, clock: Callable[[], float] = time.time) -> None:
        self._open = open_carrier
        self._clock = clock
        self._lock = asyncio.Lock()
        self._client: Client | None = None
        self._carrier: Carrier | None = None
        self._fetched: _Fetched | None = None
        self._next_try = 0.0

    async def of(self, credential: FirecrestCredential) -> str:
        """A token that FirecREST takes. Raises Unauthorized, or Unavailable(sent=False)."""
        if credential.client is None:
            refuse_expired(credential, self._clock())
            return credential.token
        async with self._lock:
            if credential.client != self._client:
                await self._turn_to(credential.client)
            now, held = self._clock(), self._fetched
            usable = held is not None and now < held.good_until
            if held is not None and usable and (now < held.renew_at or now < self._next_try):
                return held.token
            self._next_try = now + LEAST_SECONDS
            try:
                held = self._fetched = await self._fetch(credential.client)
            except PasserelleError:
                if held is None or not usable:
                    raise
            return held.token

    def refused(self, token: str) -> bool:
        """FirecREST did not take this token. Whether another may be fetched: its key, or our clock, has changed."""
        if self._fetched is None or self._fetched.token != token:
            return False
        self._fetched = None
        return True

    async def close(self) -> None:
        if self._carrier is not None:
            await self._carrier.close()
            self._carrier = None

    async def _turn_to(self, client: Client) -> None:
        await self.close()
        self._client, self._fetched, self._next_try = client, None, 0.0
        self._carrier = self._open(client.token_url.rpartition("/")[0])

    async def _fetch(self, client: Client) -> _Fetched:
        assert self._carrier is not None  # noqa: S101 -- opened with the client
        asked_at = self._clock()
        form, headers = request(client)
        try:
            path = client.token_url.rpartition("/")[2]
            answer = await self._carrier.send("POST", path, headers=headers, form=form)
        except Unavailable as error:
            text = f"No token could be fetched: {error.message}"
            raise Unavailable(text, reason="TokenUnavailable", sent=False) from None
        if answer.status in _REFUSALS:
            raise Unauthorized(_refusal(client, answer), reason="TokenRefused")
        body = answer.json() or {}
        token = body.get("access_token")
        if answer.status != _HTTP_OK or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            text = f"No token could be fetched: {client.token_url} answers HTTP {answer.status} without one."
            raise Unavailable(text, reason="TokenUnavailable", sent=False, retry_after=answer.retry_after)
        told = body.get("expires_in")
        life = float(told) if isinstance(told, int | float) and told > 0 else ASSUMED_LIFE_SECONDS
        return _Fetched(token, asked_at + renewal(life), asked_at + life - REFUSED_LAST_SECONDS)


def renewal(life: float) -> float:
    """Seconds after which a token of this life is fetched again."""
    return max(LEAST_SECONDS, min(life * LIFE_USED, life - SPARED_LAST_SECONDS, MOST_SECONDS))


def request(client: Client) -> tuple[dict[str, str], Mapping[str, str]]:
    """Form and headers of OIDC's client credentials. Basic takes both parts form-encoded (RFC 6749, 2.3.1)."""
    form = {"grant_type": "client_credentials"}
    headers = {"accept": "application/json"}
    if client.auth == "post":
        return form | {"client_id": client.client_id, "client_secret": client.secret}, headers
    pair = f"{quote(client.client_id, safe='')}:{quote(client.secret, safe='')}"
    return form, headers | {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _refusal(client: Client, answer: Answer) -> str:
    """OAuth's error is one of a few words; nothing else of the answer is told."""
    word = (answer.json() or {}).get("error")
    said = word if isinstance(word, str) and word.replace("_", "").isalpha() else f"HTTP {answer.status}"
    other = "basic" if client.auth == "post" else "post"
    return (
        f"The token's server refused the client {client.client_id}: {said}; correct client-id and client-secret in the "
        f"Site's Secret, or write {other} under client-auth."
    )

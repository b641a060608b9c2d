"""Who asks: a header for each request, and what was learned for the next one.

With an OIDC client, a token of its issuer is shown. With a password, a token of the server is fetched and used in its
place, renewed at two thirds of its life: the password travels once in hours. A server that gives out none gets the
password. Reads may go by the security session that the server opened for an earlier request, which spares a site's
identity provider; it is kept only once the server has said that it knows us, since it opens one for anybody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from passerelle.errors import Unauthorized, Unavailable, unsent
from passerelle.gateways.http import Answer, Carrier
from passerelle.gateways.jwt import claims_of, moment
from passerelle.gateways.oidc import LEAST_SECONDS, LIFE_USED, Tokens
from passerelle.gateways.unicore import errors
from passerelle.gateways.unicore.credential import UnicoreCredential, basic

log = logging.getLogger("passerelle.unicore")

LIFETIME_SECONDS = 43_200
NO_TOKENS_SECONDS = 3_600.0
"""How long a server that gave no token is not asked again."""
SESSION = "x-unicore-securitysession"
_LIFE = "x-unicore-securitysession-lifetime"
_SESSION_MARGIN = 60.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """A header's value, and until when it serves."""

    value: str
    until: float


class Passport:
    """`credentials` is asked for each request: another credential begins anew."""

    def __init__(
        self,
        carrier: Carrier,
        credentials: Callable[[], UnicoreCredential],
        clock: Callable[[], float] = time.time,
        *,
        tokens: Tokens,
    ) -> None:
        self._carrier = carrier
        self._credentials = credentials
        self._clock = clock
        self._tokens = tokens
        self._shown = ""
        self._holder: UnicoreCredential | None = None
        self._issued: _Kept | None = None
        self._none_before = 0.0
        self._session: _Kept | None = None

    @property
    def held(self) -> UnicoreCredential:
        """What the Secret holds now."""
        return self._credentials()

    @property
    def issued(self) -> bool:
        """Whether the last request went by a token that was fetched: one that is refused may be fetched anew."""
        return self._issued is not None or bool(self._shown)

    @property
    def rotates(self) -> bool:
        return self._tokens.rotates

    async def headers(self, *, session: bool) -> dict[str, str]:
        """Proof of who asks; by a session where that is allowed and there is one. Raises Unauthorized, Unavailable."""
        held = self._held()
        now = self._clock()
        if held.client is None and held.expires is not None and held.expires <= now:
            text = f"The token of {held.user or 'the Site'} has expired; write a new one under token into {held.place}."
            raise Unauthorized(text, reason="TokenExpired")
        if session and self._session is not None and self._session.until > now:
            return {SESSION: self._session.value}
        sent = {"authorization": await self._proof(held, now)}
        return sent | ({"x-unicore-user-preferences": f"uid:{held.uid}"} if held.uid else {})

    def known(self, answer: Answer) -> None:
        """The server has said in this answer that it knows us: the session that it opened is ours."""
        value, life = answer.headers.get(SESSION, ""), answer.headers.get(_LIFE, "")
        if value and life.isdecimal():
            self._session = _Kept(value, self._clock() + int(life) / 1000 - _SESSION_MARGIN)

    def forget_session(self) -> None:
        self._session = None

    def forget(self) -> None:
        """What was fetched or opened is not believed any more."""
        self._session = self._issued = None
        self._tokens.refused(self._shown)
        self._shown = ""

    async def close(self) -> None:
        await self._tokens.close()

    def _held(self) -> UnicoreCredential:
        held = self._credentials()
        if held != self._holder:
            self._holder, self._none_before = held, 0.0
            self.forget()
        return held

    async def _proof(self, held: UnicoreCredential, now: float) -> str:
        if held.client is not None:
            self._shown = await self._tokens.of(held.client)
            return f"Bearer {self._shown}"
        return f"Bearer {held.token}" if held.token else await self._by_password(held, now)

    async def _by_password(self, held: UnicoreCredential, now: float) -> str:
        if self._issued is None or self._issued.until <= now:
            self._issued = await self._fetched(held, now) if now >= self._none_before else None
        return self._issued.value if self._issued is not None else basic(held)

    async def _fetched(self, held: UnicoreCredential, now: float) -> _Kept | None:
        """A token of the server. It gives one to anybody, so whose it is is looked at by the first call with it."""
        sent = {"authorization": basic(held), "accept": "text/plain"}
        query = [("lifetime", str(LIFETIME_SECONDS))]
        try:
            answer = await self._carrier.send("GET", "token", headers=sent, query=query)
        except Unavailable as error:  # of what it was fetched for, a submit perhaps, nothing has left
            raise unsent(error) from error
        token = answer.body.decode("ascii", "replace").strip()
        claims = claims_of(token)
        began, ends = moment(claims.get("iat")), moment(claims.get("exp"))
        life = ends - began if began is not None and ends is not None else 0
        if answer.status == errors.OK and life > 0:
            return _Kept(f"Bearer {token}", now + max(LEAST_SECONDS, life * LIFE_USED))
        if answer.status in (401, 403):
            raise errors.refused(held)
        log.info("the server gives out no tokens: the password is sent", extra={"status": answer.status})
        self._none_before = now + NO_TOKENS_SECONDS
        return None

"""One call of the server: with proof of who asks, tried again where that is allowed, and no trust in its silence.

An unknown token is no error to UNICORE: it answers 200 with empty lists, to "anonymous". So whatever came back empty or
was refused is followed by the question who we are; only then it is an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passerelle.errors import Misaddressed, PasserelleError, Unavailable
from passerelle.gateways.base import Identity
from passerelle.gateways.http import Answer, Carrier
from passerelle.gateways.second_try import twice
from passerelle.gateways.unicore import errors
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.passport import Passport

JSON, BYTES = "application/json", "application/octet-stream"

Query = list[tuple[str, str]]


class Calls:
    """What driver and files share: one carrier, one passport."""

    def __init__(self, carrier: Carrier, passport: Passport) -> None:
        self._carrier = carrier
        self._passport = passport

    async def who(self) -> tuple[Identity, dict[str, Any]]:
        """Who answers and as whom, and what the server says of itself. Raises Unauthorized where it knows no one."""
        found = await self._asked_who()
        if found is None and self._passport.issued:  # a server that lost its key knows none of its tokens
            self._passport.forget()
            found = await self._asked_who()
        if found is None:
            self._passport.forget()
            raise errors.anonymous(self.held)
        return found

    async def read(self, path: str, query: Query | None = None) -> dict[str, Any] | None:
        """A JSON object; None where the server, which knows us, has no such thing."""
        answer = await self.ask("GET", path, query)
        if answer.status == errors.OK and (body := answer.json()) is not None:
            return body
        if answer.status in errors.NOT_OURS:
            await self.who()
            return None
        raise errors.failure(answer, self.held)

    async def ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: object | None = None,
        accept: str = JSON,
        more: Mapping[str, str] | None = None,
    ) -> Answer:
        """What may be asked twice: a read, a cancel, a setting. Tried again where the server was not reached."""

        async def once() -> Answer:
            answer = await self.send(method, path, query, body=body, accept=accept, more=more)
            if answer.status in errors.BUSY_STATUS:
                raise errors.failure(answer, self.held)
            return answer

        return await twice(once)

    async def send(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: object | None = None,
        content: bytes | None = None,
        accept: str = JSON,
        more: Mapping[str, str] | None = None,
        session: bool = True,
    ) -> Answer:
        """Once; again only where the server says that it did not look at the request, its session being over."""

        async def sent(*, session: bool) -> Answer:
            headers = await self._passport.headers(session=session) | {"accept": accept, **(more or {})}
            return await self._carrier.send(
                method, path, headers=headers, query=query or [], body=body, payload=content
            )

        answer = await sent(session=session)
        if session and answer.status == errors.SESSION_UNKNOWN:
            self._passport.forget_session()
            answer = await sent(session=False)
        return answer

    @property
    def held(self) -> UnicoreCredential:
        """What is shown at this moment."""
        return self._passport.held

    @property
    def rotates(self) -> bool:
        return self._passport.rotates

    async def close(self) -> None:
        await self._passport.close()
        await self._carrier.close()

    async def _asked_who(self) -> tuple[Identity, dict[str, Any]] | None:
        """Asked by the credential itself, never by a session: that outlives the token it was opened with."""
        sent = await self._passport.headers(session=False) | {"accept": JSON}

        async def once() -> Answer:
            return await self._carrier.send("GET", "", headers=sent, query=[("fields", "client,server")])

        answer = await twice(once)
        if answer.status in (401, 403):
            return None
        found = answer.json() or {}
        client, server = found.get("client"), found.get("server")
        if answer.status != errors.OK or not isinstance(client, dict) or not isinstance(server, dict):
            raise self._no_unicore(answer)
        role = client.get("role")
        user = (client.get("xlogin") or {}).get("UID")
        if not isinstance(role, dict) or role.get("selected") in (None, "anonymous") or not user:
            return None
        self._passport.known(answer)
        return Identity(str(server.get("siteName") or ""), str(user)), server

    def _no_unicore(self, answer: Answer) -> PasserelleError:
        """The error for an answer that tells of no one: a server that is about to begin leaves parts of it out."""
        if answer.status not in (errors.OK, errors.NOT_FOUND):
            return errors.failure(answer, self.held)
        if answer.status == errors.OK and answer.json() is not None:
            return Unavailable("UNICORE does not tell yet who we are: it is about to begin.", reason="UnexpectedAnswer")
        return Misaddressed(
            "The address serves no UNICORE: write the site's base address into gateway.url, like "
            "https://unicore.example.eu/SITE/rest/core.",
            reason="NoUnicore",
        )

"""One request to FirecREST as our user: with a token that it takes, once where it matters, at most twice elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import httpx

from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.firecrest import errors
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.http import Answer, Carrier, ClientCertificate, Upload
from passerelle.gateways.oidc import tokens
from passerelle.gateways.second_try import twice
from passerelle.gateways.slurmrestd.credential import refuse_expired
from passerelle.gateways.unreached import Ca

Query = Sequence[tuple[str, str]]

_HTTP_UNAUTHORIZED, _HTTP_TOO_MANY = 401, 429


class Calls:
    """The way to one server, as whoever `credentials` returns at that moment."""

    def __init__(
        self,
        url: str,
        credentials: Callable[[], FirecrestCredential],
        *,
        ca: Ca | None = None,
        certificate: ClientCertificate | None = None,
        caller: Caller = NOBODY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._carrier = Carrier(url, ca=ca, certificate=certificate, agent=caller.agent, transport=transport)
        self._credentials = credentials
        self._tokens = tokens(ca, transport, caller.agent)

    @property
    def credential(self) -> FirecrestCredential:
        return self._credentials()

    async def once(
        self,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: object | None = None,
        upload: Upload | None = None,
    ) -> Answer:
        """One request, sent once. Raises Unauthorized for a token that isn't taken, or Unavailable."""
        return self._taken(await self._sent(method, path, query, body=body, upload=upload))

    async def _sent(
        self, method: str, path: str, query: Query, *, body: object | None = None, upload: Upload | None = None
    ) -> Answer:
        token = await self._token()
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        answer = await self._carrier.send(method, path, headers=headers, query=query, body=body, upload=upload)
        if answer.status == _HTTP_UNAUTHORIZED:
            self._tokens.refused(token)
        return answer

    async def ask(self, method: str, path: str, query: Query = (), *, body: object | None = None) -> Answer:
        """A request that may be repeated: where nobody answered, or asked for a moment's patience; and with another
        token where this one, which we fetched a while ago, isn't taken any more.
        """

        async def heard() -> Answer:
            told = await self._sent(method, path, query, body=body)
            if told.status == _HTTP_TOO_MANY:
                raise errors.failure(told)
            return told

        answer = await twice(heard)
        if answer.status == _HTTP_UNAUTHORIZED and self._credentials().client is not None:
            answer = await self._sent(method, path, query, body=body)
        return self._taken(answer)

    def _taken(self, answer: Answer) -> Answer:
        if answer.status == _HTTP_UNAUTHORIZED:
            raise errors.refused(answer, self._credentials())
        return answer

    @property
    def rotates(self) -> bool:
        return self._tokens.rotates

    async def _token(self) -> str:
        held = self._credentials()
        if held.client is not None:
            return await self._tokens.of(held.client)
        refuse_expired(held, time.time())
        return held.token

    async def close(self) -> None:
        await self._tokens.close()
        await self._carrier.close()

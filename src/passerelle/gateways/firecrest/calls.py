"""One request to FirecREST as our user: with a token that it takes, once where it matters, at most twice elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import httpx
import tenacity

from passerelle.errors import Unavailable
from passerelle.gateways.firecrest import errors
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.tokens import Tokens
from passerelle.gateways.http import BUSY, UNREACHABLE, Answer, Carrier, Server, Upload

Query = Sequence[tuple[str, str]]
TOKEN_SERVER = Server("token's server", "token-url of the Site's Secret")

READ_ATTEMPTS = 2
LONGEST_WAIT = 5.0
"""Seconds that a call waits in place for a second try; what the server wants beyond is the loop's to wait."""

_HTTP_UNAUTHORIZED, _HTTP_TOO_MANY = 401, 429
_T = TypeVar("_T")


class Calls:
    """The way to one server, as whoever `credentials` returns at that moment."""

    def __init__(
        self,
        url: str,
        credentials: Callable[[], FirecrestCredential],
        *,
        ca: bytes | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._carrier = Carrier(url, ca=ca, transport=transport)
        self._credentials = credentials
        self._tokens = Tokens(lambda at: Carrier(at, ca=ca, public=True, server=TOKEN_SERVER, transport=transport))

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
        """One request, sent once. Raises Unauthorized or Unavailable where no answer came."""
        token = await self._tokens.of(self._credentials())
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
            told = await self.once(method, path, query, body=body)
            if told.status == _HTTP_TOO_MANY:
                raise errors.failure(told)
            return told

        answer = await _twice(heard)
        if answer.status == _HTTP_UNAUTHORIZED and self._credentials().client is not None:
            answer = await self.once(method, path, query, body=body)
        return answer

    async def close(self) -> None:
        await self._tokens.close()
        await self._carrier.close()


async def _twice(call: Callable[[], Awaitable[_T]]) -> _T:
    return await tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(READ_ATTEMPTS),
        retry=tenacity.retry_if_exception(_worth_a_second_try),
        wait=_wait,
        reraise=True,
    )(call)


def _worth_a_second_try(error: BaseException) -> bool:
    return (
        isinstance(error, Unavailable)
        and error.reason in (UNREACHABLE, BUSY)
        and (error.retry_after or 0) <= LONGEST_WAIT
    )


def _wait(state: tenacity.RetryCallState) -> float:
    """What the server asked for, else a jittered moment."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, Unavailable) else None
    return (asked or 0) + tenacity.wait_random(0.2, 0.6)(state)

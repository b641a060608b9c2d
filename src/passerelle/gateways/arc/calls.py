"""One request to A-REX as our user: once where it matters, at most twice elsewhere.

A certificate is shown once a connection; and A-REX takes whoever has shown a token first on a connection for the one
who asks there from then on. So another credential is another set of connections: none that was made as one user ever
carries a request of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import httpx

from passerelle.gateways.arc import decode, errors
from passerelle.gateways.arc.credential import ArcCredential, refuse_expired
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.http import Answer, Carrier, ClientCertificate
from passerelle.gateways.second_try import twice
from passerelle.gateways.unreached import Ca

Query = Sequence[tuple[str, str]]

IDS_PER_CALL = 500
"""Jobs in one request of many: an answer of action=info takes some 2 KB a job, and A-REX reads two files for each."""

_JSON = {"accept": "application/json"}
_TEXT = {"accept": "*/*"}


class Calls:
    """The way to one A-REX, as whoever `credentials` returns at that moment."""

    def __init__(
        self,
        url: str,
        credentials: Callable[[], ArcCredential],
        *,
        ca: Ca | None = None,
        caller: Caller = NOBODY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._credentials = credentials
        self._url, self._ca, self._transport, self._agent = url, ca, transport, caller.agent
        self._shown: ArcCredential | None = None
        self._carrier: Carrier = self._open(None)
        self._busy: dict[Carrier, int] = {}

    @property
    def user(self) -> str:
        """Who asks, as messages and jobs name them."""
        return self._credentials().user

    async def once(
        self,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: object | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] = _JSON,
    ) -> Answer:
        """One request, sent once. Raises Unauthorized for a credential that isn't taken, or Unavailable."""
        credential = self._credentials()
        refuse_expired(credential)
        shown = {"authorization": f"Bearer {credential.token}"} if credential.token else {}
        former = self._carrier
        if credential != self._shown:
            self._carrier, self._shown = self._open(credential.certificate), credential
        carrier = self._carrier  # ours, whatever another request shows while this one waits
        self._busy[carrier] = self._busy.get(carrier, 0) + 1
        try:
            await self._release(former)
            answer = await carrier.send(
                method, path, headers={**headers, **shown}, query=query, body=body, payload=content
            )
        finally:
            self._busy[carrier] -= 1
            await self._release(carrier)
        if errors.refuses(answer):
            raise errors.refused(credential)
        return answer

    async def ask(
        self,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: object | None = None,
        headers: Mapping[str, str] = _JSON,
    ) -> Answer:
        """A read or a cancel, tried again where A-REX was not reached."""
        return await twice(partial(self._heard, method, path, query, body, headers))

    async def text(self, path: str) -> str | None:
        """A small text file; None where there is none."""
        answer = await self.ask("GET", path, headers=_TEXT)
        if answer.status == errors.NOT_FOUND:
            return None
        if answer.status != errors.OK:
            raise errors.failure(answer)
        return answer.body.decode("utf-8", "replace")

    async def many(self, path: str, action: str, job_ids: Sequence[str]) -> list[dict[str, Any]]:
        """An action on jobs: the entry of each, in the answers' order."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(job_ids), IDS_PER_CALL):
            piece = job_ids[start : start + IDS_PER_CALL]
            body = {"job": [{"id": job_id} for job_id in piece]}
            answer = await self.ask("POST", path, [("action", action)], body=body)
            entries = decode.job_list(answer.json())
            if answer.status != errors.CREATED or entries is None or len(entries) != len(piece):
                raise errors.failure(answer)
            found += entries
        return found

    async def close(self) -> None:
        for carrier in {self._carrier, *self._busy}:
            await carrier.close()
        self._busy.clear()

    async def _heard(
        self, method: str, path: str, query: Query, body: object | None, headers: Mapping[str, str]
    ) -> Answer:
        answer = await self.once(method, path, query, body=body, headers=headers)
        if answer.status in errors.BUSY_STATUS:
            raise errors.failure(answer)
        return answer

    def _open(self, certificate: ClientCertificate | None) -> Carrier:
        return Carrier(self._url, ca=self._ca, certificate=certificate, agent=self._agent, transport=self._transport)

    async def _release(self, carrier: Carrier) -> None:
        """Close a former carrier after its last request."""
        if not self._busy.get(carrier):
            self._busy.pop(carrier, None)
            if carrier is not self._carrier:
                await carrier.close()

"""One request to slurmrestd as our user, in the version that both sides know, and what its failure means.

A submit is sent once and never again; reads and cancels are tried a second time where no answer of Slurm's came. The
version is looked for once a server and again after an upgrade; the credential is read for every call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import httpx

from passerelle.errors import Misaddressed, PasserelleError, Unauthorized, Unavailable
from passerelle.gateways import oidc
from passerelle.gateways.caller import Caller
from passerelle.gateways.http import BUSY, Answer, Carrier, ClientCertificate
from passerelle.gateways.second_try import twice
from passerelle.gateways.sieve import Sieve
from passerelle.gateways.slurmrestd import decode, errors
from passerelle.gateways.slurmrestd.credential import TokenCredential, headers_of, refuse_expired
from passerelle.gateways.slurmrestd.versions import KNOWN, NEWEST, Query, Version
from passerelle.gateways.unreached import Ca

log = logging.getLogger("passerelle.slurmrestd")

OK = 200
_NOT_FOUND = 404

Begin = Callable[[], Sieve]
"""Makes the sieve of one try."""


class Calls:
    """The way to one server, as whoever `credentials` returns at that moment. `cluster` is the one that was proven
    last; no answer of another one counts.
    """

    def __init__(
        self,
        url: str,
        credentials: Callable[[], TokenCredential],
        *,
        ca: Ca | None,
        certificate: ClientCertificate | None,
        caller: Caller,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.cluster: str | None = None
        self._carrier = Carrier(url, ca=ca, certificate=certificate, agent=caller.agent, transport=transport)
        self._tokens = oidc.tokens(ca, transport, caller.agent)
        self._credentials = credentials
        self._version: Version | None = None

    async def spoken(self) -> Version:
        """The newest version that both sides know. An unknown path is 404; anything else means that it is served."""
        if self._version is None:
            self._version = await self._discover()
        return self._version

    async def _discover(self) -> Version:
        if await self._serves(f"slurm/v0.0.{NEWEST.number + 1}"):
            log.warning("the server offers a newer API than %s, the newest known one: %s is spoken", *[NEWEST.word] * 2)
        for version in KNOWN:
            if await self._serves(version.slurm):
                return version
        raise Misaddressed(
            f"The address serves no Slurm API between {KNOWN[-1].word} and {NEWEST.word}; write slurmrestd's base "
            "address into gateway.url, without /slurm/v0.0.… behind it.",
            reason="NoKnownVersion",
        )

    async def _serves(self, prefix: str) -> bool:
        answer = await self.ask("GET", f"{prefix}/ping", lost_version=False)
        if answer.status == _NOT_FOUND:
            return False
        if answer.json() is None:
            raise errors.failure(answer, self.place)
        return True

    async def read(
        self, path: str, query: Query | None = None, sieve: Begin | None = None, *, whoever: bool = False
    ) -> dict[str, Any]:
        """A JSON object, of the cluster that was proven last or from `whoever`. Raises Unauthorized and Unavailable."""
        try:
            body = errors.read(await self.ask("GET", path, query or [], sieve=sieve), self.place)
            return body if whoever else self.of_cluster(body)
        except Unavailable as error:
            if self._version is None or not path.startswith(self._version.slurm + "/"):
                raise
            raise await self.doubted(self._version, error) from None

    def of_cluster(self, body: dict[str, Any]) -> dict[str, Any]:
        """An answer of the cluster that was proven last, and of no other: where a balancer stands before several, each
        call may reach another one, and what that one does not know is no word of ours.
        """
        named = str(decode.about(body).get("cluster") or "")
        if self.cluster and named and named != self.cluster:
            text = (
                f"Cluster {named} answers, where {self.cluster} did a moment ago; write an address that leads to one."
            )
            raise Misaddressed(text, reason="AnotherCluster")
        return body

    async def doubted(self, version: Version, error: Unavailable) -> PasserelleError:
        """22.05 says "Unspecified error" both for a bad token and for a dead slurmctld; only slurmdbd says which."""
        if version.names_cluster or error.reason != "SchedulerUnavailable":
            return error
        try:
            errors.read(await self.send("GET", f"{version.slurmdb}/clusters"), self.place)
        except Unauthorized as refused:
            return refused
        except Unavailable:
            return error
        return error

    async def ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        lost_version: bool = True,
        sieve: Begin | None = None,
    ) -> Answer:
        """A read or a cancel, tried again where Slurm was not reached; and with another token where this one, which we
        fetched a while ago, isn't taken any more. Slurm's own failures are not: it waited 9 to 45 s before it told us.
        """

        async def once() -> Answer:
            sifted = sieve() if sieve is not None else None
            answer = await self.send(method, path, query, lost_version=lost_version, sieve=sifted)
            failed = errors.failure(answer, self.place) if answer.status != OK else None
            if isinstance(failed, Unavailable) and failed.reason == BUSY:
                raise failed
            return answer

        answer = await twice(once)
        fetched = self._credentials().client is not None
        return await once() if fetched and errors.refuses_token(answer) else answer

    async def send(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: object | None = None,
        lost_version: bool = True,
        sieve: Sieve | None = None,
    ) -> Answer:
        """Once, whatever becomes of it. `lost_version`: that the path is unknown means that the version is."""
        held = self.credential
        token = held.token if held.client is None else await self._tokens.of(held.client)
        headers = headers_of(held, token) | {"accept": "application/json"}
        answer = await self._carrier.send(method, path, headers=headers, query=query or [], body=body, sieve=sieve)
        if lost_version and answer.status == _NOT_FOUND and answer.json() is None:
            self._version = None  # the server was upgraded under us, and no longer serves what it did
        if held.client is not None and errors.refuses_token(answer):
            self._tokens.refused(token)  # the next call fetches another
        return answer

    @property
    def credential(self) -> TokenCredential:
        """What is shown at this moment. Raises Unauthorized where that has expired."""
        credential = self._credentials()
        if credential.client is None:
            refuse_expired(credential, time.time())
        return credential

    @property
    def place(self) -> str:
        """Where the credential is written."""
        return self._credentials().place

    @property
    def rotates(self) -> bool:
        return self._tokens.rotates

    async def close(self) -> None:
        await self._tokens.close()
        await self._carrier.close()

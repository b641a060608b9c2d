"""The carrier of UNICORE's dialect: which call, in which pieces, tried how often. What is said stands in the pairs.

The server has no call for several jobs: a look is one small request for each job that has not ended, a few side by
side. Where all are looked for, one that has ended is not read again. Lists are read page by page, by addresses that are
made here: the server's own lead to what it thinks its name is, and lose the question.

A job and its directory live until the job's termination time, a day after the submit by default, running or not. Each
look keeps that time ahead.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from passerelle.batch import Batch
from passerelle.errors import Invalid, PasserelleError, Rejected, Unavailable
from passerelle.gateways import oidc
from passerelle.gateways.base import Identity, Listing, Probe, Traits
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.http import Carrier, ClientCertificate
from passerelle.gateways.surveys import Survey, Topic
from passerelle.gateways.together import in_turn
from passerelle.gateways.unicore import decode, encode, errors, survey
from passerelle.gateways.unicore.calls import Calls
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.passport import Passport
from passerelle.gateways.unicore.transfer import Transfers
from passerelle.gateways.unreached import Ca
from passerelle.marker import Run
from passerelle.slurm import JOB_ID, JobState, RemoteJob

log = logging.getLogger("passerelle.unicore")

READS_AT_ONCE = 4
"""Jobs that are read side by side: half of the connections, so that no submit waits behind a hundred reads."""

PAGE = 200
"""Jobs a page; the server's default and, for some releases, its limit."""

PAGES = 500
"""A list that goes on beyond is no answer."""

SETTLE_SECONDS = 30.0
"""A job is listed by its tag when its submit is answered; a server that hangs answers late."""

KEPT_SECONDS, LEAST_SECONDS = 20 * 86_400, 10 * 86_400
"""How far ahead a job's termination time is set, and what must be left of it: longer than this operator may be away."""

API = "rest/core"
URL_HELP = (
    "Write the address of the site's core services into gateway.url: it ends in /rest/core, like "
    "https://unicore.example.eu/SITE/rest/core."
)


class Unicore(Transfers):
    """One server, asked as whoever `credentials` returns at that moment. Gateway, Files, Upload and
    Transfer.
    """

    traits = Traits(
        listing=Listing.EACH,
        tags=True,
        silent=frozenset({"failed_node", "cancelled_by"}),
        surveys=frozenset({Topic.PARTITIONS, Topic.CLOCK}),
    )

    def __init__(
        self,
        url: str,
        credentials: Callable[[], UnicoreCredential],
        *,
        ca: Ca | None = None,
        certificate: ClientCertificate | None = None,
        settle_seconds: float = SETTLE_SECONDS,
        caller: Caller = NOBODY,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not url.rstrip("/").endswith(f"/{API}"):
            raise Invalid(URL_HELP, reason="InvalidUrl")
        carrier = Carrier(url, ca=ca, certificate=certificate, agent=caller.agent, transport=transport)
        passport = Passport(carrier, credentials, clock, tokens=oidc.tokens(ca, transport, caller.agent))
        super().__init__(Calls(carrier, passport))
        self.settle_seconds = settle_seconds
        self._clock = clock
        self._identity: Identity | None = None
        self._ended: dict[str, RemoteJob] = {}
        self._told: dict[str, dict[str, Any]] = {}  # what Slurm said last of a job
        self._not_kept: set[str] = set()

    async def probe(self) -> Probe:
        """Asks who we are: that proves the credential, which an empty list would not. A UNICORE that does not reach the
        site's own side answers all the same, and is told apart here.
        """
        identity, server = await self._calls.who()
        if identity != self._identity:
            self._identity, self._ended, self._told = identity, {}, {}
        links = server.get("externalConnections")
        told = [str(word) for name, word in _items(links) if name.startswith("TSI")]
        broken = [word for word in told if not word.startswith("OK")]
        if broken:
            raise Unavailable(f"UNICORE does not reach the site: {'; '.join(broken)}.", reason="SchedulerUnavailable")
        lacks = (oidc.ROTATES,) if self._calls.rotates else ()
        return Probe(
            identity, version=str(server.get("version") or ""), api_version=API, lacks=lacks, product="UNICORE"
        )

    async def submit(self, batch: Batch) -> str:
        """By the credential itself: a session that has ended would ask for a second try."""
        try:
            job = encode.job(batch)
        except ValueError as error:
            raise Rejected(f"The job can't be written for UNICORE: {error}.", reason="NotWritable") from None
        answer = await self._calls.send("POST", "jobs", body=job, session=False)
        if answer.status != errors.CREATED:
            raise errors.refusal(answer, self._calls.held)
        job_id = _id(answer.headers.get("location", ""))
        if job_id is None:
            raise Unavailable("UNICORE took the job and did not tell its address.", reason="UnexpectedAnswer")
        return job_id

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        found: dict[str, JobState] = {}

        async def read(job_id: str) -> None:
            record = await self._calls.read(f"jobs/{job_id}", [("fields", decode.LIGHT)])
            if record is not None:
                found[job_id] = decode.light_state(record)
                await self._keep(job_id, record)

        await in_turn(map(read, sorted(_ours(job_ids))), READS_AT_ONCE)
        return found

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        identity = await self._who()
        found: dict[str, RemoteJob] = {}

        async def read(job_id: str) -> None:
            job = await self._job(job_id, identity)
            if job is not None:
                found[job_id] = job

        await in_turn(map(read, sorted(_ours(job_ids))), READS_AT_ONCE)
        return list(found.values())

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:  # noqa: ARG002 -- see base.py
        listed = await self._list([("tags", encode.TAG)])
        self._ended = {job_id: job for job_id, job in self._ended.items() if job_id in listed}
        self._told = {job_id: told for job_id, told in self._told.items() if job_id in listed}
        self._not_kept &= listed
        jobs = [*self._ended.values(), *await self.get(listed - self._ended.keys())]
        return [job for job in jobs if job.name]

    async def cancel(self, job_id: str) -> None:
        if not _ours([job_id]):
            return
        answer = await self._calls.ask("POST", f"jobs/{job_id}/actions/abort", body={})
        if answer.status == errors.NOT_FOUND:
            await self._calls.who()
            return
        if answer.status not in (errors.OK, errors.NO_CONTENT):
            raise errors.failure(answer, self._calls.held)

    async def survey(self) -> Survey:
        """Of a site with several factories the queues of all are told: a job's queue is looked for by its name."""
        _, server = await self._calls.who()
        listed = (await self._calls.read("factories") or {}).get("factories")
        names = [_id(str(href)) for href in listed] if isinstance(listed, list) else []
        told = [await self._calls.read(f"factories/{name}", [("fields", "resources")]) for name in filter(None, names)]
        return Survey(partitions=survey.partitions(filter(None, told)), clock=survey.clock(server))

    async def close(self) -> None:
        await self._calls.close()

    # How it is done

    async def _who(self) -> Identity:
        return self._identity or (await self.probe()).identity

    async def _list(self, query: list[tuple[str, str]]) -> set[str]:
        """The ids of all pages. An empty list says nothing before it is known that it was ours."""
        found: set[str] = set()
        for page in range(PAGES):
            body = await self._calls.read("jobs", [*query, ("offset", str(page * PAGE)), ("num", str(PAGE))])
            hrefs = (body or {}).get("jobs")
            if not isinstance(hrefs, list):
                raise Unavailable("UNICORE's list of jobs is none.", reason="UnexpectedAnswer")
            ids = {job_id for href in hrefs if (job_id := _id(str(href))) is not None}
            if not ids:
                break
            if ids <= found:
                raise Unavailable("UNICORE's list of jobs does not end.", reason="UnexpectedAnswer")
            found |= ids
        if not found:
            await self._calls.who()
        return found

    async def _job(self, job_id: str, identity: Identity) -> RemoteJob | None:
        record = await self._calls.read(f"jobs/{job_id}", [("fields", decode.FULL)])
        if record is None:
            return None
        if decode.text(record.get("batchSystemID")).isdecimal():
            told = await self._details(job_id)
            if told:
                self._told[job_id] = told
        details = decode.details_in_log(record) or self._told.get(job_id, {})
        job = decode.job(job_id, record, details, cluster=identity.cluster, user=identity.user)
        if job.state.ending is None:
            await self._keep(job_id, record)
        else:
            self._ended[job_id] = job
        return job

    async def _details(self, job_id: str) -> dict[str, Any]:
        """What Slurm says of a job, while slurmctld knows it. No word of it is needed to go on."""
        try:
            return await self._calls.read(f"jobs/{job_id}/details") or {}
        except Unavailable:
            return {}

    async def _keep(self, job_id: str, record: dict[str, Any]) -> None:
        """Move a job's termination time. A server that refuses is told of once a job; the job runs on till then."""
        ends = decode.instant(record.get("terminationTime"))
        now = self._clock()
        if ends is None or ends - now >= LEAST_SECONDS or job_id in self._not_kept:
            return
        wanted = datetime.fromtimestamp(now + KEPT_SECONDS, UTC).strftime(decode.TIME)
        try:
            answer = await self._calls.ask("PUT", f"jobs/{job_id}", body={"terminationTime": wanted})
        except PasserelleError:
            return  # the next look tries again
        if answer.status != errors.OK or (answer.json() or {}).get("terminationTime") != "OK":
            self._not_kept.add(job_id)
            until = record.get("terminationTime")
            log.warning("the site does not let a job's lifetime be extended", extra={"job": job_id, "until": until})


def _ours(job_ids: Collection[str]) -> set[str]:
    """Ids that a server can have given: anything else would be another address."""
    return {job_id for job_id in job_ids if re.fullmatch(JOB_ID, job_id)}


def _id(href: str) -> str | None:
    """The last word of an address; whose address it is doesn't count."""
    last = href.rstrip("/").rpartition("/")[2]
    return last if re.fullmatch(JOB_ID, last) else None


def _items(value: object) -> list[tuple[str, object]]:
    return [(str(key), word) for key, word in value.items()] if isinstance(value, dict) else []

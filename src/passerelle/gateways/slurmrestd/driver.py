"""The carrier of slurmrestd's dialects: which call, in which pieces, tried how often. What is said stands in the pairs.

A submit is sent once and never again; reads and cancels are tried a second time where no answer of Slurm's came. The
version is looked for once a server and again after an upgrade; the credential is read for every call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from passerelle.batch import Batch
from passerelle.errors import Misaddressed, PasserelleError, Unauthorized, Unavailable
from passerelle.gateways import oidc
from passerelle.gateways.base import HORIZON_SECONDS, Identity, Listing, Probe, Traits, Words
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.http import BUSY, Answer, Carrier, ClientCertificate
from passerelle.gateways.oidc import ROTATES
from passerelle.gateways.second_try import twice
from passerelle.gateways.sieve import Sieve
from passerelle.gateways.slurmrestd import decode, errors, survey
from passerelle.gateways.slurmrestd.asking import numbers, pieces, searches
from passerelle.gateways.slurmrestd.credential import TokenCredential, headers_of, refuse_expired
from passerelle.gateways.slurmrestd.versions import KNOWN, NEWEST, Query, Version
from passerelle.gateways.surveys import EVERY_TOPIC, Association, SitePartition, Survey
from passerelle.gateways.unreached import Ca
from passerelle.gateways.windows import Window, Windows
from passerelle.marker import parse
from passerelle.slurm import JobState, RemoteJob

log = logging.getLogger("passerelle.slurmrestd")

STATES_PER_CALL = 2_000
"""Ids in one URL, some 36 KB: slurmrestd 24.11 and 26.05 take 70 KB and refuse 84, httpx refuses 65."""

READS_AT_ONCE = 4
"""Full records that are read side by side: half of the connections, so that no submit waits behind a hundred reads."""

SETTLE_SECONDS = 15.0
"""A frozen slurmctld that goes on takes waiting submits at once; its rows reach accounting within 5 s (22.05: 3.7)."""

_HTTP_OK, _HTTP_NOT_FOUND, _HTTP_URL_TOO_LONG = 200, 404, 414
_T = TypeVar("_T")
Begin = Callable[[], Sieve]
"""Makes the sieve of one try."""


class Slurmrestd:
    """One server, asked as whoever `credentials` returns at that moment. Gateway, Accounting, Signals and Info. What
    the server ignored of our submits is in `not_understood`: each field is a defect of this driver.
    """

    traits = Traits(listing=Listing.STATES, surveys=EVERY_TOPIC, by_name=True)

    def __init__(
        self,
        url: str,
        credentials: Callable[[], TokenCredential],
        *,
        ca: Ca | None = None,
        certificate: ClientCertificate | None = None,
        settle_seconds: float = SETTLE_SECONDS,
        caller: Caller = NOBODY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settle_seconds = settle_seconds
        self.not_understood: list[str] = []
        self._carrier = Carrier(url, ca=ca, certificate=certificate, agent=caller.agent, transport=transport)
        self._tokens = oidc.tokens(ca, transport, caller.agent)
        self._credentials = credentials
        self._version: Version | None = None
        self._cluster: str | None = None
        self._states_per_call = STATES_PER_CALL
        self._windows = Windows(time.time)

    async def probe(self) -> Probe:
        """Asks for licenses: the smallest answer for which slurmctld itself must take the token. Ping proves nothing:
        it says 200 and DOWN for an expired token.
        """
        version = await self._spoken()
        body = await self._read(f"{version.slurm}/licenses", whoever=True)
        about = decode.about(body)
        self._cluster = str(about.get("cluster") or "") or await self._cluster_by_records(version)
        identity = Identity(self._cluster, self._credential().user)
        lacks = version.lacks + ((ROTATES,) if self._tokens.rotates else ())
        release = str(about.get("release") or "")
        return Probe(identity, release, version.word, lacks=lacks, everybody=not version.light)

    async def submit(self, batch: Batch) -> str:
        try:
            version = await self._spoken()
        except Unavailable as error:  # the search for a version submits nothing, whatever became of it
            raise Unavailable(error.message, reason=error.reason, sent=False, retry_after=error.retry_after) from error
        answer = await self._send("POST", f"{version.slurm}/job/submit", body=version.submit(batch))
        body = answer.json() or {}
        number = decode.number(body.get("job_id")) or 0
        if answer.status != _HTTP_OK or number <= 0:
            raise errors.refusal(answer, self._place)
        self._report_ignored_fields(body, version)
        return str(number)

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        version = await self._spoken()
        waiting = numbers(job_ids)
        wanted = set(waiting)
        if not wanted:
            return {}
        if not version.light:
            listed = await self._all_jobs(version, lambda job: job.job_id in wanted)
            return {job.job_id: job.state for job in listed}
        found: dict[str, JobState] = {}
        while waiting:
            piece = waiting[: self._states_per_call]
            query = [("job_id", job_id) for job_id in piece]
            answer = await self._ask("GET", f"{version.slurm}/jobs/state/", query)
            if answer.status == _HTTP_URL_TOO_LONG and len(piece) > 1:
                self._states_per_call = max(1, len(piece) // 2)  # a proxy on the way takes less than slurmrestd
                continue
            records = map(decode.light_state, self._of_cluster(errors.read(answer, self._place)).get("jobs") or [])
            found |= {job_id: state for job_id, state in filter(None, records) if job_id in wanted}
            waiting = waiting[len(piece) :]
        return found

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        """One by one: a full listing costs the jobs of all users, 8 KiB each, and holds slurmctld's lock."""
        version = await self._spoken()
        found: list[RemoteJob] = []
        for piece in pieces(numbers(job_ids), READS_AT_ONCE):
            read = await asyncio.gather(*(self._job(version, job_id) for job_id in piece))
            found += [job for jobs, job_id in zip(read, piece, strict=True) for job in jobs if job.job_id == job_id]
        return found

    async def find(self) -> Sequence[RemoteJob]:
        version = await self._spoken()
        user = self._credential().user
        return await self._all_jobs(version, lambda job: job.user == user and parse(job.name) is not None)

    async def accounted(
        self, *, names: Words = (), job_ids: Words = (), within: float = HORIZON_SECONDS
    ) -> Sequence[RemoteJob]:
        """By submit time, from `within` on, to the day; in narrower searches where slurmdbd refuses so wide a one."""
        version = await self._spoken()
        cluster = self._cluster or (await self.probe()).identity.cluster
        user = self._credential().user
        found: list[RemoteJob] = []
        for which in searches(version, user, cluster, names, job_ids):

            async def ask(window: Window, which: Query = which) -> list[RemoteJob]:
                body = await self._read(f"{version.slurmdb}/jobs", [*which, *version.submitted(window)])
                return [decode.accounted_job(each) for each in body.get("jobs") or []]

            found += await self._windows.search(within, ask)
        return decode.newest(
            job
            for job in found
            if job.user == user and job.cluster == cluster and (job.name in names or job.job_id in job_ids)
        )

    async def cancel(self, job_id: str) -> None:
        if decode.is_job_id(job_id):
            await self._delete(await self._spoken(), job_id, [])

    async def warn(self, job_id: str, signal: str) -> bool:
        """v0.0.38 takes the signal and passes over the flag: so it would reach the steps, and what the ranks run on."""
        version = await self._spoken()
        if version.signals_batch and decode.is_job_id(job_id):
            await self._delete(version, job_id, [("signal", signal), ("flags", "BATCH_JOB")])
        return version.signals_batch

    async def _delete(self, version: Version, job_id: str, query: Query) -> None:
        answer = await self._ask("DELETE", f"{version.slurm}/job/{job_id}", query)
        body = answer.json()
        codes = errors.numbers_of(body)
        if codes & {errors.UNKNOWN_JOB, errors.ENDED_JOB}:
            return
        reason = "SignalFailed" if query else "CancelFailed"
        if answer.status != _HTTP_OK or codes:
            raise errors.not_ended(answer, self._place, reason)
        # From v0.0.42 on a refusal is a row of `status` in a good answer; an empty list is success.
        for row in (body or {}).get("status") or []:
            problem = row.get("error") or {}
            if problem.get("code") not in (0, errors.UNKNOWN_JOB, errors.ENDED_JOB):
                what = "signal" if query else "cancel"
                text = f"Slurm did not {what} job {job_id}: {problem.get('message')}."
                raise Unavailable(text, reason=reason)

    async def survey(self) -> Survey:
        """The scheduler must answer; accounting, and a clock that is kept from us, may be missing."""
        version = await self._spoken()
        return Survey(
            partitions=await self._partitions(version),
            associations=await self._or_none(self._associations(version)),
            clock=await self._or_none(self._clock(version)),
        )

    async def close(self) -> None:
        await self._tokens.close()
        await self._carrier.close()

    # Versions and identity

    async def _spoken(self) -> Version:
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
        answer = await self._ask("GET", f"{prefix}/ping", lost_version=False)
        if answer.status == _HTTP_NOT_FOUND:
            return False
        if answer.json() is None:
            raise errors.failure(answer, self._place)
        return True

    async def _cluster_by_records(self, version: Version) -> str:
        """Before v0.0.40 no answer's meta names the cluster: accounting does where it knows only one, else any job."""
        try:
            body = await self._read(f"{version.slurmdb}/clusters")
            names = {str(each.get("name")) for each in body.get("clusters") or []}
        except Unavailable:
            names = set()
        if len(names) != 1:
            names = {job.cluster for job in await self._all_jobs(version, lambda _: True)} - {""}
        if len(names) != 1:
            raise Unavailable(
                f"The site does not tell its cluster's name: {version.word} has it only from accounting or from a job.",
                reason="ClusterUnknown",
            )
        return names.pop()

    async def _partitions(self, version: Version) -> tuple[SitePartition, ...]:
        """24.11 and 26.05 ask slurmdbd for names of TRES: where it is silent, 500 comes with good rows."""
        path = f"{version.slurm}/partitions"
        rows = ((await self._ask("GET", path)).json() or {}).get("partitions")
        return tuple(map(survey.partition, rows or (await self._read(path)).get("partitions") or []))

    async def _associations(self, version: Version) -> tuple[Association, ...]:
        cluster = self._cluster or (await self.probe()).identity.cluster
        path, user = f"{version.slurmdb}/associations", self._credential().user
        own = (await self._read(path, [("user", user)])).get("associations") or []
        accounts = survey.accounts_of(own, user, cluster)
        every = (await self._read(path, [("account", ",".join(accounts))])) if accounts else {}
        return tuple(survey.associations(own, every.get("associations") or [], user, cluster))

    async def _clock(self, version: Version) -> float | None:
        return survey.clock(await self._read(f"{version.slurm}/diag"))

    @staticmethod
    async def _or_none(call: Awaitable[_T]) -> _T | None:
        try:
            return await call
        except Unavailable:
            return None

    def _credential(self) -> TokenCredential:
        credential = self._credentials()
        if credential.client is None:
            refuse_expired(credential, time.time())
        return credential

    @property
    def _place(self) -> str:
        return self._credentials().place

    # Calls

    async def _job(self, version: Version, job_id: str) -> list[RemoteJob]:
        answer = await self._ask("GET", f"{version.slurm}/job/{job_id}")
        if errors.UNKNOWN_JOB in errors.numbers_of(answer.json()):
            self._of_cluster(answer.json() or {})
            return []
        try:
            return decode.live_jobs(self._of_cluster(errors.read(answer, self._place)))
        except Unavailable as error:
            raise await self._doubted(version, error) from None

    async def _all_jobs(self, version: Version, keep: Callable[[RemoteJob], bool]) -> list[RemoteJob]:
        """The full listing. A site has many thousands of jobs, 8 KiB each as text and far more as objects: each is
        looked at as it comes, and what is not to be kept is dropped.
        """
        kept: list[RemoteJob] = []

        def take(record: dict[str, Any]) -> None:
            job = decode.live_job(record)
            if keep(job):
                kept.append(job)

        def begin() -> Sieve:
            kept.clear()  # it is the second try
            return Sieve("jobs", take)

        await self._read(f"{version.slurm}/jobs", sieve=begin)
        return kept

    async def _read(
        self, path: str, query: Query | None = None, sieve: Begin | None = None, *, whoever: bool = False
    ) -> dict[str, Any]:
        try:
            body = errors.read(await self._ask("GET", path, query or [], sieve=sieve), self._place)
            return body if whoever else self._of_cluster(body)
        except Unavailable as error:
            if self._version is None or not path.startswith(self._version.slurm + "/"):
                raise
            raise await self._doubted(self._version, error) from None

    def _of_cluster(self, body: dict[str, Any]) -> dict[str, Any]:
        """An answer of the cluster that was proven last, and of no other: where a balancer stands before several, each
        call may reach another one, and what that one does not know is no word of ours.
        """
        named = str(decode.about(body).get("cluster") or "")
        if self._cluster and named and named != self._cluster:
            text = (
                f"Cluster {named} answers, where {self._cluster} did a moment ago; write an address that leads to one."
            )
            raise Misaddressed(text, reason="AnotherCluster")
        return body

    async def _doubted(self, version: Version, error: Unavailable) -> PasserelleError:
        """22.05 says "Unspecified error" both for a bad token and for a dead slurmctld; only slurmdbd says which."""
        if version.names_cluster or error.reason != "SchedulerUnavailable":
            return error
        try:
            errors.read(await self._send("GET", f"{version.slurmdb}/clusters"), self._place)
        except Unauthorized as refused:
            return refused
        except Unavailable:
            return error
        return error

    async def _ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        lost_version: bool = True,
        sieve: Begin | None = None,
    ) -> Answer:
        """A read or a cancel, tried again where Slurm was not reached. Slurm's own failures are not: it waited 9 to
        45 s before it told us.
        """

        async def once() -> Answer:
            sifted = sieve() if sieve is not None else None
            answer = await self._send(method, path, query, lost_version=lost_version, sieve=sifted)
            failed = errors.failure(answer, self._place) if answer.status != _HTTP_OK else None
            if isinstance(failed, Unavailable) and failed.reason == BUSY:
                raise failed
            return answer

        return await twice(once)

    async def _send(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: object | None = None,
        lost_version: bool = True,
        sieve: Sieve | None = None,
    ) -> Answer:
        held = self._credential()
        token = held.token if held.client is None else await self._tokens.of(held.client)
        headers = headers_of(held, token) | {"accept": "application/json"}
        answer = await self._carrier.send(method, path, headers=headers, query=query or [], body=body, sieve=sieve)
        if lost_version and answer.status == _HTTP_NOT_FOUND and answer.json() is None:
            self._version = None  # the server was upgraded under us, and no longer serves what it did
        if held.client is not None and errors.refuses_token(answer):
            self._tokens.refused(token)  # the next call fetches another
        return answer

    def _report_ignored_fields(self, body: dict[str, Any], version: Version) -> None:
        """The job runs without what the server did not understand: our defect, told loudly, after the fact."""
        for warning in body.get("warnings") or []:
            source = str(warning.get("source") or "")
            if source.startswith("#/"):
                self.not_understood.append(source)
                log.error("slurmrestd ignored a field of a submit", extra={"field": source, "api": version.word})

"""The carrier of slurmrestd's dialects: which call, in which pieces. What is said stands in the pairs, how one call is
made in calls.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from passerelle.batch import Batch
from passerelle.errors import Unavailable, unsent
from passerelle.gateways.base import HORIZON_SECONDS, Identity, Listing, Probe, Traits, Words
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.http import ClientCertificate
from passerelle.gateways.oidc import ROTATES
from passerelle.gateways.sieve import Sieve
from passerelle.gateways.slurmrestd import decode, errors, survey
from passerelle.gateways.slurmrestd.asking import numbers, searches
from passerelle.gateways.slurmrestd.calls import OK, Calls
from passerelle.gateways.slurmrestd.credential import TokenCredential
from passerelle.gateways.slurmrestd.versions import Query, Version
from passerelle.gateways.slurmrestd.whose import Seen, Whose
from passerelle.gateways.surveys import EVERY_TOPIC, Association, SitePartition, Survey
from passerelle.gateways.together import in_turn
from passerelle.gateways.unreached import Ca
from passerelle.gateways.windows import Window, Windows
from passerelle.marker import Run, parse
from passerelle.slurm import JobState, RemoteJob

log = logging.getLogger("passerelle.slurmrestd")

STATES_PER_CALL = 2_000
"""Ids in one URL, some 36 KB: slurmrestd 24.11 and 26.05 take 70 KB and refuse 84, httpx refuses 65."""

READS_AT_ONCE = 4
"""Full records that are read side by side: half of the connections, so that no submit waits behind a hundred reads."""

SETTLE_SECONDS = 15.0
"""A frozen slurmctld that goes on takes waiting submits at once; its rows reach accounting within 5 s (22.05: 3.7)."""

_URL_TOO_LONG = 414
_T = TypeVar("_T")


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
        self._calls = Calls(url, credentials, ca=ca, certificate=certificate, caller=caller, transport=transport)
        self._states_per_call = STATES_PER_CALL
        self._windows = Windows(time.time)
        self._whose = Whose(self._calls, self._names)

    async def probe(self) -> Probe:
        """Asks for licenses: the smallest answer for which slurmctld itself must take the token. Ping proves nothing:
        it says 200 and DOWN for an expired token.
        """
        version = await self._calls.spoken()
        body = await self._calls.read(f"{version.slurm}/licenses", whoever=True)
        about = decode.about(body)
        named = str(about.get("cluster") or "")
        self._whose.needed = not named
        cluster = named or await self._whose.cluster(version)
        self._calls.cluster = cluster
        identity = Identity(cluster, self._calls.credential.user)
        lacks = version.lacks + ((ROTATES,) if self._calls.rotates else ())
        release = str(about.get("release") or "")
        return Probe(identity, release, version.word, lacks=lacks, everybody=not version.light)

    async def submit(self, batch: Batch) -> str:
        try:
            version = await self._calls.spoken()
            await self._whose.sure(version)
        except Unavailable as error:  # neither submits anything, whatever became of it
            raise unsent(error) from error
        answer = await self._calls.send("POST", f"{version.slurm}/job/submit", body=version.submit(batch))
        body = answer.json() or {}
        number = decode.number(body.get("job_id")) or 0
        if answer.status != OK or number <= 0:
            raise errors.refusal(answer, self._calls.place)
        self._report_ignored_fields(body, version)
        return str(number)

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        version = await self._calls.spoken()
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
            query = "&".join(f"job_id={job_id}" for job_id in piece)  # digits: nothing to encode
            answer = await self._calls.ask("GET", f"{version.slurm}/jobs/state/?{query}")
            if answer.status == _URL_TOO_LONG and len(piece) > 1:
                self._states_per_call = max(1, len(piece) // 2)  # a proxy on the way takes less than slurmrestd
                continue
            records = map(
                decode.light_state, self._calls.of_cluster(errors.read(answer, self._calls.place)).get("jobs") or []
            )
            found |= {job_id: state for job_id, state in filter(None, records) if job_id in wanted}
            waiting = waiting[len(piece) :]
        return found

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        """One by one: a full listing costs the jobs of all users, 8 KiB each, and holds slurmctld's lock."""
        version = await self._calls.spoken()
        wanted = numbers(job_ids)
        read = await in_turn((self._job(version, job_id) for job_id in wanted), READS_AT_ONCE)
        found = [job for jobs, job_id in zip(read, wanted, strict=True) for job in jobs if job.job_id == job_id]
        self._whose.saw(Seen.of(found))
        if len(found) < len(wanted):
            await self._whose.sure(version)
        return found

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:  # noqa: ARG002 -- see base.py
        version = await self._calls.spoken()
        user = self._calls.credential.user
        return await self._all_jobs(version, lambda job: job.user == user and parse(job.name) is not None)

    async def accounted(
        self, *, names: Words = (), job_ids: Words = (), within: float = HORIZON_SECONDS
    ) -> Sequence[RemoteJob]:
        """By submit time, from `within` on, to the day; in narrower searches where slurmdbd refuses so wide a one."""
        version = await self._calls.spoken()
        cluster = self._calls.cluster or (await self.probe()).identity.cluster
        user = self._calls.credential.user
        found: list[RemoteJob] = []
        for which in searches(version, user, cluster, names, job_ids):

            async def ask(window: Window, which: Query = which) -> list[RemoteJob]:
                body = await self._calls.read(f"{version.slurmdb}/jobs", [*which, *version.submitted(window)])
                return [decode.accounted_job(each) for each in body.get("jobs") or []]

            found += await self._windows.search(within, ask)
        kept = decode.newest(
            job
            for job in found
            if job.user == user and job.cluster == cluster and (job.name in names or job.job_id in job_ids)
        )
        await self._whose.served(version, kept)
        return kept

    async def cancel(self, job_id: str) -> None:
        if decode.is_job_id(job_id):
            await self._delete(await self._calls.spoken(), job_id, [])

    async def warn(self, job_id: str, signal: str) -> bool:
        """v0.0.38 takes the signal and passes over the flag: so it would reach the steps, and what the ranks run on."""
        version = await self._calls.spoken()
        if version.signals_batch and decode.is_job_id(job_id):
            await self._delete(version, job_id, [("signal", signal), ("flags", "BATCH_JOB")])
        return version.signals_batch

    async def _delete(self, version: Version, job_id: str, query: Query) -> None:
        answer = await self._calls.ask("DELETE", f"{version.slurm}/job/{job_id}", query)
        body = answer.json()
        codes = errors.numbers_of(body)
        if codes & {errors.UNKNOWN_JOB, errors.ENDED_JOB}:
            return
        reason = "SignalFailed" if query else "CancelFailed"
        if answer.status != OK or codes:
            raise errors.not_ended(answer, self._calls.place, reason)
        # From v0.0.42 on a refusal is a row of `status` in a good answer; an empty list is success.
        for row in (body or {}).get("status") or []:
            problem = row.get("error") or {}
            if problem.get("code") not in (0, errors.UNKNOWN_JOB, errors.ENDED_JOB):
                what = "signal" if query else "cancel"
                text = f"Slurm did not {what} job {job_id}: {problem.get('message')}."
                raise Unavailable(text, reason=reason)

    async def survey(self) -> Survey:
        """The scheduler must answer; accounting, and a clock that is kept from us, may be missing."""
        version = await self._calls.spoken()
        return Survey(
            partitions=await self._partitions(version),
            associations=await self._or_none(self._associations(version)),
            clock=await self._or_none(self._clock(version)),
        )

    async def close(self) -> None:
        await self._calls.close()

    async def _partitions(self, version: Version) -> tuple[SitePartition, ...]:
        """24.11 and 26.05 ask slurmdbd for names of TRES: where it is silent, 500 comes with good rows."""
        path = f"{version.slurm}/partitions"
        rows = ((await self._calls.ask("GET", path)).json() or {}).get("partitions")
        return tuple(map(survey.partition, rows or (await self._calls.read(path)).get("partitions") or []))

    async def _associations(self, version: Version) -> tuple[Association, ...]:
        cluster = self._calls.cluster or (await self.probe()).identity.cluster
        path, user = f"{version.slurmdb}/associations", self._calls.credential.user
        own = (await self._calls.read(path, [("user", user)])).get("associations") or []
        accounts = survey.accounts_of(own, user, cluster)
        every = (await self._calls.read(path, [("account", ",".join(accounts))])) if accounts else {}
        return tuple(survey.associations(own, every.get("associations") or [], user, cluster))

    async def _clock(self, version: Version) -> float | None:
        return survey.clock(await self._calls.read(f"{version.slurm}/diag"))

    @staticmethod
    async def _or_none(call: Awaitable[_T]) -> _T | None:
        try:
            return await call
        except Unavailable:
            return None

    async def _job(self, version: Version, job_id: str) -> list[RemoteJob]:
        answer = await self._calls.ask("GET", f"{version.slurm}/job/{job_id}")
        if errors.UNKNOWN_JOB in errors.numbers_of(answer.json()):
            self._calls.of_cluster(answer.json() or {})
            return []
        try:
            return decode.live_jobs(self._calls.of_cluster(errors.read(answer, self._calls.place)))
        except Unavailable as error:
            raise await self._calls.doubted(version, error) from None

    async def _all_jobs(self, version: Version, keep: Callable[[RemoteJob], bool]) -> list[RemoteJob]:
        """The full listing, of the cluster that was proven."""
        began = time.monotonic()
        kept, seen = await self._records(version, keep)
        await self._whose.listed(version, seen, time.monotonic() - began)
        return kept

    async def _names(self, version: Version) -> Seen:
        return (await self._records(version, lambda _: False))[1]

    async def _records(self, version: Version, keep: Callable[[RemoteJob], bool]) -> tuple[list[RemoteJob], Seen]:
        """A site has many thousands of jobs, 8 KiB each as text and far more as objects: each is looked at as it comes,
        and what is not to be kept is dropped.
        """
        kept, seen = list[RemoteJob](), Seen()

        def take(record: dict[str, Any]) -> None:
            job = decode.live_job(record)
            seen.take(job)
            if keep(job):
                kept.append(job)

        def begin() -> Sieve:
            nonlocal seen
            kept.clear()  # it is the second try
            seen = Seen()
            return Sieve("jobs", take)

        await self._calls.read(f"{version.slurm}/jobs", sieve=begin)
        return kept, seen

    def _report_ignored_fields(self, body: dict[str, Any], version: Version) -> None:
        """The job runs without what the server did not understand: our defect, told loudly, after the fact."""
        for warning in body.get("warnings") or []:
            source = str(warning.get("source") or "")
            if source.startswith("#/"):
                self.not_understood.append(source)
                log.error("slurmrestd ignored a field of a submit", extra={"field": source, "api": version.word})

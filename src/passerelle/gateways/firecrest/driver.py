"""FirecREST v2 as a Gateway: which call, what is believed of its answer, and what when its list can't be had.

Each list and each record costs the site a sacct and a squeue over SSH, so a look is one list: full records that are
asked for a moment later are the list's own. A job that is missing from a list is asked for by its id before it counts
as missing (lists pass over jobs that wait for others). One job of the user whose name has a | breaks every list until
it has left the window: then jobs are read one by one, the asked names through the name filter, and nothing is absent
that was not looked for.

Accounting is sacct's: by id for ever, by name for seven days, the widest window there is. There is no other memory, and
without slurmdbd FirecREST's lists fail as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import httpx

from passerelle.batch import Batch
from passerelle.errors import Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Identity, Probe
from passerelle.gateways.firecrest import decode, encode, errors, system
from passerelle.gateways.firecrest.calls import Calls
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.files import RemoteFiles
from passerelle.gateways.firecrest.script import script
from passerelle.gateways.firecrest.system import System
from passerelle.gateways.http import Answer
from passerelle.marker import parse
from passerelle.slurm import JobState, RemoteJob

log = logging.getLogger("passerelle.firecrest")

SETTLE_SECONDS = 30.0
"""A frozen slurmctld that goes on takes what sbatch has left behind; sacct shows it some seconds later."""

LIVE_WINDOW, LONGEST_WINDOW = "1h", "7d"
"""Of jobs that have ended. Those that wait or run are listed whatever the window; a release before 2.5.7 takes seven
days for everything.
"""

NAMES_PER_CALL = 6
"""Markers in one name filter, which takes 235 characters."""

READS_AT_ONCE = 4
"""By-id reads side by side: each is two commands on one SSH connection."""

SINGLE_READS = 1
"""So many records are read by id; more of them by one list, which is no more commands than one record."""

MEMO_SECONDS = 1.0
"""How long the records of a list serve those who ask for them next, within the same look."""

_HTTP_OK, _HTTP_CREATED, _HTTP_NO_CONTENT, _HTTP_NOT_FOUND = 200, 201, 204, 404
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _User:
    """Who the site says we are, and as whose token it was asked."""

    name: str
    uid: str
    credential: FirecrestCredential


class Firecrest:
    """One system behind one server. Gateway, Accounting and Files."""

    def __init__(
        self,
        url: str,
        system_name: str,
        credentials: Callable[[], FirecrestCredential],
        *,
        ca: bytes | None = None,
        allow_rest: bool = False,
        settle_seconds: float = SETTLE_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settle_seconds = settle_seconds
        self._calls = Calls(url, credentials, ca=ca, transport=transport)
        self._name = system_name.lower()
        self._allow_rest = allow_rest
        self._system: System | None = None
        self._user: _User | None = None
        self._listed_at = float("-inf")
        self._listed: dict[str, RemoteJob] = {}
        self._asked_names: set[str] = set()
        self._files = RemoteFiles(self._calls, self._name, lambda: self._told.ops_limit)

    async def probe(self) -> Probe:
        """Asks for the partitions: one scontrol, for which SSH and slurmctld must serve us. FirecREST's own word on
        their health is minutes old, but what it calls unwell it passes nothing on to. Who we are is asked once a
        credential.
        """
        self._asked_names.clear()
        found = await self._look_at_system()
        found.refuse(allow_rest=self._allow_rest)
        user = await self._me()
        errors.read(await self._calls.ask("GET", f"status/{self._name}/partitions"))
        return Probe(Identity(self._name, user.name), version=found.version, api_version="v2")

    async def submit(self, batch: Batch) -> str:
        try:
            found = self._system or await self._look_at_system()
            found.refuse(allow_rest=self._allow_rest)
            await self._me()
            path = await self._lay_down(batch) if found.mode == "hybrid" else None
        except Unavailable as error:  # none of these submits anything, whatever became of them
            raise Unavailable(error.message, reason=error.reason, sent=False, retry_after=error.retry_after) from error
        self._forget_list()
        answer = await self._calls.once("POST", f"compute/{self._name}/jobs", body=encode.submit(batch, path))
        job_id = decode.submitted(answer.json() or {}) if answer.status == _HTTP_CREATED else None
        if job_id is None:
            raise errors.refusal(answer)
        return job_id

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        found = await self._read(job_ids)
        self._listed, self._listed_at = found, time.monotonic()
        return {job_id: job.state for job_id, job in found.items()}

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        wanted = set(job_ids)
        if time.monotonic() - self._listed_at <= MEMO_SECONDS and wanted <= self._listed.keys():
            return [self._listed[job_id] for job_id in sorted(wanted)]
        return list((await self._read(wanted)).values())

    async def find(self) -> Sequence[RemoteJob]:
        """Where no list can be had: the jobs of the names that accounting was asked for since the last probe, since who
        looks for a run asks for its names first.
        """
        try:
            jobs = await self._list(LIVE_WINDOW)
        except Unavailable as error:
            jobs = await self._list_names(LIVE_WINDOW, self._asked_names, error)
        return [job for job in jobs if parse(job.name) is not None]

    async def accounted(self, *, names: Collection[str] = (), job_ids: Collection[str] = ()) -> Sequence[RemoteJob]:
        wanted = set(names)
        self._asked_names |= wanted
        found: dict[str, RemoteJob] = {}
        if wanted:
            try:
                jobs = await self._list(LONGEST_WINDOW, live=False)
            except Unavailable as error:
                jobs = await self._list_names(LONGEST_WINDOW, wanted, error, live=False)
            found |= {job.job_id: job for job in jobs if job.name in wanted}
        found |= await self._by_id(set(job_ids) - found.keys(), live=False)
        return list(found.values())

    async def cancel(self, job_id: str) -> None:
        if not _ours(job_id):
            return
        await self._me()
        self._forget_list()
        answer = await self._calls.ask("DELETE", f"compute/{self._name}/jobs/{job_id}")
        if answer.status not in (_HTTP_OK, _HTTP_NO_CONTENT) and not errors.ended(answer):
            raise errors.failure(answer)

    async def size(self, path: str) -> int | None:
        await self._me()
        return await self._files.size(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        await self._me()
        return await self._files.read(path, offset, length)

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        await self._me()
        await self._files.write(path, content, mode=mode)

    async def close(self) -> None:
        await self._calls.close()

    # Who answers, and as whom we ask

    @property
    def _told(self) -> System:
        """What the server said last of the system; before it did, what most servers say."""
        return self._system or System(self._name, "ssh", "", system.OPS_LIMIT)

    async def _look_at_system(self) -> System:
        self._system = system.find(errors.read(await self._calls.ask("GET", "status/systems")), self._name)
        return self._system

    async def _me(self) -> _User:
        credential = self._calls.credential
        if self._user is not None and self._user.credential == credential:
            return self._user
        told = errors.read(await self._calls.ask("GET", f"status/{self._name}/userinfo")).get("user")
        name, uid = (str(told.get(key) or "") for key in ("name", "id")) if isinstance(told, dict) else ("", "")
        if not name:
            raise Unavailable("FirecREST does not tell as whom it runs commands.", reason="UnexpectedAnswer")
        if credential.username and credential.username != name:
            text = (
                f"The Site's Secret has username {credential.username}, but FirecREST runs commands as {name}; write "
                f"{name} under username, or credentials of {credential.username}."
            )
            raise Unauthorized(text, reason="UserMismatch")
        self._user = _User(name, uid, credential)
        return self._user

    # Submit

    async def _lay_down(self, batch: Batch) -> str:
        """Hybrid mode: a script in the body goes to slurmrestd, which ignores its options; a file goes to sbatch."""
        path = f"{batch.options.working_directory.rstrip('/')}/{batch.options.name}.sbatch"
        try:
            await self._files.write(path, script(batch).encode())
        except Missing:
            text = f"The script can't be laid down: {batch.options.working_directory} does not exist at the site."
            raise Rejected(text, reason="WorkingDirectoryMissing") from None
        return path

    # Lists and records

    async def _read(self, job_ids: Collection[str]) -> dict[str, RemoteJob]:
        """The newest records of these jobs; those that a list lacks by id."""
        wanted = {job_id for job_id in job_ids if _ours(job_id)}
        listed: dict[str, RemoteJob] = {}
        if len(wanted) > SINGLE_READS:
            try:
                listed = {job.job_id: job for job in await self._list(LIVE_WINDOW) if job.job_id in wanted}
            except Unavailable as error:
                self._say_broken(error, f"{len(wanted)} jobs are read one by one")
        return listed | await self._by_id(wanted - listed.keys())

    async def _list(self, window: str, names: Sequence[str] = (), *, live: bool = True) -> list[RemoteJob]:
        user = await self._me()
        query = [("time_window", window), *([("name", ",".join(names))] if names else [])]
        body = errors.read(await self._calls.ask("GET", f"compute/{self._name}/jobs", query))
        return self._decoded(body, user, live=live)

    async def _list_names(
        self, window: str, names: Collection[str], error: Unavailable, *, live: bool = True
    ) -> list[RemoteJob]:
        """What a broken list hides: FirecREST from 2.5.7 on filters by name before it reads. Others fail as before."""
        if error.reason != errors.SCHEDULER_UNAVAILABLE:
            raise error
        if not names:
            raise await self._broken(error)
        found: list[RemoteJob] = []
        try:
            for piece in _pieces(sorted(names), NAMES_PER_CALL):
                found += await self._list(window, piece, live=live)
        except Unavailable as again:
            raise await self._broken(again) from None
        self._say_broken(error, f"{len(names)} jobs are looked for by name")
        return found

    async def _by_id(self, job_ids: Collection[str], *, live: bool = True) -> dict[str, RemoteJob]:
        user = await self._me()
        found: dict[str, RemoteJob] = {}
        for piece in _pieces(sorted(filter(_ours, job_ids)), READS_AT_ONCE):
            for answer in await asyncio.gather(*(self._record(job_id) for job_id in piece)):
                if answer is not None:
                    jobs = self._decoded(errors.read(answer), user, live=live)
                    found |= {job.job_id: job for job in jobs if job.job_id in piece}
        return found

    async def _record(self, job_id: str) -> Answer | None:
        answer = await self._calls.ask("GET", f"compute/{self._name}/jobs/{job_id}")
        return None if answer.status == _HTTP_NOT_FOUND and errors.ended(answer) else answer

    def _decoded(self, body: decode.Record, user: _User, *, live: bool) -> list[RemoteJob]:
        users = {user.uid: user.name} if user.uid else {}
        records = [each for each in body.get("jobs") or [] if isinstance(each, dict)]
        jobs = (decode.job(each, self._told, users, live=live) for each in records)
        return [job for job in jobs if job is not None and job.user == user.name]

    async def _broken(self, error: Unavailable) -> PasserelleError:
        """The error of a list where single records can't be read either; else that it is the list alone."""
        try:
            await self._by_id({"1"})
        except PasserelleError:
            return error
        text = (
            "FirecREST can't list the user's jobs, only single ones: most likely a job of the same user has a | in its "
            "name. Rename that job (scontrol update jobid=… jobname=…), or wait until it has ended for a week; jobs "
            "that are known are still watched, one by one."
        )
        return Unavailable(text, reason="ListBroken")

    def _say_broken(self, error: Unavailable, instead: str) -> None:
        log.warning("a list of jobs failed: %s", instead, extra={"system": self._name, "error": error.message})

    def _forget_list(self) -> None:
        self._listed_at = float("-inf")


def _ours(job_id: str) -> bool:
    """Whether this can be an id of Slurm's: another driver's is one that nobody here knows."""
    return job_id.isascii() and job_id.isdigit()


def _pieces(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

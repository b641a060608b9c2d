"""The records of jobs: lists, single ones, and what is done where lists fail.

Each list and each record costs the site a sacct and a squeue over SSH, so a look is one list. A job that is missing
from a list is asked for by its id before it counts as missing (lists pass over jobs that wait for others). One job of
the user whose name has a | breaks every list until it has left the window: then jobs are read one by one, the asked
names through the name filter, and nothing is absent that was not looked for.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from passerelle.errors import PasserelleError, Unavailable
from passerelle.gateways.firecrest import decode, errors
from passerelle.gateways.firecrest.calls import Calls
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.system import System
from passerelle.gateways.http import Answer
from passerelle.gateways.together import in_turn
from passerelle.slurm import RemoteJob

log = logging.getLogger("passerelle.firecrest")

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

_HTTP_NOT_FOUND = 404
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class User:
    """Who the site says we are, and as whose token it was asked."""

    name: str
    uid: str
    credential: FirecrestCredential


class Jobs:
    """Jobs of one system that are `me`'s. `told` is what the server said last of the system."""

    def __init__(self, calls: Calls, me: Callable[[], Awaitable[User]], told: Callable[[], System]) -> None:
        self._calls = calls
        self._me = me
        self._told = told

    async def read(self, job_ids: Collection[str]) -> dict[str, RemoteJob]:
        """The newest records of these jobs; those that a list lacks by id."""
        wanted = {job_id for job_id in job_ids if ours(job_id)}
        listed: dict[str, RemoteJob] = {}
        if len(wanted) > SINGLE_READS:
            try:
                listed = {job.job_id: job for job in await self._list(LIVE_WINDOW) if job.job_id in wanted}
            except Unavailable as error:
                if error.reason != errors.SCHEDULER_UNAVAILABLE:
                    raise
                self._say_broken(error, f"{len(wanted)} jobs are read one by one")
        return listed | await self.by_id(wanted - listed.keys())

    async def listed(self, window: str, names: Collection[str], *, live: bool = True) -> list[RemoteJob]:
        """All of the window; where no list can be had, those with one of these names."""
        try:
            return await self._list(window, live=live)
        except Unavailable as error:
            if error.reason != errors.SCHEDULER_UNAVAILABLE:
                raise
            return await self._list_names(window, names, error, live=live)

    async def by_id(self, job_ids: Collection[str], *, live: bool = True) -> dict[str, RemoteJob]:
        user = await self._me()
        wanted = set(filter(ours, job_ids))
        found: dict[str, RemoteJob] = {}

        async def read(job_id: str) -> None:
            answer = await self._record(job_id)
            if answer is not None:  # read at once: where one is refused, no more are asked for
                jobs = self._decoded(errors.read(answer), user, live=live)
                found.update({job.job_id: job for job in jobs if job.job_id in wanted})

        await in_turn(map(read, sorted(wanted)), READS_AT_ONCE)
        return found

    @property
    def path(self) -> str:
        return f"compute/{self._told().name}/jobs"

    async def _list(self, window: str, names: Sequence[str] = (), *, live: bool = True) -> list[RemoteJob]:
        user = await self._me()
        query = [("time_window", window), *([("name", ",".join(names))] if names else [])]
        body = errors.read(await self._calls.ask("GET", self.path, query))
        return self._decoded(body, user, live=live)

    async def _list_names(
        self, window: str, names: Collection[str], error: Unavailable, *, live: bool
    ) -> list[RemoteJob]:
        """What a broken list hides: FirecREST from 2.5.7 on filters by name before it reads. Others fail as before."""
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

    async def _record(self, job_id: str) -> Answer | None:
        answer = await self._calls.ask("GET", f"{self.path}/{job_id}")
        return None if answer.status == _HTTP_NOT_FOUND and errors.ended(answer) else answer

    def _decoded(self, body: decode.Record, user: User, *, live: bool) -> list[RemoteJob]:
        users = {user.uid: user.name} if user.uid else {}
        records = [each for each in body.get("jobs") or [] if isinstance(each, dict)]
        jobs = (decode.job(each, self._told(), users, live=live) for each in records)
        return [job for job in jobs if job is not None and job.user == user.name]

    async def _broken(self, error: Unavailable) -> PasserelleError:
        """The error of a list where single records can't be read either; else that it is the list alone."""
        try:
            await self.by_id({"1"})
        except PasserelleError:
            return error
        text = (
            "FirecREST can't list the user's jobs, only single ones: most likely a job of the same user has a | in its "
            "name. Rename that job (scontrol update jobid=… jobname=…), or wait until it has ended for a week; jobs "
            "that are known are still watched, one by one."
        )
        return Unavailable(text, reason="ListBroken")

    def _say_broken(self, error: Unavailable, instead: str) -> None:
        log.warning("a list of jobs failed: %s", instead, extra={"system": self._told().name, "error": error.message})


def ours(job_id: str) -> bool:
    """Whether this can be an id of Slurm's: another driver's is one that nobody here knows."""
    return job_id.isascii() and job_id.isdigit()


def _pieces(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

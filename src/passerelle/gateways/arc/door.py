"""The door job: a small job of our own, behind whose session directory lies all that our user may read and write.

A-REX shows session directories, and follows a link in one of them. So this job makes a link to `/` in its own, and
ends: while A-REX keeps that directory, a week by default, a path of the site is a path behind the link. A door job that
is there is used, whoever submitted it; a second one would do no harm. One is submitted where something is to be
written, moved or listed, and never for a log. Its name is no marker, so it is nobody's attempt.

A-REX removes it when it will, and would make a directory of the link's name for whoever writes then. So what is missing
is believed only while the link stands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from passerelle.batch import Options
from passerelle.errors import PasserelleError, Rejected, Unavailable
from passerelle.gateways.arc import decode
from passerelle.gateways.base import NOT_OPENED, OPENING

NAME = "passerelle-door"
LINK = "root"
COMMAND = f"ln -s / {LINK}"

LOOK_SECONDS = 5.0
"""What a look has told counts for as long: a hundred files that wait for the door are one question."""
AGAIN_SECONDS = 600.0
"""From the moment on at which a door job was submitted, or was seen to have failed, until another is submitted."""

_MINUTES, _MEMORY_MIB = 5, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Where a door job runs, and who pays for it; None leaves it to the site."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None


THE_SITES = Charge()


def options(charge: Charge) -> Options:
    """What is asked of the scheduler: the least that there is."""
    return Options(
        name=NAME,
        account=charge.account,
        partition=charge.partition or "",
        qos=charge.qos,
        nodes=1,
        tasks_per_node=1,
        cpus_per_task=1,
        memory_per_node_mib=_MEMORY_MIB,
        gpus_per_node=0,
        time_limit_minutes=_MINUTES,
        working_directory="",
        standard_output="",
        standard_error="",
    )


@dataclass(slots=True)
class Door:
    """Of one user. `jobs` lists door jobs, the newest first, by their ids, with A-REX's word for each. `linked` says
    whether a job's link is there, and `why` why a job left none.
    """

    jobs: Callable[[], Awaitable[Mapping[str, str]]]
    linked: Callable[[str], Awaitable[bool]]
    submit: Callable[[], Awaitable[str]]
    why: Callable[[str], Awaitable[str]]
    clock: Callable[[], float] = time.monotonic
    job: str = ""
    """The job whose link was seen; "" while none was."""
    _failed: dict[str, float] = field(default_factory=dict)
    _submitted: float | None = None
    _told: tuple[float, PasserelleError] | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def seen(self) -> str:
        """The open door's job, for who only reads: "" where there is none, or it failed. Raises Unavailable, OPENING,
        while one is under way.
        """
        try:
            return await self._found(submits=False)
        except Rejected:
            return ""

    async def opened(self) -> str:
        """The open door's job; where there is none, it is submitted. Raises Unavailable, OPENING, until it is open, and
        Rejected, NOT_OPENED, where the last one failed.
        """
        return await self._found(submits=True)

    async def stands(self, job_id: str) -> None:
        """Raises Unavailable, OPENING, where a job's link is gone: what was missing behind it may be there."""
        if await self.linked(job_id):
            return
        if self.job == job_id:
            self.job = ""
        text = "The job that opened the site's files for ARC is gone with its directory; another will open them."
        raise Unavailable(text, reason=OPENING)

    def forget(self) -> None:
        """Another user asks from now on."""
        self.job, self._told, self._submitted = "", None, None
        self._failed.clear()

    async def _found(self, *, submits: bool) -> str:
        async with self._lock:
            if self.job:
                return self.job
            if self._told is not None and self.clock() - self._told[0] < LOOK_SECONDS:
                raise self._told[1]
            try:
                self.job = await self._look()
                if submits and not self.job:
                    await self._submit()
            except (Rejected, Unavailable) as error:
                self._told = (self.clock(), error)
                raise
            return self.job

    async def _submit(self) -> None:
        """Raises Unavailable, OPENING, always. One that is gone before its link was seen is not submitted anew at once:
        who removes jobs there would remove that one, too.
        """
        if self._submitted is not None and self.clock() - self._submitted < AGAIN_SECONDS:
            raise _opening("was submitted, and ARC does not show it; another is, ten minutes later")
        try:
            await self.submit()
        except Unavailable as error:
            if error.sent:
                self._submitted = self.clock()
            raise
        self._submitted = self.clock()
        raise _opening("was submitted")

    async def _look(self) -> str:
        jobs, trouble = await self.jobs(), None
        for job_id, word in jobs.items():
            if word in decode.QUEUED:
                continue
            try:
                if await self.linked(job_id):
                    return job_id
            except Unavailable as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        live = [word for word in jobs.values() if word not in decode.ENDED]
        if live:
            raise _opening("waits in its queue" if all(word in decode.QUEUED for word in live) else "runs")
        newest = next(iter(jobs), "")
        if not newest or self.clock() - self._failed.setdefault(newest, self.clock()) >= AGAIN_SECONDS:
            return ""
        text = f"The small job that opens the site's files for ARC, {newest} there, failed: {await self.why(newest)}"
        raise Rejected(f"{text.rstrip('.')}. Another is submitted ten minutes later.", reason=NOT_OPENED)


def _opening(does: str) -> Unavailable:
    text = (
        f"A small job that opens the site's files for ARC {does}: files are written, listed and moved when it has run."
    )
    return Unavailable(text, reason=OPENING, sent=False)

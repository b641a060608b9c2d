"""Which command answers which question, in which pieces, tried how often. What is said stands in the pure rooms.

A submit is sent once and never again; reads and cancels are tried a second time where a connection that had long stood
turned out to be broken. Every listing is of our own user's jobs: its cost does not grow with the site's others.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from passerelle.batch import Batch
from passerelle.errors import Missing, Unavailable
from passerelle.gateways.base import HORIZON_SECONDS, Identity, Listing, Probe, Traits, Words
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.slurmrestd.decode import is_job_id
from passerelle.gateways.ssh import commands, decode, errors, survey
from passerelle.gateways.ssh.address import address
from passerelle.gateways.ssh.commands import Command
from passerelle.gateways.ssh.connection import Connection
from passerelle.gateways.ssh.credential import SshCredential, refuse_untimely
from passerelle.gateways.ssh.decode import NotUnderstood, Site
from passerelle.gateways.ssh.errors import Answer
from passerelle.gateways.ssh.names import Named, Names
from passerelle.gateways.ssh.node import UNREACHABLE, Nodes
from passerelle.gateways.ssh.sessions import Sessions
from passerelle.gateways.ssh.survey import Row
from passerelle.gateways.ssh.transfer import SshTransfer
from passerelle.gateways.surveys import EVERY_TOPIC, Association, Survey
from passerelle.gateways.windows import Window, Windows
from passerelle.marker import Run, parse
from passerelle.slurm import JobState, RemoteJob

MARGIN_SECONDS = 30.0
"""How long after a command's own time is over its answer is waited for."""

SETTLE_SECONDS = commands.SUBMIT_SECONDS + 15.0
"""An sbatch whose connection is lost may go on trying for so long; rows then take up to 5 s to reach accounting."""

DIGESTS_AGAIN_SECONDS = 24 * 3600.0
"""How long after one was ended no digest is begun: what a login node ends costs it minutes of a core each time."""

EACH_RECORDS, EACH_MOST = 50, 8
"""A squeue more costs what so many records do, of all that slurmctld sends; and no more than so many are started."""

IDS_PER_COMMAND = 500
NAMES_PER_COMMAND = 100
"""5 KB of a command line: far below every shell's limit, and no more than a few rows of a database's index."""

log = logging.getLogger("passerelle.ssh")

_T = TypeVar("_T")


class Ssh(SshTransfer):
    """One login node, asked as whoever `credentials` returns at that moment. Gateway, and all capabilities. `nodes` are
    those that other doors lead to, too.
    """

    traits = Traits(listing=Listing.STATES, silent=frozenset({"failed_node"}), surveys=EVERY_TOPIC)

    def __init__(
        self,
        url: str,
        credentials: Callable[[], SshCredential],
        *,
        jump: str | None = None,
        caller: Caller = NOBODY,
        sessions: Sessions = Sessions(),  # noqa: B008 -- it is frozen
        nodes: Nodes | None = None,
        settle_seconds: float = SETTLE_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settle_seconds = settle_seconds

        def timely() -> SshCredential:
            credential = credentials()
            refuse_untimely(credential, now())
            return credential

        there, way = address(url), address(jump) if jump else None
        among = nodes or Nodes()
        self._connection, self._bulk = (
            Connection(there, timely, jump=way, nodes=among, bulk=bulk, caller=caller, sessions=sessions)
            for bulk in (False, True)
        )
        self._site: Site | None = None
        self._ours = 0
        """Jobs of ours that slurmctld knew at the last light listing."""
        self._about = {"site": caller.site, "login_node": str(there)}
        self._digesting = asyncio.Lock()
        self._digests_again = float("-inf")
        self._windows = Windows(now)
        self._names = Names(self._named, time.monotonic)
        super().__init__(self._connection, self._bulk)

    async def probe(self) -> Probe:
        """Asks for slurmctld's configuration: the answer is its own, and names the cluster."""
        answer = await self._run(commands.who_answers(_mark()))
        here = _read(answer, decode.site, errors.failure)
        if here != self._site:
            self._names.forget()
        self._site = here
        return Probe(Identity(here.cluster, here.user), version=here.release, api_version="ssh")

    async def submit(self, batch: Batch) -> str:
        try:
            job_id = await self._submitted(batch)
        except (Unavailable, asyncio.CancelledError) as error:
            if not isinstance(error, Unavailable) or error.sent:
                self._names.doubted(self.settle_seconds)
            raise
        self._names.submitted(job_id, batch.options.name)
        return job_id

    async def _submitted(self, batch: Batch) -> str:
        command = commands.submit(_mark(), batch)
        answer = await self._connection.run(command, commands.SUBMIT_SECONDS + MARGIN_SECONDS)
        if answer.status != 0:
            raise errors.refusal(answer)
        return _read(answer, decode.submitted, errors.failure)

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        wanted = set(job_ids)
        if not wanted:
            return {}
        command = commands.states(_mark())
        found = _read(await self._run(command), partial(decode.states, mark=command.mark), errors.failure)
        self._ours = len(found)
        return {job_id: state for job_id, state in found.items() if job_id in wanted}

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        """Asked for several, squeue has all of ours sent, and prints some. So a few of very many are read each by
        itself, and more than a command may name are picked from all.
        """
        here = await self._here()
        wanted = sorted(filter(is_job_id, set(job_ids)))
        if not wanted:
            return []
        one_by_one = 1 < len(wanted) <= min(EACH_MOST, self._ours // EACH_RECORDS)
        named = wanted if len(wanted) <= IDS_PER_COMMAND else ()
        command = commands.each(_mark(), wanted) if one_by_one else commands.live(_mark(), named)
        answer = await self._run(command)
        if answer.status != 0 and errors.job_is_gone(answer):
            return []  # of a single id squeue says that it is unknown; of several it lists the others
        found = _read(answer, partial(decode.live, mark=command.mark, here=here), errors.failure)
        return [job for job in found if job.job_id in job_ids]

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:  # noqa: ARG002 -- see base.py
        here = await self._here()
        command = commands.live(_mark())
        jobs = _read(await self._run(command), partial(decode.live, mark=command.mark, here=here), errors.failure)
        return [job for job in jobs if parse(job.name) is not None]

    async def accounted(
        self, *, names: Words = (), job_ids: Words = (), within: float = HORIZON_SECONDS
    ) -> Sequence[RemoteJob]:
        """What sacct has, and by name what waits without ever having been eligible, which only squeue finds. By name it
        looks back for `within`, to the day, in narrower searches where slurmdbd refuses so wide a one; by id for ever.
        """
        here = await self._here()
        asked_names, asked_ids = set(names), set(job_ids)
        rows: list[RemoteJob] = []
        for piece in _pieces(sorted(asked_names), NAMES_PER_COMMAND):

            async def ask(window: Window, piece: Sequence[str] = piece) -> list[RemoteJob]:
                return [
                    row
                    for command in commands.accounted_names(_mark(), piece, window)
                    for row in await self._accounted(command, here)
                ]

            rows += await self._windows.search(within, ask)
        for piece in _pieces(sorted(filter(is_job_id, asked_ids)), IDS_PER_COMMAND):
            rows += await self._accounted(commands.accounted_ids(_mark(), piece), here)
        found = decode.newest(
            job
            for job in rows
            if (job.user, job.cluster) == (here.user, here.cluster)
            and (job.name in asked_names or job.job_id in asked_ids)
        )
        if asked_names - {job.name for job in found}:
            found += await self._living(asked_names, {job.key for job in found})
        return found

    async def _living(self, names: Words, known: Collection[tuple[str, str]]) -> Sequence[RemoteJob]:
        """Full live records of the jobs that squeue has under these names, but for those that are known."""
        hits = {job for job in await self._names.jobs(names) if job not in known}
        jobs = await self.get([job_id for job_id, _ in hits]) if hits else []
        if hits != {job.key for job in jobs}:
            self._names.forget()
            text = "A job that was listed a moment ago is gone, and where it went is not known yet; it is asked again."
            raise Unavailable(text, reason="UnexpectedAnswer")
        return jobs

    async def _named(self) -> list[Named]:
        command = commands.names(_mark())
        return _read(await self._run(command), partial(decode.names, mark=command.mark), errors.failure)

    async def _accounted(self, command: Command, here: Site) -> list[RemoteJob]:
        understand = partial(decode.accounted, mark=command.mark, here=here)
        return _read(await self._run(command), understand, errors.accounting_failure)

    async def cancel(self, job_id: str) -> None:
        await self._tell(job_id, commands.cancel)

    async def warn(self, job_id: str, signal: str) -> bool:
        await self._tell(job_id, partial(commands.warn, signal=signal))
        return True

    async def _tell(self, job_id: str, what: Callable[[str, str], Command]) -> None:
        """Tell a job something; one that has ended or is unknown hears nothing, and needs not."""
        if not is_job_id(job_id):
            return  # a word of another driver's could be an option of scancel
        answer = await self._run(what(_mark(), job_id))
        if answer.status != 0 and not errors.job_is_gone(answer):
            raise errors.refusal(answer)

    async def survey(self) -> Survey:
        """The scheduler must answer; accounting may be silent, or keep from users what they may charge."""
        here = await self._here()
        shown = await self._run(commands.partitions(_mark()))
        return Survey(
            partitions=_read(shown, survey.partitions, errors.failure),
            associations=await self._associations(here),
            clock=_read(await self._run(commands.clock(_mark())), survey.clock, errors.failure),
        )

    async def _associations(self, here: Site) -> tuple[Association, ...] | None:
        try:
            own = await self._accounts(commands.charged(_mark(), here.user))
            names = survey.accounts_of(own, here.cluster)
            others = await self._accounts(commands.accounts(_mark(), names)) if names else []
        except (Unavailable, ValueError):  # a name that is no word for a command line is not asked for
            return None
        return survey.associations(own, others, here.cluster)

    async def _accounts(self, command: Command) -> list[Row]:
        return _read(await self._run(command), survey.rows, errors.accounting_failure)

    async def digest(self, path: str) -> str | None:
        """By sha256sum on the login node, one at a time; None where there is none, where it has no room beside other
        commands, where the file is too large for it, and for a day after one was ended there: it would be ended again,
        and again.
        """
        if not self._connection.sessions.long:
            return None
        async with self._digesting:
            if asyncio.get_running_loop().time() < self._digests_again:
                return None
            answer = await self._digested(path)
            if answer is None or errors.was_ended(answer):
                self._digests_again = asyncio.get_running_loop().time() + DIGESTS_AGAIN_SECONDS
                log.warning("the site ends sha256sum: files are compared without it for a day", extra=self._about)
                return None
        if answer.status == commands.NO_FILE:
            raise Missing(f"The site has no file {path}.")
        if answer.status in (commands.NOT_FOUND, commands.TOO_LARGE):
            return None
        return _read(answer, decode.digest, errors.unread)

    async def _digested(self, path: str) -> Answer | None:
        """None where no answer came in all the time that there was for it: not even timeout(1) could end it."""
        began = asyncio.get_running_loop().time()
        try:
            seconds = commands.DIGEST_SECONDS + MARGIN_SECONDS
            return await self._connection.run(commands.digest(_mark(), path), seconds, long=True)
        except Unavailable:
            if asyncio.get_running_loop().time() - began < commands.DIGEST_SECONDS:
                raise
            return None

    async def close(self) -> None:
        await self._connection.close()
        await self._bulk.close()

    async def _here(self) -> Site:
        """Who answers, as the last probe heard it."""
        if self._site is None:
            await self.probe()
        if self._site is None:
            raise Unavailable("The site has not said who it is.", reason="UnexpectedAnswer")
        return self._site

    async def _run(self, command: Command) -> Answer:
        """A read or a cancel; once more where the connection had broken."""
        seconds = commands.READ_SECONDS + MARGIN_SECONDS
        try:
            return await self._connection.run(command, seconds)
        except Unavailable as error:
            if error.reason != UNREACHABLE or self._connection.stands:
                raise
        return await self._connection.run(command, seconds)


def _read(answer: Answer, understand: Callable[[str], _T], fail: Callable[[Answer], Unavailable]) -> _T:
    if answer.status != 0:
        raise fail(answer)
    try:
        return understand(answer.stdout)
    except NotUnderstood as error:
        raise Unavailable(f"The site's answer is not understood: {error}.", reason="UnexpectedAnswer") from None


def _mark() -> str:
    """Begins with a letter: squeue would read a digit as a part of the width before it."""
    return f"m{secrets.token_hex(8)}"


def _pieces(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

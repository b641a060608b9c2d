"""The carrier of ARC's dialect: which call, in which pieces, what is remembered. What is said stands in the pairs.

A-REX lists all jobs of our user, by ids of its own and without their names, for as long as their session directories
are kept (a week, by default). So names are read once a job and remembered, and a lost answer ends in the listing: what
is new there tells its name at once, although its state comes minutes later. A-REX has no accounting: what it has wiped
is gone, and what ended without a witness (decode.py) is not told as if it were known: it is left out, like a job that
has vanished, and the TrainingJob says that the outcome is lost.

While A-REX's own daemon is down, its web service still takes jobs and keeps them ACCEPTING: they wait, which is what
is told of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import httpx

from passerelle.batch import Batch, Options
from passerelle.errors import Rejected, Unavailable, unsent
from passerelle.gateways.arc import decode, door, errors, files, notes, outcome, service
from passerelle.gateways.arc.calls import Calls
from passerelle.gateways.arc.credential import ArcCredential
from passerelle.gateways.arc.describe import command, description, passed_on
from passerelle.gateways.arc.door import THE_SITES, Charge, Door
from passerelle.gateways.arc.payload import EXIT, RECORD, SIGNAL
from passerelle.gateways.arc.transfer import Transfers, behind
from passerelle.gateways.base import Identity, Listing, Probe, Traits
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.surveys import Survey, Topic
from passerelle.gateways.together import in_turn
from passerelle.gateways.unreached import Ca
from passerelle.marker import Run, parse
from passerelle.slurm import JobState, RemoteJob

READS_AT_ONCE = 4
"""Files that are read side by side: half of the connections, so that no submit waits behind a hundred reads."""

SETTLE_SECONDS = 15.0
"""A frozen web service that goes on takes waiting submits at once; a job is listed as soon as it has been taken."""

NO_ENVIRONMENT = "no runtimeEnvironment is named: a job that asks for GPUs, an account or a QoS is refused"


class Arc(Transfers):
    """One A-REX in front of a Slurm, asked as whoever `credentials` returns at that moment. Gateway, Signals, Files,
    Upload, Transfer and Opens.

    `environment` is the runtime environment by which options reach sbatch (describe.py); `charge` is who pays for the
    door job.
    """

    traits = Traits(
        listing=Listing.STATES,
        silent=frozenset({"comment", "restart_count", "failed_node", "cancelled_by"}),
        surveys=frozenset({Topic.PARTITIONS, Topic.STATES, Topic.NODES, Topic.TIMES}),
        forecasts=False,
        renames=False,
    )

    def __init__(
        self,
        url: str,
        credentials: Callable[[], ArcCredential],
        *,
        environment: str | None = None,
        charge: Charge = THE_SITES,
        ca: Ca | None = None,
        settle_seconds: float = SETTLE_SECONDS,
        caller: Caller = NOBODY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        opening = Door(self._doors, self._is_open, self._submit_door, self._said_of)
        super().__init__(Calls(url, credentials, ca=ca, caller=caller, transport=transport), self._locate, opening)
        self.settle_seconds = settle_seconds
        self._environment = environment
        self._charge = charge
        self._version: str | None = None
        self._service: service.Service | None = None
        self._known = Memory("")

    async def probe(self) -> Probe:
        """Asks for delegations: the smallest answer for which the site must map the credential to a user. The document
        about the service is anybody's.
        """
        version = await self._spoken()
        user = self._calls.user
        answer = await self._calls.ask("GET", f"rest/{version}/delegations")
        if answer.status != errors.OK or answer.json() is None:
            raise errors.failure(answer)
        told = await self._serves(version)
        lacks = () if self._environment is not None else (NO_ENVIRONMENT,)
        unready = told.wants(self._environment)
        identity = Identity(told.cluster, user)
        return Probe(identity, version=told.slurm, api_version=version, lacks=lacks, unready=unready)

    async def submit(self, batch: Batch) -> str:
        return await self._create(batch.options, description(batch, self._environment))

    async def _create(self, asked: Options, document: str) -> str:
        try:
            version = await self._spoken()
            if self._environment is not None and passed_on(asked):
                await self._expect(version, self._environment)
        except Unavailable as error:  # nothing is submitted by asking who is there
            raise unsent(error) from error
        answer = await self._calls.once(
            "POST",
            f"rest/{version}/jobs",
            [("action", "new")],
            content=document.encode(),
            headers={"accept": "application/json", "content-type": "application/xml"},
        )
        entries = decode.job_list(answer.json())
        if answer.status != errors.CREATED or entries is None or len(entries) != 1:
            raise errors.submit_failure(answer)
        job_id = str(entries[0].get("id") or "")
        if errors.code(entries[0]) != errors.CREATED or not decode.is_id(job_id):
            raise errors.refusal(entries[0])
        return job_id

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        words = await self._words(job_ids)
        ended = [job_id for job_id, word in words.items() if word in decode.ENDED]
        told = {job.job_id: job.state for job in await self._records(ended)}
        return {job_id: decode.active(word) for job_id, word in words.items() if word not in decode.ENDED} | told

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        return await self._records(_ids(job_ids))

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        """Jobs of other runs that have ended are left out: A-REX lists what ended in a week, and each has files to be
        read for whoever begins.
        """
        found = {job_id: parse(one.name) for job_id, one in (await self._listed()).items()}
        runs = {job_id: named[0] for job_id, named in found.items() if named is not None}
        words = await self._words(runs)
        if ended_of is not None:
            words = {each: word for each, word in words.items() if word not in decode.ENDED or runs[each] in ended_of}
        return await self._read(words)

    async def cancel(self, job_id: str) -> None:
        """A job that has ended is taken for killing, too, and nothing comes of it."""
        if not decode.is_id(job_id):
            return
        (entry,) = await self._calls.many(await self._jobs(), "kill", [job_id])
        if errors.code(entry) not in (errors.OK, errors.ACCEPTED, errors.NOT_FOUND):
            text = f"ARC did not cancel job {job_id}: {entry.get('reason')}."
            raise Unavailable(text, reason="CancelFailed")

    async def warn(self, job_id: str, signal: str) -> bool:
        """By a file in its session directory, which the job's first lines look for every other second."""
        words = await self._words([job_id])
        if words.get(job_id) in decode.RUNNING:
            place = f"{await self._jobs()}/{job_id}/session/{SIGNAL}"
            answer = await self._calls.once("PUT", place, content=f"{signal}\n".encode())
            if answer.status not in (errors.OK, errors.NOT_FOUND):
                raise errors.failure(answer)
        return True

    async def survey(self) -> Survey:
        """As A-REX's information system last saw it, minutes ago. A-REX sends no Date, and knows no accounts."""
        await self.probe()
        answer = await self._calls.ask("GET", f"rest/{await self._spoken()}/info")
        if answer.status != errors.OK:
            raise errors.failure(answer)
        return Survey(partitions=service.partitions(answer.json()) or None, clock=answer.clock)

    async def close(self) -> None:
        await self._calls.close()

    # Versions and identity

    async def _spoken(self) -> str:
        """The newest version that both sides know; it is asked for without a credential. What was read as another user
        is forgotten first.
        """
        if self._known.user != self._calls.user:
            self._known = Memory(self._calls.user)
            self._door.forget()
        if self._version is None:
            answer = await self._calls.ask("GET", "rest")
            if answer.status not in (errors.OK, errors.NOT_FOUND):
                raise errors.failure(answer)
            self._version = service.version(answer.json())
        return self._version

    async def _serves(self, version: str) -> service.Service:
        answer = await self._calls.ask("GET", f"rest/{version}/info")
        if answer.status == errors.NOT_FOUND:
            self._version = None  # the server was exchanged under us
        if answer.status != errors.OK:
            raise errors.failure(answer)
        if answer.body or self._service is None:  # none while A-REX's own daemon is down
            self._service = service.service(answer.json())
        return self._service

    async def _expect(self, version: str, environment: str) -> None:
        """Raise Rejected where the site does not list a runtime environment: A-REX takes a job with one that it lacks,
        and fails it later. The list is minutes old, so the refusal is one of the moment.
        """
        told = self._service
        if told is None or not told.lists(environment):
            told = await self._serves(version)
        if text := told.wants(environment):
            raise Rejected(text, reason="RuntimeEnvironmentMissing", transient=True)

    async def _identity(self) -> Identity:
        told = self._service or await self._serves(await self._spoken())
        return Identity(told.cluster, self._calls.user)

    async def _jobs(self) -> str:
        """The path of jobs."""
        return f"rest/{await self._spoken()}/jobs"

    # Jobs

    async def _words(self, job_ids: Collection[str]) -> dict[str, str]:
        """A-REX's word for each job that it still knows."""
        ids = _ids(job_ids)
        entries = await self._calls.many(await self._jobs(), "status", ids) if ids else []
        found = {}
        for job_id, entry in zip(ids, entries, strict=True):
            word = str(entry.get("state") or "")
            if errors.code(entry) == errors.OK and word not in decode.GONE:
                found[job_id] = word
        return found

    async def _records(self, job_ids: Sequence[str]) -> list[RemoteJob]:
        return await self._read(await self._words(job_ids))

    async def _read(self, words: Mapping[str, str]) -> list[RemoteJob]:
        """Full records of jobs, by A-REX's word for each; without those of whose end nothing is known."""
        found = [job for job_id in words if (job := self._known.ended.get(job_id)) is not None]
        words = {job_id: word for job_id, word in words.items() if job_id not in self._known.ended}
        if not words:
            return found
        entries = await self._calls.many(await self._jobs(), "info", list(words))
        locals_ = await self._locals(words)
        who = await self._identity()
        works = (
            self._record(who, job_id, words[job_id], locals_[job_id], decode.activity(entry))
            for job_id, entry in zip(words, entries, strict=True)
            if job_id in locals_
        )
        return found + [job for job in await in_turn(works, READS_AT_ONCE) if job is not None]

    async def _record(
        self, who: Identity, job_id: str, word: str, local: decode.Local, now: decode.Activity
    ) -> RemoteJob | None:
        place = f"{await self._jobs()}/{job_id}"
        given = self._known.given.get(job_id)
        if given is None and word not in decode.QUEUED:
            given = notes.given(await self._calls.text(f"{place}/session/{RECORD}") or "")
            if given is not None:
                self._known.given[job_id] = given
        if word not in decode.ENDED:
            return decode.remote_job(job_id, who, local, now, outcome.Outcome(decode.active(word)), given)
        left = notes.left(await self._calls.text(f"{place}/session/{EXIT}") or "")
        told = tools = ""
        if left is None or left.code or word != "FINISHED":
            told = await self._calls.text(f"{place}/diagnose/failed") or ""
            tools = await self._calls.text(f"{place}/diagnose/errors") or ""
        witnesses = outcome.End(word, outcome.sentences(told), tools, left)
        end = outcome.ending(witnesses, reached_slurm=bool(local.slurm_id))
        if end.state == outcome.UNKNOWN:
            return None
        job = decode.remote_job(job_id, who, local, now, end, given, left)
        self._known.ended[job_id] = job
        return job

    async def _listed(self) -> dict[str, decode.Local]:
        """What A-REX wrote down of all jobs that it lists."""
        answer = await self._calls.ask("GET", await self._jobs())
        listed = decode.job_list(answer.json())
        if answer.status != errors.OK or listed is None:
            raise errors.failure(answer)
        ids = _ids(str(each.get("id")) for each in listed)
        self._known.keep(ids)
        return await self._locals(ids)

    async def _locals(self, job_ids: Iterable[str]) -> dict[str, decode.Local]:
        """What A-REX wrote down of jobs; read again until Slurm's number stands there."""
        found = {job_id: self._known.locals.get(job_id) for job_id in job_ids}
        wanted = [job_id for job_id, one in found.items() if one is None or not one.slurm_id]
        jobs = await self._jobs()

        async def read(job_id: str) -> None:
            text = await self._calls.text(f"{jobs}/{job_id}/diagnose/local")
            if text is not None:
                found[job_id] = self._known.locals[job_id] = decode.local(text)  # at once: another may fail

        await in_turn(map(read, wanted), READS_AT_ONCE)
        return {job_id: one for job_id, one in found.items() if one is not None}

    # Files

    async def _locate(self, path: str) -> files.Place | None:
        """What a job's links lead to, is known of jobs that were read. All else is behind the door; and where that is
        not open, what other jobs lead to. But for a report: that is asked for by who has just read the job.
        """
        jobs = await self._jobs()
        found = files.linked_from(path, self._known.given)
        if found is not None:
            return files.Place(files.address(jobs, *found))
        if self._door.job:
            return behind(jobs, self._door.job, path)
        if files.is_report(path):
            return None
        for job_id, local in (await self._locals(files.candidates(path))).items():
            inside = files.within(path, local)
            if inside is not None:
                return files.Place(files.address(jobs, job_id, inside))
        await self.find()
        found = files.linked_from(path, self._known.given)
        if found is not None:
            return files.Place(files.address(jobs, *found))
        job_id = await self._door.seen()
        return behind(jobs, job_id, path) if job_id else None

    async def _doors(self) -> dict[str, str]:
        """A-REX's word for each door job, the newest first."""
        named = {job_id: one for job_id, one in (await self._listed()).items() if one.name == door.NAME}
        words = await self._words(named)
        newest = sorted(words, key=lambda job_id: named[job_id].submitted, reverse=True)
        return {job_id: words[job_id] for job_id in newest}

    async def _is_open(self, job_id: str) -> bool:
        return await files.linked(self._calls, behind(await self._jobs(), job_id, "").address)

    async def _submit_door(self) -> str:
        asked = door.options(self._charge)
        return await self._create(asked, command(asked, ("-c", door.COMMAND), self._environment))

    async def _said_of(self, job_id: str) -> str:
        """Why a door job left no link."""
        word = (await self._words([job_id])).get(job_id, "")
        if word == "FINISHED":
            return "it ended and left no link; A-REX takes links away where its arc.conf has a scratchdir"
        place = f"{await self._jobs()}/{job_id}/diagnose"
        told, tools = await self._calls.text(f"{place}/failed"), await self._calls.text(f"{place}/errors")
        end = outcome.End(word, outcome.sentences(told or ""), tools or "")
        return outcome.ending(end, reached_slurm=False).reason or "A-REX does not say why"


class Memory:
    """What was read as one user of jobs, and can't change any more, by their ids: as much as A-REX lists, no more."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.locals: dict[str, decode.Local] = {}
        self.given: dict[str, notes.Given] = {}
        self.ended: dict[str, RemoteJob] = {}

    def keep(self, job_ids: Collection[str]) -> None:
        """Forget all others."""
        for kept in (self.locals, self.given, self.ended):
            for job_id in kept.keys() - set(job_ids):
                del kept[job_id]


def _ids(words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if decode.is_id(word)})

"""FirecREST v2 as a Gateway: which call, and what is believed of its answer. Lists and records are jobs.py's.

Accounting is sacct's: by id for ever, by name for seven days, the widest window there is. There is no other memory, and
without slurmdbd FirecREST's lists fail as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

import httpx

from passerelle.batch import Batch
from passerelle.errors import PasserelleError, Rejected, Unauthorized, Unavailable, unsent
from passerelle.gateways.base import Entry, HandedIn, HandedOut, Identity, Listing, Probe, Traits, Words
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.firecrest import decode, encode, errors, files, survey, system
from passerelle.gateways.firecrest.arrange import Arrange
from passerelle.gateways.firecrest.calls import Calls
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.files import RemoteFiles
from passerelle.gateways.firecrest.handover import INGRESS, OUTGRESS, S3, Transfers
from passerelle.gateways.firecrest.jobs import LIVE_WINDOW, LONGEST_WINDOW, Jobs, User, ours
from passerelle.gateways.firecrest.script import script
from passerelle.gateways.firecrest.system import System
from passerelle.gateways.http import ClientCertificate
from passerelle.gateways.oidc import ROTATES
from passerelle.gateways.surveys import Survey, Topic
from passerelle.gateways.unreached import Ca
from passerelle.marker import Run, parse
from passerelle.slurm import JobState, RemoteJob

SETTLE_SECONDS = 30.0
"""A frozen slurmctld that goes on takes what sbatch has left behind; sacct shows it some seconds later."""

MEMO_SECONDS = 1.0
"""How long the records of a list serve those who ask for them next, within the same look."""

REST_MODE = "its rest mode drops a job's nodes, GPUs and time limit: jobs run on their partition's defaults"

NO_STORE = "its FirecREST has no object store of its own, so of data and outputs no large files are copied"

_HTTP_OK, _HTTP_CREATED, _HTTP_NO_CONTENT = 200, 201, 204


class Firecrest:
    """One system behind one server. Gateway, Accounting, Files, Upload and Handover."""

    part_bytes = 8 * 1024 * 1024
    """Of our own reads and sends; the server's parts are larger."""

    transfer_names = frozenset({INGRESS, OUTGRESS})

    traits = Traits(
        listing=Listing.RECORDS,
        silent=frozenset({"submit_time", "restart_count", "gpus", "qos", "standard_output", "comment", "failed_node"}),
        surveys=frozenset({Topic.ACCOUNTS, Topic.PARTITIONS, Topic.STATES, Topic.NODES, Topic.CLOCK}),
    )

    def __init__(  # noqa: PLR0913 -- what it is given to work with, by name
        self,
        url: str,
        system_name: str,
        credentials: Callable[[], FirecrestCredential],
        *,
        ca: Ca | None = None,
        certificate: ClientCertificate | None = None,
        allow_rest: bool = False,
        settle_seconds: float = SETTLE_SECONDS,
        caller: Caller = NOBODY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settle_seconds = settle_seconds
        self._calls = Calls(url, credentials, ca=ca, certificate=certificate, caller=caller, transport=transport)
        self._name = system_name.lower()
        self._allow_rest = allow_rest
        self._system: System | None = None
        self._user: User | None = None
        self._listed_at = float("-inf")
        self._listed: dict[str, RemoteJob] = {}
        self._asked_names: set[str] = set()
        self._jobs = Jobs(self._calls, self._me, lambda: self._told)
        self._files = RemoteFiles(self._calls, self._name, lambda: self._told.ops_limit)
        self._arrange = Arrange(self._calls, self._name, self._files)
        self._transfers = Transfers(self._calls, lambda: self._told, self._files, self._arrange, self._jobs)
        self.store_authority = None if ca is None else ca.pem

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
        lacks = ((REST_MODE,) if found.mode == "rest" else ()) + ((ROTATES,) if self._calls.rotates else ())
        lacks += () if found.large in (S3, "") else (NO_STORE,)
        return Probe(Identity(self._name, user.name), version=found.version, api_version="v2", lacks=lacks)

    async def submit(self, batch: Batch) -> str:
        try:
            found = self._system or await self._look_at_system()
            found.refuse(allow_rest=self._allow_rest)
            await self._me()
            path = await self._lay_down(batch) if found.mode == "hybrid" else None
        except Unavailable as error:  # none of these submits anything, whatever became of them
            raise unsent(error) from error
        self._forget_list()
        answer = await self._calls.once("POST", self._jobs.path, body=encode.submit(batch, path))
        job_id = decode.submitted(answer.json() or {}) if answer.status == _HTTP_CREATED else None
        if job_id is None:
            raise errors.refusal(answer)
        return job_id

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        found = await self._jobs.read(job_ids)
        self._listed, self._listed_at = found, time.monotonic()
        return {job_id: job.state for job_id, job in found.items()}

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        wanted = set(job_ids)
        if time.monotonic() - self._listed_at <= MEMO_SECONDS and wanted <= self._listed.keys():
            return [self._listed[job_id] for job_id in sorted(wanted)]
        return list((await self._jobs.read(wanted)).values())

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:  # noqa: ARG002 -- see base.py
        """Where no list can be had: the jobs of the names that accounting was asked for since the last probe, since who
        looks for a run asks for its names first.
        """
        jobs = await self._jobs.listed(LIVE_WINDOW, self._asked_names)
        return [job for job in jobs if parse(job.name) is not None]

    async def accounted(self, *, names: Words = (), job_ids: Words = (), within: float = 0.0) -> Sequence[RemoteJob]:
        """Passes over `within`: by name its windows end at seven days, and by id it takes none."""
        del within
        wanted = set(names)
        self._asked_names |= wanted
        found: dict[tuple[str, str], RemoteJob] = {}
        if wanted:
            jobs = await self._jobs.listed(LONGEST_WINDOW, wanted, live=False)
            found |= {job.key: job for job in jobs if job.name in wanted}
        by_id = await self._jobs.by_id(set(job_ids) - {job_id for job_id, _ in found}, live=False)
        return [*found.values(), *by_id.values()]

    async def cancel(self, job_id: str) -> None:
        if not ours(job_id):
            return
        await self._me()
        self._forget_list()
        answer = await self._calls.ask("DELETE", f"{self._jobs.path}/{job_id}")
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

    async def make_directory(self, path: str) -> None:
        await self._me()
        await self._files.make_directory(path)

    # Large files

    @property
    def small_bytes(self) -> int:
        """A download is exact up to here: it travels in base64, whose text counts."""
        return max(self._told.ops_limit * 3 // 4 - files.MARGIN - 1, 0)

    async def whose(self) -> Identity:
        return Identity(self._name, (await self._me()).name)

    async def hand_in(self, path: str, size: int, parts: int, account: str) -> HandedIn:
        await self._ready()
        return await self._transfers.hand_in(path, size, parts, account)

    async def hand_out(self, path: str, account: str) -> HandedOut:
        await self._ready()
        return await self._transfers.hand_out(path, account)

    async def waiting_for(self, path: str) -> Sequence[str]:
        await self._me()
        return await self._transfers.waiting_for(path)

    async def complaint(self, error_log: str) -> PasserelleError | None:
        await self._me()
        return await self._transfers.complaint(error_log)

    async def stamp(self, path: str) -> str | None:
        await self._me()
        return await self._arrange.stamp(path)

    async def resembles(self, path: str, offset: int, content: bytes) -> bool:
        await self._me()
        return await self._arrange.resembles(path, offset, content)

    async def entries(self, path: str) -> Sequence[Entry] | None:
        await self._me()
        return await self._arrange.entries(path)

    async def rename(self, old: str, new: str) -> None:
        await self._me()
        await self._arrange.rename(old, new)

    async def remove(self, path: str) -> None:
        await self._me()
        await self._arrange.remove(path)

    async def digest(self, path: str) -> str | None:
        await self._me()
        return await self._arrange.digest(path)

    async def _ready(self) -> None:
        """What the server can do is known. None of this asks for a job, whatever became of it."""
        try:
            if self._system is None:
                await self._look_at_system()
            await self._me()
        except Unavailable as error:
            raise unsent(error) from error

    async def survey(self) -> Survey:
        """The clock is FirecREST's, which judges tokens. Where accounting is silent, userinfo fails as a whole."""
        await self._me()
        shown = await self._calls.ask("GET", f"status/{self._name}/partitions")
        try:
            user = errors.read(await self._calls.ask("GET", f"status/{self._name}/userinfo"))
        except Unavailable:
            user = {}
        return Survey(
            partitions=survey.partitions(errors.read(shown)),
            associations=survey.associations(user),
            clock=shown.clock,
        )

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

    async def _me(self) -> User:
        credential = self._calls.credential
        if self._user is not None and self._user.credential == credential:
            return self._user
        told = errors.read(await self._calls.ask("GET", f"status/{self._name}/userinfo")).get("user")
        name, uid = (str(told.get(key) or "") for key in ("name", "id")) if isinstance(told, dict) else ("", "")
        if not name:
            raise Unavailable("FirecREST does not tell as whom it runs commands.", reason="UnexpectedAnswer")
        if credential.username and credential.username != name:
            text = (
                f"FirecREST runs commands as {name}, but username is {credential.username} in {credential.place}; "
                f"write {name} under username, or credentials of {credential.username}."
            )
            raise Unauthorized(text, reason="UserMismatch")
        self._user = User(name, uid, credential)
        return self._user

    # Submit

    async def _lay_down(self, batch: Batch) -> str:
        """Hybrid mode: a script in the body goes to slurmrestd, which ignores its options; a file goes to sbatch."""
        path = f"{batch.options.working_directory.rstrip('/')}/{batch.options.name}.sbatch"
        try:
            await self._files.write(path, script(batch).encode())
        except Rejected:
            where = f"{batch.options.working_directory} does not exist at the site, or is not writable"
            text = f"The script can't be laid down: {where}."
            raise Rejected(text, reason="WorkingDirectoryMissing") from None
        return path

    def _forget_list(self) -> None:
        self._listed_at = float("-inf")

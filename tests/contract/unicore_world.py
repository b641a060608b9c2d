"""A UNICORE/X before a real Slurm of the sandbox: the gateway's scheduler is the server, and what it gives Slurm's.

What disturbs the server disturbs nothing but what we see: frozen, it takes a submit and answers nobody; stopped, nobody
listens. What it knows outlives that.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import httpx
from tenacity import retry, retry_if_exception_message, stop_after_attempt

from contract.slurm_world import SlurmWorld
from contract.token_server import TokenServer
from contract.world import Allocation, World
from passerelle.gateways.base import Credential, Files, Gateway, Info, Transfer, Upload
from passerelle.gateways.unicore.credential import UnicoreCredential, basic, credential_from_secret
from passerelle.gateways.unicore.decode import instant
from passerelle.gateways.unicore.driver import API, Unicore
from passerelle.slurm import RemoteJob
from passerelle_sandbox.unicore import config, serve
from passerelle_sandbox.unicore.serve import Server

RELEASE = "sid"
TOLERANCE = 65.0
"""Seconds for which the server takes a token that has expired."""
MET_A_MOVE = r"(?s).*\.ResourceUnknownException\b"
READS = 5
"""Of all jobs after a row: that each meets a job on its move is no chance any more."""


class UnicoreWorld(World):
    name = "unicore"
    driver = "unicore"
    api_version = API
    capabilities = frozenset({Files, Info, Upload, Transfer})
    digests = False
    refuses_later = True
    scheduler_down = "Unreachable"
    refusals = MappingProxyType({"garbage": "Anonymous", "wrong user": "Anonymous"})
    cuts_comments = True
    awkward = ' a "b" $(x) `y` ?#&;é日'
    unknown_id = "noSuchJob"
    slow = 0.5
    credential: UnicoreCredential
    issuer: TokenServer | None = None

    def __init__(self, server: Server, slurm: SlurmWorld) -> None:
        self.server = server
        self.slurm = slurm
        self.user = slurm.user
        super().__init__(server.name)
        self.short = self._token(seconds=1)
        self.short_since = time.monotonic()

    @classmethod
    def start(cls, directory: Path, env: dict[str, str]) -> UnicoreWorld:
        slurm = SlurmWorld.start(RELEASE, RELEASE, directory / "site", env)
        try:
            server = serve.start(directory / "unicore", slurm.site, env)
        except BaseException:
            slurm.end()
            raise
        return cls(server, slurm)

    def end(self) -> None:
        if self.issuer is not None:
            self.issuer.end()
        self.server.stop()
        self.slurm.end()

    def open(self) -> Unicore:
        return Unicore(self.server.url, lambda: self.credential, settle_seconds=5.0)

    def port(self) -> int:
        return self.server.ports.server

    def open_at(self, port: int) -> Unicore:
        return Unicore(self.server.url.replace(f":{self.port()}/", f":{port}/"), lambda: self.credential)

    async def many_files(self, count: int) -> str:
        return await self.slurm.make_files(count)

    def seen(self, path: str) -> Path:
        return self.slurm.seen(path)

    def good(self) -> UnicoreCredential:
        return self._secret(username=config.LOGIN, password=config.PASSWORD)

    def expired(self) -> UnicoreCredential:
        """One whose end our own code doesn't know of, so that the server must find it out, which takes its time."""
        time.sleep(max(0.0, self.short_since + TOLERANCE - time.monotonic()))
        return UnicoreCredential(user=config.LOGIN, token=self.short)

    def garbage(self) -> UnicoreCredential:
        return UnicoreCredential(user=config.LOGIN, token=secrets.token_hex(16))

    def of_another(self) -> UnicoreCredential:
        return self._secret(token=self._token(seconds=600), uid="root")

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def freeze_scheduler(self) -> None:
        await asyncio.to_thread(self.server.pause)

    async def thaw_scheduler(self) -> None:
        await asyncio.to_thread(self.server.resume)

    async def stop_scheduler(self) -> None:
        await asyncio.to_thread(self.server.stop)

    async def start_scheduler(self) -> None:
        await asyncio.to_thread(self.server.run)

    async def stop_accounting(self) -> None:
        raise AssertionError("the gateway has no accounting")

    async def start_accounting(self) -> None:
        raise AssertionError("the gateway has no accounting")

    async def requeue(self, job_id: str) -> None:
        await self.slurm.requeue(await self._number(job_id))

    async def fail_node(self, job: RemoteJob) -> None:
        await self.slurm.fail_node(job)

    async def preempt(self, job: RemoteJob) -> None:
        await self.slurm.preempt(job)

    async def forget(self, job_id: str) -> None:
        """The server removes a job when its lifetime is over; here it is told to."""
        await asyncio.to_thread(self._ask, "DELETE", f"jobs/{job_id}")

    async def clear(self) -> None:
        await self.slurm.clear()

    @retry(retry=retry_if_exception_message(match=MET_A_MOVE), stop=stop_after_attempt(READS), reraise=True)
    async def left(self, door: Gateway) -> Sequence[RemoteJob]:
        """UNICORE 3.0.0 keeps live and ended jobs in two tables, looks for a job among the ended first, and moves it
        when it ends; a read that meets the move fails, and the next one doesn't. Here a row may just have cancelled a
        hundred jobs.
        """
        return await super().left(door)

    async def hostile_job(self, name: str, comment: str) -> None:
        await self.slurm.hostile_job(name, comment)

    def also_good(self) -> list[Credential]:
        """A token of the server, and one of several accounts, chosen by name; and an OIDC client's, of an issuer whose
        tokens the server takes: here they are its own.
        """
        token = self._token(seconds=600)
        self.issuer = self.issuer or TokenServer(lambda seconds: self._token(seconds=seconds))
        client = credential_from_secret("ns/contract", self.issuer.secret)
        return [self._secret(token=token), self._secret(token=token, uid=self.user), client]

    async def kept_seconds(self, job_id: str) -> float:
        told = json.loads(await asyncio.to_thread(self._ask, "GET", f"jobs/{job_id}?fields=terminationTime"))
        until = instant(told["terminationTime"])
        assert until is not None
        return until - time.time()

    async def write_comment(self, job_id: str, text: str) -> None:
        await self.slurm.write_comment(await self._number(job_id), text)

    async def allocation(self, job_id: str) -> Allocation:
        return await self.slurm.allocation(await self._number(job_id))

    async def environment(self, job_id: str) -> dict[str, str]:
        return await self.slurm.environment(await self._number(job_id))

    async def mode(self, path: str) -> int:
        return self.slurm.site.namespace.path(path).stat().st_mode & 0o7777

    async def _number(self, job_id: str) -> str:
        door = self.open()
        try:
            (job,) = await door.get([job_id])
        finally:
            await door.close()
        assert job.slurm_id, f"{job_id} has not come to Slurm"
        return job.slurm_id

    def _token(self, *, seconds: int) -> str:
        return self._ask("GET", f"token?lifetime={seconds}", accept="text/plain").strip()

    def _ask(self, method: str, path: str, *, accept: str = "application/json") -> str:
        sent = {"Authorization": basic(self.good()), "Accept": accept}
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.request(method, f"{self.server.url}/{path}", headers=sent).raise_for_status().text

    @staticmethod
    def _secret(**data: str) -> UnicoreCredential:
        return credential_from_secret("ns/contract", {key: value.encode() for key, value in data.items()})

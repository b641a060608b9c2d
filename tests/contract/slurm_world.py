"""A real Slurm of the sandbox, behind a real slurmrestd."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from contract.world import SCRATCH, Allocation, World
from passerelle.gateways.slurmrestd.credential import TokenCredential, credential_from_secret
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle_sandbox.site import serve
from passerelle_sandbox.site.serve import Site

API_VERSIONS = {"bookworm": "v0.0.38", "trixie": "v0.0.42", "sid": "v0.0.45"}
"""What is spoken with slurmrestd of each release: the newest that both sides know."""

MIN_JOB_AGE = 10
"""Seconds until slurmctld forgets an ended job, so that a row can wait for it."""


class SlurmWorld(World):
    slow = 0.5
    credential: TokenCredential

    def __init__(self, release: str, site: Site) -> None:
        self.name = release
        self.api_version = API_VERSIONS[release]
        self.site = site
        self.user = site.user
        super().__init__(site.cluster)

    @classmethod
    def start(cls, release: str, directory: Path, env: dict[str, str]) -> SlurmWorld:
        site = serve.start(
            directory, env, release=release, nodes=cls.nodes, gpus=cls.gpus_per_node, min_job_age=MIN_JOB_AGE
        )
        return cls(release, site)

    def open(self) -> Slurmrestd:
        return Slurmrestd(self.site.url, lambda: self.credential, settle_seconds=5.0)

    def good(self) -> TokenCredential:
        data = {"username": self.user.encode(), "token": self.site.token(3600).encode()}
        return credential_from_secret("ns/contract", data)

    def expired(self) -> TokenCredential:
        """One whose end our own code doesn't know of, so that Slurm must find it out."""
        return TokenCredential(user=self.user, token=self.site.token(1))

    def garbage(self) -> TokenCredential:
        return TokenCredential(user=self.user, token="garbage")

    def of_another(self) -> TokenCredential:
        return TokenCredential(user="root", token=self.site.token())

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def freeze_scheduler(self) -> None:
        await asyncio.to_thread(self.site.pause, "slurmctld")

    async def thaw_scheduler(self) -> None:
        await asyncio.to_thread(self.site.resume, "slurmctld")

    async def stop_scheduler(self) -> None:
        await asyncio.to_thread(self.site.stop, "slurmctld")

    async def start_scheduler(self) -> None:
        await asyncio.to_thread(self.site.start_component, "slurmctld")

    async def stop_accounting(self) -> None:
        await asyncio.to_thread(self.site.stop, "slurmdbd")

    async def start_accounting(self) -> None:
        await asyncio.to_thread(self.site.start_component, "slurmdbd")

    async def requeue(self, job_id: str) -> None:
        await self._run("scontrol", "update", f"JobId={job_id}", "Requeue=1")  # an administrator may, whatever we asked
        await self._run("scontrol", "requeue", job_id)

    async def write_comment(self, job_id: str, text: str) -> None:
        await self._run("scontrol", "update", f"JobId={job_id}", f"Comment={text}", user=self.user)

    async def allocation(self, job_id: str) -> Allocation:
        shown = await self._run("scontrol", "show", "job", job_id)
        fields = dict(re.findall(r"(\w+(?:/\w+)?)=(\S*)", shown))
        hours, minutes, _ = fields["TimeLimit"].split(":")
        gpus = re.search(r"gres/gpu=(\d+)", fields.get("AllocTRES") or fields.get("TRES", ""))
        return Allocation(
            nodes=int(fields["NumNodes"]),
            tasks=int(fields["NumTasks"]),
            cpus=int(fields["NumCPUs"]),
            gpus=int(gpus[1]) if gpus else 0,
            minutes=int(hours) * 60 + int(minutes),
            requeue=fields["Requeue"] == "1",
        )

    async def environment(self, job_id: str) -> dict[str, str]:
        text = await self._run("cat", f"{SCRATCH}/psr-{job_id}.out")
        return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)

    async def _run(self, *words: str, user: str | None = None) -> str:
        done = await asyncio.to_thread(self.site.run, list(words), user)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def end(self) -> None:
        self.site.end()

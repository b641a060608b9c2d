"""A real Slurm of the sandbox; and its first door, a real slurmrestd."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import Self

from contract.token_server import TokenServer
from contract.world import SCRATCH, Allocation, World
from passerelle.gateways.base import Accounting, Credential, Info, Signals
from passerelle.gateways.slurmrestd.credential import TokenCredential, credential_from_secret
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.slurm import RemoteJob
from passerelle_sandbox.site import serve
from passerelle_sandbox.site.config import ACCOUNT
from passerelle_sandbox.site.serve import Site

API_VERSIONS = {"bookworm": "v0.0.38", "trixie": "v0.0.42", "sid": "v0.0.45"}
"""What is spoken with slurmrestd of each release: the newest that both sides know."""

MIN_JOB_AGE = 10
"""Seconds until slurmctld forgets an ended job, so that a row can wait for it."""


_RUNNING: dict[str, Site] = {}
"""By release: a site has several doors, and serves the rows of each."""

_SHUT: dict[str, set[str]] = {}
"""By release: accounts that take no jobs there."""


class SiteWorld(World):
    """A real Slurm, whichever door leads to it."""

    slow = 0.5

    def __init__(self, name: str, release: str, site: Site) -> None:
        self.name = name
        self.release = release
        self.site = site
        self.user = site.user
        super().__init__(site.cluster)

    @classmethod
    def start(cls, name: str, release: str, directory: Path, env: dict[str, str]) -> Self:
        if release not in _RUNNING:
            _RUNNING[release] = serve.start(
                directory, env, release=release, nodes=cls.nodes, gpus=cls.gpus_per_node, min_job_age=MIN_JOB_AGE
            )
        return cls(name, release, _RUNNING[release])

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

    async def fail_node(self, job: RemoteJob) -> None:
        await fail_node(self.site, job)

    async def preempt(self, job: RemoteJob) -> None:
        await preempt(self.site, job)

    async def shut(self, account: str) -> None:
        """By a limit of the account, which its users don't inherit. Another door of this site may have done so."""
        if account in _SHUT.setdefault(self.release, set()):
            return
        _SHUT[self.release].add(account)
        for words in (
            f"add account {account} cluster={self.cluster} grpsubmitjobs=0",
            f"add user {self.user} account={account}",
        ):
            await asyncio.to_thread(self.site.manage, words)

    async def turn_partition(self, partition: str, state: str) -> None:
        await self._run("scontrol", "update", f"PartitionName={partition}", f"State={state}")

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
        return await run(self.site, *words, user=user)

    async def hostile_job(self, name: str, comment: str) -> None:
        words = ["sbatch", f"--job-name={name}", f"--comment={comment}", "--partition=gpu", "--time=5"]
        await self._run(*words, f"--chdir={SCRATCH}", "--wrap=sleep 600", user=self.user)

    async def mode(self, path: str) -> int:
        return int(await self._run("stat", "--format=%a", path), 8)

    def seen(self, path: str) -> Path:
        return self.site.namespace.path(path)

    async def make_files(self, count: int) -> str:
        return await make_files(self.site, self.user, count)

    async def clear(self) -> None:
        await self._run("scancel", f"--user={self.user}")

    def end(self) -> None:
        if _RUNNING.pop(self.release, None) is not None:
            _SHUT.pop(self.release, None)
            self.site.end()


async def run(site: Site, *words: str, user: str | None = None) -> str:
    """What a command prints at a site; one that fails fails the row."""
    done = await asyncio.to_thread(site.run, list(words), user)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


async def make_files(site: Site, user: str, count: int) -> str:
    """World's many_files, for a site that we can write to."""
    place = f"{SCRATCH}/psr-{secrets.token_hex(8)}"
    loop = 'mkdir "$0" && cd "$0" && for n in $(seq 0 "$1"); do head -c "$n" /dev/zero >"$(printf %04d "$n")"; done'
    await run(site, "sh", "-c", loop, place, str(count - 1), user=user)
    return place


async def fail_node(site: Site, job: RemoteJob) -> None:
    """World's, for a Slurm."""
    await run(site, "scontrol", "update", f"NodeName={job.nodes}", "State=DOWN", "Reason=contract")
    await asyncio.sleep(2.0)
    await asyncio.to_thread(site.run, ["scontrol", "update", f"NodeName={job.nodes}", "State=RESUME"])


async def preempt(site: Site, job: RemoteJob) -> None:
    """World's, for a Slurm: by root, whom the site lets use a QoS that ours may not; made at the first time."""
    if "urgent" not in await run(site, "sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=name"):
        for words in ("add qos urgent preempt=normal", f"add user root account={ACCOUNT} qos=urgent defaultqos=urgent"):
            await asyncio.to_thread(site.manage, words)
    wanted = ["--qos=urgent", f"--account={ACCOUNT}", f"--nodelist={job.nodes}", "--exclusive"]
    await run(site, "sbatch", *wanted, "--partition=gpu", "--time=1", f"--chdir={SCRATCH}", "--wrap=sleep 5")


class SlurmWorld(SiteWorld):
    """Behind slurmrestd."""

    issuer: TokenServer | None = None

    capabilities = frozenset({Accounting, Info, Signals})
    credential: TokenCredential

    def __init__(self, name: str, release: str, site: Site) -> None:
        self.api_version = API_VERSIONS[release]
        self.signals_batch = release != "bookworm"
        super().__init__(name, release, site)

    def open(self) -> Slurmrestd:
        return Slurmrestd(self.site.url, lambda: self.credential, settle_seconds=5.0)

    def good(self) -> TokenCredential:
        data = {"username": self.user.encode(), "token": self.site.token(3600).encode()}
        return credential_from_secret("ns/contract", data)

    def also_good(self) -> list[Credential]:
        """An OIDC client's, of an issuer whose tokens Slurm takes: here they are Slurm's own."""
        self.issuer = self.issuer or TokenServer(self.site.token)
        return [credential_from_secret("ns/contract", {"username": self.user.encode(), **self.issuer.secret})]

    def end(self) -> None:
        if self.issuer is not None:
            self.issuer.end()
        super().end()

    def expired(self) -> TokenCredential:
        """One whose end our own code doesn't know of, so that Slurm must find it out."""
        return TokenCredential(user=self.user, token=self.site.token(1))

    def garbage(self) -> TokenCredential:
        return TokenCredential(user=self.user, token="garbage")

    def of_another(self) -> TokenCredential:
        return TokenCredential(user="root", token=self.site.token())

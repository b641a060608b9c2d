"""A real A-REX of the sandbox, in front of a real Slurm."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path

import httpx

from contract.slurm_world import MIN_JOB_AGE, fail_node, make_files, preempt
from contract.world import SCRATCH, Allocation, World
from passerelle.errors import Unavailable
from passerelle.gateways.arc.credential import ArcCredential, credential_from_secret
from passerelle.gateways.arc.door import Charge
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import OPENING, Files, Info, Signals, Transfer, Upload
from passerelle.gateways.unreached import Ca
from passerelle.slurm import RemoteJob, Stage
from passerelle_sandbox.site import arc_server, serve
from passerelle_sandbox.site.arc_server import ArcServer, Daemon

RELEASE = "sid"


class ArcWorld(World):
    """Its scheduler, as rows disturb it, is what a client talks to: A-REX's web service."""

    name = driver = "arc"
    api_version = "1.1"
    capabilities = frozenset({Files, Info, Signals, Upload, Transfer})
    digests = False
    most_of_files, most_of_directories = 0o600, 0o700
    own_rows = frozenset({"submit-gpu", "reject", "purge", "requeue", "comment"})
    """Rows of the contract that test_arc.py states as far as they can hold."""
    unknown_id = "0123456789ab"
    scheduler_down = "Unreachable"
    slow = 1.0
    credential: ArcCredential

    def __init__(self, server: ArcServer) -> None:
        self.server = server
        self.site = server.site
        self._secret = server.token_secret(seconds=10 * 3600)
        super().__init__("localhost")
        self.user = self.credential.user

    @classmethod
    def start(cls, directory: Path, env: dict[str, str]) -> ArcWorld:
        site = serve.start(
            directory,
            env,
            release=RELEASE,
            nodes=cls.nodes,
            gpus=cls.gpus_per_node,
            min_job_age=MIN_JOB_AGE,
            over=(arc_server.layer(RELEASE),),
        )
        try:
            made = cls(arc_server.start(site))
            asyncio.run(made.open_door())
        except BaseException:
            site.end()
            raise
        return made

    def open(self) -> Arc:
        return self.open_at(self.port())

    def port(self) -> int:
        return self.server.port

    def open_at(self, port: int) -> Arc:
        return Arc(
            self.server.url.replace(f":{self.port()}/", f":{port}/"),
            lambda: self.credential,
            environment=arc_server.ENVIRONMENT,
            charge=Charge(partition="gpu", account="startup", qos="normal"),
            ca=Ca(self.server.authority),
            settle_seconds=5.0,
        )

    async def open_door(self) -> None:
        """What every row finds: a door job that has run."""
        door = self.open()

        async def opened() -> bool:
            try:
                await door.open_files()
            except Unavailable as error:
                if error.reason != OPENING:
                    raise
                return False
            return True

        try:
            await self.until(opened, "the site's files to be open", seconds=120)
        finally:
            await door.close()

    def seen(self, path: str) -> Path:
        return self.site.namespace.path(path)

    async def many_files(self, count: int) -> str:
        return await make_files(self.site, self.site.user, count)

    def good(self) -> ArcCredential:
        return credential_from_secret("ns/contract", self._secret)

    def expired(self) -> ArcCredential:
        """One whose end our own code doesn't know of, so that A-REX must find it out."""
        old = credential_from_secret("ns/contract", self.server.token_secret(seconds=-60))
        return ArcCredential(user=old.user, token=old.token)

    def garbage(self) -> ArcCredential:
        return ArcCredential(user=self.user, token="garbage")

    def of_another(self) -> ArcCredential:
        """Our token, with another's name written into it."""
        head, body, signature = self.good().token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=="))
        changed = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "root"}).encode()).decode().rstrip("=")
        return ArcCredential(user=self.user, token=f"{head}.{changed}.{signature}")

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def freeze_scheduler(self) -> None:
        await self.pause("ws")

    async def thaw_scheduler(self) -> None:
        await self.resume("ws")

    async def stop_scheduler(self) -> None:
        await self.stop("ws")

    async def start_scheduler(self) -> None:
        await self.start_again("ws")

    async def pause(self, daemon: Daemon) -> None:
        await asyncio.to_thread(self.server.pause, daemon)

    async def resume(self, daemon: Daemon) -> None:
        await asyncio.to_thread(self.server.resume, daemon)

    async def stop(self, daemon: Daemon) -> None:
        await asyncio.to_thread(self.server.stop_daemon, daemon)

    async def start_again(self, daemon: Daemon) -> None:
        await asyncio.to_thread(self.server.start_daemon, daemon)

    async def stop_accounting(self) -> None:
        await asyncio.to_thread(self.site.stop, "slurmdbd")

    async def start_accounting(self) -> None:
        await asyncio.to_thread(self.site.start_component, "slurmdbd")

    async def requeue(self, job_id: str) -> None:
        number = await self.slurm_id(job_id)
        await self.run("scontrol", "update", f"JobId={number}", "Requeue=1")
        await self.run("scontrol", "requeue", number)

    async def fail_node(self, job: RemoteJob) -> None:
        await fail_node(self.site, job)

    async def preempt(self, job: RemoteJob) -> None:
        await preempt(self.site, job)

    async def write_comment(self, job_id: str, text: str) -> None:
        number = await self.slurm_id(job_id)
        await self.run("scontrol", "update", f"JobId={number}", f"Comment={text}", user=self.site.user)

    async def clean(self, job_id: str) -> None:
        """A-REX removes an ended job with its session directory, as it does by itself in time."""
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 -- the sandbox's own
            answer = await client.post(
                f"{self.server.url}/rest/1.1/jobs?action=clean",
                json={"job": [{"id": job_id}]},
                headers={"authorization": f"Bearer {self.credential.token}", "accept": "application/json"},
            )
        assert answer.status_code == 201

        async def gone() -> bool:
            return not self.seen(f"{arc_server.SESSIONS}/{job_id}").exists()

        await self.until(gone, "the session directory to go", seconds=120)

    async def slurm_id(self, job_id: str) -> str:
        """Slurm's number, once A-REX has it."""
        door = self.door()

        async def told() -> str:
            return next((job.slurm_id for job in await door.get([job_id])), "")

        return await self.until(told, f"Slurm's number of {job_id}")

    def told(self, job: RemoteJob) -> bool:
        """Slurm and A-REX say that a job runs before its first line has noted what it was given."""
        return job.stage is not Stage.RUNNING or job.standard_output != ""

    async def show(self, number: str) -> dict[str, str]:
        """What Slurm says of a job."""
        shown = await self.run("scontrol", "show", "job", number)
        return dict(re.findall(r"([A-Za-z/]+)=(\S*)", shown))

    async def allocation(self, job_id: str) -> Allocation:
        fields = await self.show(await self.slurm_id(job_id))
        hours, minutes, _ = fields["TimeLimit"].split(":")
        gpus = re.search(r"gres/gpu=(\d+)", fields["AllocTRES"])
        return Allocation(
            nodes=int(fields["NumNodes"]),
            tasks=int(fields["NumTasks"]),
            cpus=int(fields["NumCPUs"]),
            gpus=int(gpus[1]) if gpus else 0,
            minutes=int(hours) * 60 + int(minutes),
            requeue=fields["Requeue"] == "1",
        )

    async def environment(self, job_id: str) -> dict[str, str]:
        text = await self.run("cat", f"{SCRATCH}/psr-{await self.slurm_id(job_id)}.out")
        return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)

    async def hostile_job(self, name: str, comment: str) -> None:
        words = ("--account=startup", "--output=/dev/null", f"--job-name={name}", f"--comment={comment}")
        await self.run("sbatch", *words, "--wrap=sleep 600", user=self.site.user)

    async def clear(self) -> None:
        await self.run("scancel", f"--user={self.site.user}")

    async def mode(self, path: str) -> int:
        return int(await self.run("stat", "--format=%a", path), 8)

    async def run(self, *words: str, user: str | None = None) -> str:
        done = await asyncio.to_thread(self.site.run, list(words), user)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def end(self) -> None:
        self.site.end()

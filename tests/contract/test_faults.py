"""Faults that are prepared for real at a live site, each alone, and looked for by `passerelle sites doctor` as a person
types it: it names the one cause and what to do next, and blames nothing else.

What can't be so on one machine is made up where it is narrowest: another clock is this machine's own, another machine
is the profile's, and FirecREST is the fake of tests/firecrest, before the same Slurm.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.firecrest_world import SiteShell
from contract.slurm_world import SlurmWorld
from contract.wire import wire
from firecrest.fake import Fake
from listening import listening, tls
from passerelle import profiles
from passerelle.cli import main
from passerelle.examination import examine
from passerelle_sandbox.control_plane.pki import Authority
from passerelle_sandbox.site import ssh_server

pytestmark = pytest.mark.row("faults")

ADMITTED = {"namespaces": ["team-a"], "accounts": ["startup"], "qos": ["normal"]}
GPU = "Nodes=ALL Default=YES DefaultTime=10 MaxTime=60 State=UP OverSubscribe=NO"
"""The site's partition, as slurm.conf has it."""


@dataclass
class Bench:
    """A Site that is well, as a person writes it, before a site that is well; a fault changes one of them. `undo` is
    what gives the site back.
    """

    world: SlurmWorld
    place: Path
    patch: pytest.MonkeyPatch
    undo: contextlib.AsyncExitStack
    spec: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    fake: Fake | None = None
    """FirecREST, where it is the door."""

    @property
    def secret(self) -> dict[str, bytes]:
        return self.secrets["mine"]

    def through(self, driver: str, url: str, secret: Mapping[str, str], **gateway: Any) -> None:
        door = {"driver": driver, "url": url, "credentials": {"name": "mine"}, **gateway}
        run_root = self.world.site.run_root
        self.spec = {
            "profile": "sandbox",
            "gateway": door,
            "runRoot": run_root,
            "admission": [dict(ADMITTED)],
            "contact": "ml@example.eu",
        }
        self.secrets["mine"] = {key: value.encode() for key, value in secret.items()}

    def admit(self, **changes: Any) -> None:
        self.spec["admission"] = [ADMITTED | changes]

    def profile(self, change: Callable[[profiles.Profile], dict[str, Any]]) -> None:
        """The profile says something else of the machine."""
        told = profiles.load("sandbox")
        found = told.model_copy(update=change(told))
        self.patch.setattr(profiles, "load", lambda _: found)

    async def scontrol(self, *words: str) -> None:
        done = await asyncio.to_thread(self.world.site.run, ["scontrol", *words])
        assert done.returncode == 0, done.stderr

    async def partition(self, change: str, back: str) -> None:
        self.undo.push_async_callback(self.scontrol, "update", "PartitionName=gpu", back)
        await self.scontrol("update", "PartitionName=gpu", change)

    async def ask(self) -> int:
        """The doctor's exit code; what it says is on standard output."""
        site = {"apiVersion": "passerelle.dev/v1alpha1", "kind": "Site", "metadata": {"name": "mine"}}
        file, secrets = self.place / "site.yaml", self.place / "secrets"
        file.write_text(yaml.safe_dump(site | {"spec": self.spec}), encoding="utf-8")
        for name, keys in self.secrets.items():
            (secrets / name).mkdir(parents=True)
            for key, value in keys.items():
                (secrets / name / key).write_bytes(value)
        words = ["sites", "doctor", "--file", str(file), "--secret-dir", str(secrets), *self.words]

        def typed() -> int:
            with pytest.raises(SystemExit) as ended:
                main(words)
            return int(ended.value.code or 0)

        return await asyncio.to_thread(typed)


# Doors


async def slurmrestd(bench: Bench) -> None:
    site = bench.world.site
    bench.through("slurmrestd", site.url, {"username": site.user, "token": site.token(3600)})


async def ssh(bench: Bench) -> None:
    site = bench.world.site
    bench.through("ssh", site.ssh_url, site.ssh_secret("+1h"))


async def behind_tls(bench: Bench) -> None:
    """slurmrestd behind a proxy with a certificate of a site's own authority, which the Site knows."""
    await slurmrestd(bench)
    authority = Authority.create(bench.place / "pki", "authority")
    pair = authority.sign("proxy", subject="/CN=proxy", usages=["serverAuth"], hosts=["IP:127.0.0.1"])
    port = int(bench.world.site.url.rpartition(":")[2])
    made = await bench.undo.enter_async_context(wire(port, tls(pair)))
    bench.spec["gateway"] |= {"url": f"https://127.0.0.1:{made.port}", "tls": {"caSecret": {"name": "ca"}}}
    bench.secrets["ca"] = {"ca.crt": authority.pair.certificate.read_bytes()}


async def firecrest(bench: Bench) -> None:
    site = bench.world.site
    bench.fake = fake = Fake("sandbox", SiteShell(site), site.user)
    bench.undo.callback(fake.end)
    token = {"username": site.user, "token": fake.issuer.token(3600)}
    bench.through("firecrest", fake.url, token, system="sandbox")


DOORS = (slurmrestd, ssh, behind_tls, firecrest)
LEFT_OPEN: Mapping[Any, str] = {slurmrestd: "run root", behind_tls: "run root", firecrest: "qos"}
"""What a door writes no file for, or does not tell."""


# Faults


async def garbage(bench: Bench) -> None:
    bench.secret["token"] = b"garbage"


async def another_sites_key(bench: Bench) -> None:
    now = int(time.time())
    claims = {"sun": bench.world.user, "iat": now, "exp": now + 3600}
    told = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(b"of another site", told.encode(), hashlib.sha256).digest()
    bench.secret["token"] = f"{told}.{_base64(signature)}".encode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def expired_token(bench: Bench) -> None:
    bench.secret["token"] = bench.world.site.token(1).encode()
    await asyncio.sleep(2.1)


async def anothers_token(bench: Bench) -> None:
    bench.secret["token"] = bench.world.site.token(user="root").encode()


async def closed_port(bench: Bench) -> None:
    taken = bench.undo.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))  # and never listens
    bench.spec["gateway"]["url"] = f"http://127.0.0.1:{taken.getsockname()[1]}"


async def another_service(bench: Bench) -> None:
    bench.spec["gateway"]["url"] = bench.world.site.ssh_url.replace("ssh://", "http://")


async def web_server(bench: Bench) -> None:
    bench.spec["gateway"]["url"] = f"http://127.0.0.1:{await bench.undo.enter_async_context(listening())}"


async def no_tls(bench: Bench) -> None:
    bench.spec["gateway"]["url"] = bench.world.site.url.replace("http://", "https://")


async def another_authority(bench: Bench) -> None:
    other = Authority.create(bench.place / "other", "other")
    bench.secrets["ca"] = {"ca.crt": other.pair.certificate.read_bytes()}


async def no_authority(bench: Bench) -> None:
    del bench.spec["gateway"]["tls"]


async def changed_host_key(bench: Bench) -> None:
    kind, other, *_ = (bench.world.site.directory / ssh_server.CLIENT / "id.pub").read_text().split()
    host = bench.secret["known_hosts"].split()[0].decode()
    bench.secret["known_hosts"] = f"{host} {kind} {other}\n".encode()


async def unknown_host_key(bench: Bench) -> None:
    bench.secret["known_hosts"] = b"login.example.eu " + bench.secret["known_hosts"].partition(b" ")[2]


async def unregistered_key(bench: Bench) -> None:
    """The site knows this key by its certificate alone."""
    del bench.secret["ssh-certificate"]


async def expired_certificate(bench: Bench) -> None:
    bench.secret["ssh-certificate"] = bench.world.site.ssh_secret("-2h:-1h")["ssh-certificate"].encode()


async def login_shell_that_leaves(bench: Bench) -> None:
    startup = bench.world.seen(f"/home/{bench.world.user}/.bashrc")
    former = startup.read_text(encoding="utf-8")
    bench.undo.callback(startup.write_text, former, encoding="utf-8")
    startup.write_text("exit 0\n", encoding="utf-8")


async def stopped_scheduler(bench: Bench) -> None:
    bench.undo.push_async_callback(bench.world.start_scheduler)
    await bench.world.stop_scheduler()


async def stopped_accounting(bench: Bench) -> None:
    bench.undo.push_async_callback(bench.world.start_accounting)
    await bench.world.stop_accounting()


async def nobodys_account(bench: Bench) -> None:
    bench.admit(accounts=["nobodys"])


async def closed_account(bench: Bench) -> None:
    await bench.world.shut("closed")
    bench.admit(accounts=["closed"])


async def anothers_qos(bench: Bench) -> None:
    bench.admit(qos=["large"])


async def missing_partition(bench: Bench) -> None:
    bench.undo.push_async_callback(bench.scontrol, "create", "PartitionName=gpu", *GPU.split())
    await bench.scontrol("delete", "PartitionName=gpu")


async def partition_down(bench: Bench) -> None:
    await bench.partition("State=DOWN", back="State=UP")


async def partition_of_others(bench: Bench) -> None:
    await bench.partition("AllowAccounts=root", back="AllowAccounts=ALL")


async def shorter_jobs(bench: Bench) -> None:
    await bench.partition("MaxTime=30", back="MaxTime=60")


async def smaller_jobs(bench: Bench) -> None:
    await bench.partition("MaxNodes=2", back="MaxNodes=UNLIMITED")


async def other_gpus(bench: Bench) -> None:
    bench.profile(lambda of: {"partitions": [of.partitions[0].model_copy(update={"gpus_per_node": 8})]})


async def another_processor(bench: Bench) -> None:
    """The canary is a job, and runs on this machine's processor."""
    bench.words = ("--canary", "--yes")
    unknown = profiles.load("sandbox").egress.model_copy(update={"compute": None})  # this machine may have no way out
    bench.profile(lambda of: {"node": of.node.model_copy(update={"architecture": "aarch64"}), "egress": unknown})


async def late_clock(bench: Bench) -> None:
    assert examine.__kwdefaults__ is not None
    bench.patch.setitem(examine.__kwdefaults__, "now", lambda: time.time() - 400)


async def closed_run_root(bench: Bench) -> None:
    bench.spec["runRoot"] = "/etc"


async def missing_run_root(bench: Bench) -> None:
    bench.spec["runRoot"] = "/scratch/nowhere"


async def missing_run_root_of_a_job(bench: Bench) -> None:
    """slurmrestd writes no files: a canary finds out."""
    bench.words = ("--canary", "--yes")
    bench.spec["runRoot"] = "/scratch/nowhere"


async def rest_mode(bench: Bench) -> None:
    assert bench.fake is not None
    bench.fake.behaviour.mode = "rest"


async def no_such_system(bench: Bench) -> None:
    bench.spec["gateway"]["system"] = "daint"


Step = Callable[[Bench], Awaitable[None]]
FAULTS: Mapping[str, tuple[Step, Step, str, str, str]] = {
    "a wrong token": (slurmrestd, garbage, "token", "TokenRefused", "make a new one at the site"),
    "a token of another site": (slurmrestd, another_sites_key, "token", "TokenRefused", "make a new one at the site"),
    "an expired token": (slurmrestd, expired_token, "token", "TokenExpired", "Write a new one into the Secret"),
    "a token of somebody else": (slurmrestd, anothers_token, "secret", "UserMismatch", "write root under username"),
    "a port on which nothing listens": (slurmrestd, closed_port, "address", "Unreachable", "check the port in"),
    "a port of something else": (slurmrestd, another_service, "address", "Unreachable", "Check host and port"),
    "a port of another web server": (slurmrestd, web_server, "address", "NoKnownVersion", "write slurmrestd's base"),
    "a gateway without TLS": (slurmrestd, no_tls, "address", "Unreachable", "does not speak TLS; check the port"),
    "a wrong authority": (behind_tls, another_authority, "address", "Unreachable", "ca; put the right one there"),
    "no authority": (behind_tls, no_authority, "address", "Unreachable", "put the authority's certificate into a Sec"),
    "a changed host key": (ssh, changed_host_key, "token", "HostKeyChanged", "compare with what the site publ"),
    "an unknown host key": (ssh, unknown_host_key, "token", "HostKeyUnknown", "known_hosts"),
    "a key that the site does not know": (
        ssh,
        unregistered_key,
        "token",
        "LoginRefused",
        "check that the site knows it",
    ),
    "an expired certificate": (ssh, expired_certificate, "token", "TokenExpired", "Write a new one into the Secret"),
    "a login shell that leaves": (ssh, login_shell_that_leaves, "address", "UnexpectedAnswer", ".bashrc"),
    "slurmctld down": (slurmrestd, stopped_scheduler, "slurm", "SchedulerUnavailable", "ask again"),
    "slurmdbd down": (slurmrestd, stopped_accounting, "accounting", "AccountingUnavailable", "ask again"),
    "an account of nobody": (slurmrestd, nobodys_account, "accounts", "AccountUnknown", "Write one of startup"),
    "an account that may not submit": (slurmrestd, closed_account, "accounts", "AccountClosed", "write one of startup"),
    "a QoS of others": (slurmrestd, anothers_qos, "qos", "QosNotAllowed", "Write one of debug, normal"),
    "a partition that is not there": (
        slurmrestd,
        missing_partition,
        "partition",
        "PartitionMissing",
        "or ask the site",
    ),
    "a partition that is down": (slurmrestd, partition_down, "partition", "PartitionDown", "set spec.suspend"),
    "a partition of others": (slurmrestd, partition_of_others, "partition", "PartitionNotAllowed", "it takes root"),
    "a shorter time limit": (slurmrestd, shorter_jobs, "partition", "TimeLimitDrift", "Write shorter time limits"),
    "a smaller largest job": (slurmrestd, smaller_jobs, "partition", "NodesDrift", "Ask for fewer nodes"),
    "other GPUs": (slurmrestd, other_gpus, "partition", "GpusDrift", "Name another partition, or another profile"),
    "another processor": (slurmrestd, another_processor, "canary", "ArchitectureDrift", "name another partition"),
    "a clock that is late": (slurmrestd, late_clock, "clock", "ClockSkew", "set the clock that is wrong"),
    "a run root that is closed": (ssh, closed_run_root, "run root", "RunRootRefused", "mkdir -p /etc"),
    "a run root that is not there": (ssh, missing_run_root, "run root", "RunRootRefused", "mkdir -p /scratch/nowhere"),
    "a run root that a job misses": (
        slurmrestd,
        missing_run_root_of_a_job,
        "run root",
        "RunRootRefused",
        "mkdir -p /scratch/nowhere",
    ),
    "FirecREST in rest mode": (firecrest, rest_mode, "address", "RestModeRefused", "allowRestMode"),
    "a system that FirecREST lacks": (firecrest, no_such_system, "address", "SystemNotFound", "write one of sandbox"),
}
"""By name: the door, the fault, and the line that must tell it."""


@pytest.fixture
async def bench(world: SlurmWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    async with contextlib.AsyncExitStack() as undo:
        yield Bench(world, tmp_path, monkeypatch, undo)


def alarms(said: str) -> list[tuple[str, str]]:
    """The subject of each line that isn't well, and what it says."""
    lines = [line for line in said.splitlines() if line.startswith(("wrong", "warning"))]
    return [(line[8:19].rstrip(), line[19:]) for line in lines]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
async def test_a_site_that_is_well_is_ready(bench: Bench, door: Step, capsys: pytest.CaptureFixture[str]) -> None:
    await door(bench)

    code = await bench.ask()

    said = capsys.readouterr().out
    assert alarms(said) == []
    left = LEFT_OPEN.get(door)
    word = (
        f"nothing wrong found; only a job can tell: {left} (--canary sends one)" if left else "ready for TrainingJobs"
    )
    assert (code, said.splitlines()[-1]) == (0, f"Site mine: {word}")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_told_by_its_cause_and_with_what_to_do(
    bench: Bench, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    door, prepare, subject, cause, words = FAULTS[fault]
    await door(bench)
    await prepare(bench)

    code = await bench.ask()

    said = capsys.readouterr().out
    ((told, text),) = alarms(said)
    assert (told, text.partition(": ")[0]) == (subject, cause)
    assert words in text, "what to do next"
    assert code == (1 if "\nwrong" in f"\n{said}" else 0)
    assert not any(value.decode() in said for key, value in bench.secret.items() if key == "token")

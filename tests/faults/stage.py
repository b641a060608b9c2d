"""A sandbox with two operators, and what the runs that share both need of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import json
import secrets
import shutil
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from e2e.cluster import Cluster
from e2e.doors import Doors, Way
from faults.calls import of_kubernetes
from faults.gates import Certificates
from faults.operators import SLOTS, Operators
from faults.plan import Kind, Plan
from faults.proxy import Proxy
from passerelle_sandbox import chart, deploy, sandbox, say
from passerelle_sandbox.deploy import OperatorProcess
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.sandbox import Sandbox
from passerelle_sandbox.site.serve import Site
from tree import REPOSITORY

Object = dict[str, Any]

NODES, GPUS = 4, 16
KEPT_LOGS = REPOSITORY / ".work" / "faults"
_HTTP_OK = 200
_HTTP_CREATED = 201


@dataclass
class Stage:
    """`before` are files that operators load ahead of themselves: mutants. `plans`: by the namespace of their run.
    While `hears` is not set, no operator's watch tells anything.
    """

    there: Sandbox
    before: Sequence[Path] = ()
    plans: dict[str, Plan] = field(default_factory=dict)
    hears: asyncio.Event = field(default_factory=asyncio.Event)
    operators: Operators = field(init=False)
    certificates: Certificates = field(init=False)
    doors: Doors = field(init=False)
    _kubeconfigs: list[Path] = field(default_factory=list)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.operators = Operators(self._start)
        self.hears.set()

    @property
    def site(self) -> Site:
        return self.there.sites[sandbox.DEFAULT_RELEASE]

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Stage]:
        """With its operators, each of which has a proxy of its own before kube-apiserver."""
        kubeconfig = await asyncio.to_thread(chart.install_chart, self.there)
        self.certificates = await asyncio.to_thread(Certificates.made, self.there.directory / "faults")
        await asyncio.to_thread(deploy.declare_site, self.there, self.site)
        await asyncio.to_thread(deploy.apply, self.there, self.certificates.secret())
        self.doors = Doors(Cluster(self.there, self.site, kubeconfig), self.there.directory / "doors")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.doors.end)
            direct = json.loads(await asyncio.to_thread(kubeconfig.read_text, encoding="utf-8"))
            for slot in range(SLOTS):
                told = await self._before_kubernetes(stack, direct, slot)
                self._kubeconfigs.append(kubeconfig.with_name(f"through-proxy-{slot}.kubeconfig"))
                await asyncio.to_thread(_keep_private, self._kubeconfigs[slot], json.dumps(told))
            await stack.enter_async_context(self.operators.running())
            yield self

    async def _before_kubernetes(self, stack: contextlib.AsyncExitStack, direct: Object, slot: int) -> Object:
        """The kubeconfig of the operator of a slot: through a proxy that knows by its Lease when it leads."""
        told = copy.deepcopy(direct)
        cluster = told["clusters"][0]["cluster"]
        trust = ssl.create_default_context(cadata=_pem(cluster["certificate-authority-data"]))

        def heard(kind: Kind, status: int) -> None:
            if kind is Kind.LEASE and status in (_HTTP_OK, _HTTP_CREATED):
                self.operators.leads(slot)

        proxy = Proxy(
            cluster["server"],
            self._plan_of,
            of_kubernetes,
            self.operators,
            trust=trust,
            told=heard,
            hears=self.hears,
        )
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        cluster["server"] = f"http://127.0.0.1:{proxy.port}"
        del cluster["certificate-authority-data"]
        return told

    def _start(self, slot: int) -> OperatorProcess:
        log = self.there.directory / f"operator-{slot}.log"
        return deploy.start_operator(self.there, log=log, kubeconfig=self._kubeconfigs[slot], before=self.before)

    def _plan_of(self, request: web.Request) -> Plan | None:
        """Whose call to kube-apiserver it is: by its namespace; a watch or a Lease is of whoever waits for one."""
        words = request.path.split("/")
        if "namespaces" in words[:-1] and (found := self.plans.get(words[words.index("namespaces") + 1])):
            return found
        kind = of_kubernetes(request)
        if kind not in (Kind.WATCH, Kind.LEASE):
            return None
        return next((plan for plan in self.plans.values() if plan.waits_for(kind)), None)

    async def way(self, door: str) -> Way:
        """What leads through a door; its server is started by whoever needs it first."""
        async with self._opening:
            return await asyncio.to_thread(self.doors.way, door)

    async def mutate(self, before: Sequence[Path]) -> None:
        """Other operators, which load these files."""
        self.before = before
        await self.operators.replace()

    def keep_logs(self, name: str) -> Path:
        """What the operators and the site's daemons wrote, for whoever looks for the cause; the sandbox goes."""
        kept = KEPT_LOGS / name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.site.directory / "log", kept)
        for each in self.there.directory.glob("operator-*.log"):
            shutil.copy(each, kept)
        return kept

    async def apply(self, *objects: Object) -> None:
        await asyncio.to_thread(deploy.apply, self.there, *objects)

    async def kubectl(self, *words: str) -> str:
        done = await asyncio.to_thread(self.there.kubectl_run, *words, timeout=120)
        if done.returncode != 0:
            raise SandboxError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    async def on_site(self, *words: str) -> str:
        """What a command says at the site."""
        done = await asyncio.to_thread(self.site.run, list(words))
        if done.returncode != 0:
            raise SandboxError(f"{words[0]}: {done.stderr.strip()}")
        return done.stdout


@contextlib.asynccontextmanager
async def raised() -> AsyncIterator[Stage]:
    """A stage in a sandbox of its own, taken down at the end."""
    name = f"faults-{secrets.token_hex(3)}"
    there = await asyncio.to_thread(sandbox.up, name, nodes=NODES, gpus=GPUS, arc=True)
    try:
        async with Stage(there).open() as stage:
            yield stage
    finally:
        with say.step("taking everything down"):
            await asyncio.to_thread(there.down)


def _keep_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _pem(data: str) -> str:
    return base64.b64decode(data).decode("ascii")

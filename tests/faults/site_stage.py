"""A sandbox for runs of a site's life: one at a time, since what happens to the site befalls all that is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from faults.plan import Plan
from faults.proxy import Proxy, of_slurmrestd
from faults.stage import Stage
from passerelle_sandbox import deploy, sandbox, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.serve import Site

NODES, GPUS = 3, 2
"""So that of ten jobs some wait, and each node has some."""


class SiteStage(Stage):
    """A stage whose operators can be stopped, and made to begin anew with another clock."""

    @property
    def site(self) -> Site:
        return self.there.sites[sandbox.DEFAULT_RELEASE]

    async def door(self, plan: Plan) -> Proxy:
        """Before the site's gateway, for whoever has this plan; to be started."""
        return Proxy(self.site.url, lambda _: plan, of_slurmrestd, self.kill)

    def address(self, port: int) -> str:
        """Of a door."""
        return f"http://127.0.0.1:{port}"

    async def way(self, name: str, port: int, root: str) -> list[dict[str, Any]]:
        """A Site of this name that leads through a door, and its Secret."""
        token = await asyncio.to_thread(self.site.token, 36_000)
        gateway = {"driver": "slurmrestd", "url": self.address(port), "credentials": {"name": name}}
        return [
            deploy.credentials(name, self.site.user, token),
            deploy.site_manifest(name, self.site, profile="sandbox-bare", runRoot=root, gateway=gateway),
        ]

    @contextlib.asynccontextmanager
    async def asleep(self) -> AsyncIterator[None]:
        """No operator does anything meanwhile."""
        sleeping = self._operator.process
        sleeping.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if sleeping.poll() is None:
                sleeping.send_signal(signal.SIGCONT)

    async def mutate(self, before: Sequence[Path]) -> None:
        """Other operators, which load these files ahead of themselves."""
        self.before = tuple(before)
        former = self._operator.process
        if former.poll() is None:
            os.kill(former.pid, signal.SIGKILL)
        while self._operator.process is former:  # noqa: ASYNC110 -- its keeper starts another one
            await asyncio.sleep(0.1)

    async def apply(self, *objects: dict[str, Any]) -> None:
        await asyncio.to_thread(deploy.apply, self.there, *objects)

    async def kubectl(self, *words: str) -> str:
        done = await asyncio.to_thread(self.there.kubectl_run, *words)
        if done.returncode != 0:
            raise SandboxError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    async def on_site(self, *words: str) -> str:
        """What a command says at the site, as root."""
        done = await asyncio.to_thread(self.site.run, list(words))
        if done.returncode != 0:
            raise SandboxError(f"{words[0]}: {done.stderr.strip()}")
        return done.stdout


@contextlib.asynccontextmanager
async def site_stage() -> AsyncIterator[SiteStage]:
    """In a sandbox of its own, taken down at the end."""
    name = f"site-life-{secrets.token_hex(3)}"
    there = await asyncio.to_thread(sandbox.up, name, nodes=NODES, gpus=GPUS)
    try:
        async with SiteStage(there).open() as stage:
            assert isinstance(stage, SiteStage)
            yield stage
    finally:
        with say.step("taking everything down"):
            await asyncio.to_thread(there.down)

"""A sandbox for runs of a site's life: one at a time, since what happens to the site befalls all that is there."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from faults.calls import of_slurmrestd
from faults.plan import Plan
from faults.proxy import Proxy
from faults.stage import Object, Stage
from passerelle_sandbox import deploy, sandbox, say

NODES, GPUS = 3, 2
"""So that of ten jobs some wait, and each node has some."""


class SiteStage(Stage):
    """A stage for one run at a time."""

    async def door(self, plan: Plan) -> Proxy:
        """Before the site's gateway, for whoever has this plan; to be started."""
        return Proxy(self.site.url, lambda _: plan, of_slurmrestd, self.operators)

    def address(self, port: int) -> str:
        """Of a door."""
        return f"http://127.0.0.1:{port}"

    async def site_behind(self, name: str, port: int, root: str) -> list[Object]:
        """A Site of this name that leads through a door, and its Secret."""
        token = await asyncio.to_thread(self.site.token, 36_000)
        gateway = {"driver": "slurmrestd", "url": self.address(port), "credentials": {"name": name}}
        return [
            deploy.credentials(name, self.site.user, token),
            deploy.site_manifest(name, self.site, profile="sandbox-bare", runRoot=root, gateway=gateway),
        ]


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

"""A sandbox for runs of a site's life: one at a time, since what happens to the site befalls all that is there."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from faults import gates
from faults.plan import Plan
from faults.stage import Object, Stage
from passerelle_sandbox import sandbox, say

DOOR = "slurmrestd"
NODES, GPUS = 3, 2
"""So that of ten jobs some wait, and each node has some."""


class SiteStage(Stage):
    """A stage for one run at a time, whose Site leads through slurmrestd."""

    async def door(self, plan: Plan) -> gates.Gate:
        """Before the site's gateway, for whoever has this plan; to be started."""
        return gates.gate(await self.way(DOOR), plan, self.operators, self.certificates)

    async def site_behind(self, name: str, plan: Plan, port: int, root: str) -> list[Object]:
        """A Site of this name that leads through a door, and its Secret."""
        return gates.manifests(name, self.site, await self.way(DOOR), plan, port, root)


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

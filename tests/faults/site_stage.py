"""A sandbox for runs of a site's life: one at a time, since what happens to the site befalls all that is there."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from faults.calls import of_slurmrestd
from faults.plan import Plan
from faults.proxy import Proxy
from faults.stage import Stage
from passerelle_sandbox import sandbox, say

NODES, GPUS = 3, 2
"""So that of ten jobs some wait, and each node has some."""


class SiteStage(Stage):
    """A stage for one run at a time."""

    def door(self, plan: Plan) -> Proxy:
        """Before the site's gateway, for whoever has this plan; to be started."""
        return Proxy(self.site.url, lambda _: plan, of_slurmrestd, self.operators)


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

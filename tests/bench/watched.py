"""The operator as the bench sees it: started, read, stopped, and started again with all that lives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from bench.readings import LIVE, WRITES, Between, Reading, read
from passerelle_sandbox import deploy, say
from passerelle_sandbox.deploy import OperatorProcess
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.sandbox import Sandbox

POLL_SECONDS = 0.1
SYNC_PATIENCE, STILL_PATIENCE = 300.0, 900.0


@dataclass(frozen=True, slots=True)
class Restart:
    """What a start with many live jobs took. `seconds` from the start of the process until it was synced, `cpu_seconds`
    until then, `last` what was read then.
    """

    seconds: float
    cpu_seconds: float
    last: Reading


class Watched:
    """The operator of a sandbox, whichever process it is by now."""

    def __init__(self, there: Sandbox) -> None:
        self._sandbox = there
        self._peaks: list[float] = []
        self.process: OperatorProcess

    @property
    def peak_mib(self) -> float:
        """The most that any process of it held, as far as it was read."""
        return max(self._peaks)

    async def start(self) -> None:
        """Return when it is ready."""
        self.process = deploy.start_operator(self._sandbox)
        await asyncio.to_thread(self.process.wait_until_ready)

    async def until_sites_answer(self, names: Iterable[str]) -> None:
        words = ("wait", "--for=condition=Ready", "--timeout=50s", *(f"site/{name}" for name in names))
        done = await asyncio.to_thread(self._sandbox.kubectl_run, *words)
        if done.returncode != 0:
            raise SandboxError(f"{done.stderr}\n{self.process.tail()}")

    async def reading(self) -> Reading:
        found = await read(self.process.metrics_url, self.process.process.pid)
        self._peaks.append(found.peak_mib)
        return found

    async def quiet(self, seconds: float, what: str) -> Between:
        """Two readings, between which nothing is done but waiting."""
        first = await self.reading()
        with say.step(f"{what}, for {seconds:.0f} s"):
            await asyncio.sleep(seconds)
        return Between(first, await self.reading())

    async def until_still(self, what: str) -> Reading:
        """Until no TrainingJob waits for a pass and nothing is written any more, twice in a row: events come last."""
        deadline, still, written = time.monotonic() + STILL_PATIENCE, 0, -1.0
        while True:
            found = await self.reading()
            before, written = written, found.total(WRITES)
            still = still + 1 if found.still and written == before else 0
            if still > 1:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {STILL_PATIENCE:.0f} s for {what}\n{self.process.tail()}")
            await asyncio.sleep(1.0)

    async def restart(self, live: int) -> Restart:
        """End it as a rollout does, and start it with so many live jobs.

        It is synced when the sites have shown every one of them again, no run is looked for any more, and no
        TrainingJob waits for a pass.
        """
        await self.reading()
        code = await asyncio.to_thread(self.process.stop)
        if code != 0:
            raise SandboxError(f"The operator ended with {code}:\n{self.process.tail()}")
        began = time.monotonic()
        self.process = deploy.start_operator(self._sandbox)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            seconds = time.monotonic() - began
            try:
                found = await self.reading()
            except httpx.TransportError:  # it does not listen yet
                found = None
            if found is not None and found.still and found.total(LIVE) == live:
                return Restart(seconds, found.cpu_seconds, found)
            if seconds > SYNC_PATIENCE or self.process.process.poll() is not None:
                shown = found.total(LIVE) if found is not None else 0
                text = f"after {seconds:.0f} s the operator shows {shown:.0f} of {live} live jobs"
                raise TimeoutError(f"{text}\n{self.process.tail()}")

"""The in-memory gateway's site: its clock goes on when a row waits."""

from __future__ import annotations

import re
from dataclasses import replace

from contract.world import FOR_LONG, Allocation, World
from passerelle.batch import Batch
from passerelle.gateways.base import Accounting, Files, Info, Signals, Transfer, Upload
from passerelle.gateways.memory import Fate, Memory, MemoryCredential, Shape
from passerelle.slurm import Stage

_ENDING = re.compile(r"sleep ([0-9.]+)\nexit (\d+)")


class MemoryWorld(World):
    name = "memory"
    driver = "memory"
    api_version = "memory"
    runs_scripts = False
    closed = None
    capabilities = frozenset({Accounting, Files, Upload, Transfer, Info, Signals})
    credential: MemoryCredential

    def __init__(self) -> None:
        super().__init__("memory")
        self._now = 1_000_000.0
        self.site = Memory(
            clock=self.now,
            credentials=lambda: self.credential,
            fates=self._fate,
            shape=Shape(nodes=self.nodes, gpus_per_node=self.gpus_per_node, qos=frozenset({"normal", "debug"})),
            purge_seconds=10.0,
        )

    def end(self) -> None:
        """It leaves nothing."""

    def open(self) -> Memory:
        return self.site

    def good(self) -> MemoryCredential:
        return MemoryCredential(user=self.user, token="valid")

    def expired(self) -> MemoryCredential:
        return MemoryCredential(user=self.user, token="expired")

    def garbage(self) -> MemoryCredential:
        return MemoryCredential(user=self.user, token="garbage")

    def of_another(self) -> MemoryCredential:
        return MemoryCredential(user="root", token="valid")

    def now(self) -> float:
        return self._now

    async def shut(self, account: str) -> None:
        shape = self.site.shape
        self.site.shape = replace(shape, accounts=shape.accounts | {account}, closed=shape.closed | {account})

    async def mode(self, path: str) -> int:
        return 0o750 if path in self.site.directories else self.site.files[path].mode

    async def hostile_job(self, name: str, comment: str) -> None:
        self.site.set_comment(await self.site.submit(self.batch(seconds=600, name=name)), comment)

    async def clear(self) -> None:
        for job in self.site.snapshot():
            await self.site.cancel(job.job_id)

    async def let_pass(self, seconds: float) -> None:
        self._now += seconds

    async def freeze_scheduler(self) -> None:
        self.site.faults.frozen = True

    async def thaw_scheduler(self) -> None:
        self.site.thaw()

    async def stop_scheduler(self) -> None:
        self.site.faults.scheduler_down = True

    async def start_scheduler(self) -> None:
        self.site.faults.scheduler_down = False

    async def stop_accounting(self) -> None:
        self.site.faults.accounting_down = True

    async def start_accounting(self) -> None:
        self.site.faults.accounting_down = False

    async def requeue(self, job_id: str) -> None:
        self.site.requeue(job_id)

    async def write_comment(self, job_id: str, text: str) -> None:
        self.site.set_comment(job_id, text)

    async def allocation(self, job_id: str) -> Allocation:
        asked = self.site.batches[job_id].options
        tasks = asked.nodes * asked.tasks_per_node
        return Allocation(
            nodes=asked.nodes,
            tasks=tasks,
            cpus=tasks * asked.cpus_per_task,
            gpus=asked.nodes * asked.gpus_per_node,
            minutes=asked.time_limit_minutes,
            requeue=asked.requeue,
        )

    async def environment(self, job_id: str) -> dict[str, str]:
        return dict(self.site.batches[job_id].environment)

    def _fate(self, batch: Batch) -> Fate:
        """What the script says; behind a job that takes the whole site, a job waits for ever."""
        if "USR1" in batch.script:
            return Fate(running=FOR_LONG, stops_after=2.0)
        found = _ENDING.search(batch.script)
        assert found is not None
        code = int(found[2])
        return Fate(
            queued=1e9 if self._full() else 0.0,
            running=max(0.5, float(found[1])),
            end="FAILED" if code else "COMPLETED",
            exit_code=code,
        )

    def _full(self) -> bool:
        return any(
            job.stage is not Stage.ENDED and job.gpus == self.nodes * self.gpus_per_node for job in self.site.snapshot()
        )

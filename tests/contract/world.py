"""What a row of the contract may ask of a site besides its gateway: to be disturbed, waited for, and looked into."""

from __future__ import annotations

import dataclasses
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from passerelle.batch import Batch, Options
from passerelle.gateways.base import Accounting, Credential, Gateway
from passerelle.marker import Run

Found = TypeVar("Found")
FOR_LONG = 3_000.0


SCRATCH = "/tmp"  # noqa: S108 -- the site's, not this machine's


class Door(Gateway, Accounting, Protocol):
    """Every gateway in the suite has accounting."""


@dataclass(frozen=True)
class Allocation:
    """What the site really gave to a running job, or keeps for a waiting one."""

    nodes: int
    tasks: int
    cpus: int
    gpus: int
    minutes: int
    requeue: bool


class World(ABC):
    """A site and its administrator. `credential` is what gateways present from now on; rows may replace it."""

    name: str
    user = "startup"
    nodes = 3
    gpus_per_node = 4
    slow = 1.0
    """Seconds of the site that may pass between two looks."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.credential = self.good()
        self.opened: list[Door] = []

    def batch(self, *, seconds: float = 0.0, exit_code: int = 0, run: Run | None = None, **options: object) -> Batch:
        """A minimal job of one node; its script sleeps, prints its environment, and exits."""
        asked = Options(
            name=(run or new_run()).marker(1),
            account="startup",
            partition="gpu",
            qos="normal",
            nodes=1,
            tasks_per_node=1,
            cpus_per_task=1,
            memory_per_node_mib=100,
            gpus_per_node=0,
            time_limit_minutes=5,
            working_directory=SCRATCH,
            standard_output=f"{SCRATCH}/psr-%j.out",
            standard_error=f"{SCRATCH}/psr-%j.err",
        )
        # The first line lets `cat` of the output show exactly what arrived, NUL-separated.
        script = f"#!/bin/sh\nenv -0\nsleep {seconds:g}\nexit {exit_code}\n"
        environment = (("PATH", "/usr/bin:/bin"), ("HOME", SCRATCH))
        asked = dataclasses.replace(asked, **options)  # type: ignore[arg-type]  # rows give the fields' own types
        return Batch(options=asked, environment=environment, script=script)

    def whole_site(self, *, seconds: float = FOR_LONG) -> Batch:
        """A job that leaves no GPU free."""
        return self.batch(seconds=seconds, nodes=self.nodes, gpus_per_node=self.gpus_per_node, time_limit_minutes=60)

    def door(self) -> Door:
        made = self.open()
        self.opened.append(made)
        return made

    async def until(self, ask: Callable[[], Awaitable[Found]], what: str, *, seconds: float = 60.0) -> Found:
        """Ask again until the answer is true; the last answer is the message of the failure."""
        waited, found = 0.0, await ask()
        while not found:
            assert waited < seconds, f"{self.name}: after {seconds:g} s not yet: {what} ({found!r})"
            await self.let_pass(self.slow)
            waited += self.slow
            found = await ask()
        return found

    @abstractmethod
    def open(self) -> Door: ...
    @abstractmethod
    def good(self) -> Credential: ...
    @abstractmethod
    def expired(self) -> Credential: ...
    @abstractmethod
    async def let_pass(self, seconds: float) -> None: ...
    @abstractmethod
    async def freeze_scheduler(self) -> None: ...
    @abstractmethod
    async def thaw_scheduler(self) -> None: ...
    @abstractmethod
    async def stop_scheduler(self) -> None: ...
    @abstractmethod
    async def start_scheduler(self) -> None: ...
    @abstractmethod
    async def stop_accounting(self) -> None: ...
    @abstractmethod
    async def start_accounting(self) -> None: ...
    @abstractmethod
    async def requeue(self, job_id: int) -> None: ...
    @abstractmethod
    async def write_comment(self, job_id: int, text: str) -> None: ...
    @abstractmethod
    async def allocation(self, job_id: int) -> Allocation: ...
    @abstractmethod
    async def environment(self, job_id: int) -> dict[str, str]: ...


def new_run() -> Run:
    return Run.of_uid(str(uuid.uuid4()))

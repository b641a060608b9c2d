"""What a row of the contract may ask of a site besides its gateway: to be disturbed, waited for, and looked into."""

from __future__ import annotations

import dataclasses
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from passerelle.batch import Batch, Options
from passerelle.gateways.base import Accounting, Credential, Files, Gateway, Info, Signals, Transfer, Upload
from passerelle.marker import Run
from passerelle.slurm import RemoteJob

Found = TypeVar("Found")
FOR_LONG = 3_000.0


SCRATCH = "/tmp"  # noqa: S108 -- the site's, not this machine's


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
    """A site and its administrator. `credential` is what gateways present from now on; rows may replace it.

    `capabilities` are those that its gateways have, and `unknown_id` is an id that none of them ever gives.
    """

    name: str
    driver = "slurmrestd"
    api_version: str
    capabilities: frozenset[type] = frozenset({Accounting})
    signals_batch = True
    """Of a world with Signals: whether this release can signal the batch script alone."""
    unknown_id = "60000000"
    silent: frozenset[str] = frozenset()
    """Fields of RemoteJob that these gateways don't tell, beside those that the driver says it never does."""
    forgets = True
    """Whether a job leaves the listing some time after its end."""
    accounting_apart = True
    """Whether live jobs can be listed while accounting is away."""
    cut_codes = False
    """Whether 128 is taken from exit codes that have it; from ours alone it must not matter."""
    strange: frozenset[str] = frozenset()
    """Variables of the one who hands jobs over, which no job may get."""
    refuses_later = False
    """Whether a job is taken first, and a refusal is how it ends."""
    cuts_comments = False
    """Whether what Slurm says comes in words, so that a comment with blanks is none."""
    scheduler_down = "SchedulerUnavailable"
    """The reason of the error while it is: Unreachable where the gateway itself is what is stopped."""
    refusals: Mapping[str, str] = MappingProxyType({"garbage": "TokenRefused", "wrong user": "TokenRefused"})
    """By the kind of a bad credential: the reason of the error."""
    awkward = ' it\'s "so" $(x) %41?#&;é日'
    """A name of a file that must come to no harm."""
    digests = True
    """Of a world with Transfer: whether the site can be asked for a file's digest."""
    most_of_files = most_of_directories = 0o777
    """The most permissions that what is written gets, whatever was asked for."""
    closed: str | None = "/etc"
    """A directory of the site in which our user may not write; None where everybody may everywhere."""
    user = "startup"
    nodes = 3
    gpus_per_node = 4
    runs_scripts = True
    """Whether a job really does what its script says."""
    slow = 1.0
    """Seconds of the site that may pass between two looks."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.credential = self.good()
        self.opened: list[Gateway] = []
        self._version: str | None = None

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

    async def version(self) -> str:
        """The server's, asked once."""
        if self._version is None:
            door = self.open()
            self._version = (await door.probe()).version
            await door.close()
        return self._version

    def door(self) -> Gateway:
        made = self.open()
        self.opened.append(made)
        return made

    def accounting(self, door: Gateway) -> Accounting | None:
        """The door as Accounting; None where it has none, which then is a promise, too."""
        assert isinstance(door, Accounting) is (Accounting in self.capabilities)
        return door if isinstance(door, Accounting) else None

    def files(self, door: Gateway) -> Files | None:
        """The door as Files; None where it has none, which then is a promise, too."""
        assert isinstance(door, Files) is (Files in self.capabilities)
        return door if isinstance(door, Files) else None

    def upload(self, door: Gateway) -> Upload | None:
        """The door as Upload; None where it has none, which then is a promise, too."""
        assert isinstance(door, Upload) is (Upload in self.capabilities)
        return door if isinstance(door, Upload) else None

    def transfer(self, door: Gateway) -> Transfer | None:
        """The door as Transfer; None where it has none, which then is a promise, too."""
        assert isinstance(door, Transfer) is (Transfer in self.capabilities)
        return door if isinstance(door, Transfer) else None

    def info(self, door: Gateway) -> Info | None:
        """The door as Info; None where it has none, which then is a promise, too."""
        assert isinstance(door, Info) is (Info in self.capabilities)
        return door if isinstance(door, Info) else None

    def now(self) -> float:
        """The site's clock, in epoch seconds."""
        return time.time()

    def signals(self, door: Gateway) -> Signals | None:
        """The door as Signals; None where it has none, which then is a promise, too."""
        assert isinstance(door, Signals) is (Signals in self.capabilities)
        return door if isinstance(door, Signals) else None

    async def until(self, ask: Callable[[], Awaitable[Found]], what: str, *, seconds: float = 60.0) -> Found:
        """Ask again until the answer is true; the last answer is the message of the failure."""
        waited, found = 0.0, await ask()
        while not found:
            assert waited < seconds, f"{self.name}: after {seconds:g} s not yet: {what} ({found!r})"
            await self.let_pass(self.slow)
            waited += self.slow
            found = await ask()
        return found

    def told(self, job: RemoteJob) -> bool:  # noqa: ARG002 -- most sites tell all of a job as soon as it runs
        """Whether the site has told of a job all that it will at its stage."""
        return True

    async def cut(self) -> bool:
        """Break every connection to the gateway, which takes new ones at once; False where that can't be done."""
        return False

    async def hostile_job(self, name: str, comment: str) -> None:
        """Somebody else's job under our user, with a name and a comment that are made to be misread."""
        raise AssertionError(f"{self.name} takes no job {name!r} with the comment {comment!r}")

    @abstractmethod
    async def clear(self) -> None:
        """End what no gateway's `find` shows."""

    async def left(self, door: Gateway) -> Sequence[RemoteJob]:
        """What is left of a row's jobs."""
        return await door.find()

    async def forget(self, job_id: str) -> None:  # noqa: B027 -- most sites forget an ended job by themselves
        """Let the site lose an ended job from its live listing."""

    async def kept_seconds(self, job_id: str) -> float:  # noqa: ARG002 -- most sites end no job for its age
        """How long the site keeps a job that runs, from now on."""
        return float("inf")

    async def mode(self, path: str) -> int:
        """The permissions of a file at the site; told where gateways have Files."""
        raise AssertionError(f"{self.name} has no files to look at, and was asked for {path}")

    async def many_files(self, count: int) -> str | None:  # noqa: ARG002 -- most gateways list what is small
        """A directory at the site with so many files, named by their size; None where none need be made."""
        return None

    async def shut(self, account: str) -> None:
        """Our user is given one more account, which takes no jobs; asked where gateways have Info."""
        raise AssertionError(f"{self.name} has no accounts to be told of, and was asked for {account}")

    @abstractmethod
    def end(self) -> None:
        """The site goes."""

    @abstractmethod
    def open(self) -> Gateway: ...
    @abstractmethod
    def good(self) -> Credential: ...
    def port(self) -> int | None:
        """Of our own host, where the site's gateway serves; None where no network lies between us and the site."""
        return None

    def open_at(self, port: int) -> Gateway:
        """The same site behind another port of our own host."""
        raise AssertionError(f"{self.name} has no network, and was asked for port {port}")

    def seen(self, path: str) -> Path:
        """A path of the site as this machine's administrator sees it."""
        raise AssertionError(f"{self.name} shows nobody its {path}")

    def roundabout(self) -> Gateway | None:
        """The same site by a longer way, where its gateways know one."""
        return None

    def also_good(self) -> list[Credential]:
        """Other kinds of credential that the site takes."""
        return []

    @abstractmethod
    def expired(self) -> Credential: ...
    @abstractmethod
    def garbage(self) -> Credential: ...
    @abstractmethod
    def of_another(self) -> Credential:
        """Proof of who we are, under another's name."""

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
    async def requeue(self, job_id: str) -> None: ...
    @abstractmethod
    async def fail_node(self, job: RemoteJob) -> None:
        """The node on which a job of ours runs goes down; it comes back by itself."""

    @abstractmethod
    async def preempt(self, job: RemoteJob) -> None:
        """Another's more urgent job wants the node on which ours runs, whole."""

    @abstractmethod
    async def write_comment(self, job_id: str, text: str) -> None: ...
    @abstractmethod
    async def allocation(self, job_id: str) -> Allocation: ...
    @abstractmethod
    async def environment(self, job_id: str) -> dict[str, str]: ...


def new_run() -> Run:
    return Run.of_uid(str(uuid.uuid4()))

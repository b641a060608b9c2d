"""A gateway around a gateway that tells what each call took and how it ended. It changes nothing that passes through,
and lets no act through where another operator may act by now.

Capabilities are asked for by type, so the measured gateway has exactly those of the one inside: a new capability in
base.py needs its methods here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from passerelle.batch import Batch
from passerelle.errors import PasserelleError, Unavailable
from passerelle.gateways.base import (
    Accounting,
    Entry,
    Files,
    Gateway,
    HandedIn,
    HandedOut,
    Handover,
    Identity,
    Info,
    Opens,
    Probe,
    Signals,
    Transfer,
    Upload,
)
from passerelle.gateways.meter import metered
from passerelle.gateways.surveys import Survey
from passerelle.slurm import JobState, RemoteJob

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a gateway's operation, which may have taken several requests or commands. `error` is None where it
    went well.
    """

    operation: str
    seconds: float
    error: Exception | None
    responses: int
    received: int


Tell = Callable[[Request], None]
Fence = Callable[[], None]


def measured(gateway: Gateway, tell: Tell, clock: Callable[[], float], fence: Fence = lambda: None) -> Gateway:
    """The same gateway, measured. `clock` is monotonic, in seconds; `fence` raises Unavailable where nothing may be
    done any more but looking.
    """
    able = tuple(wrapped for capability, wrapped in _CAPABILITIES.items() if isinstance(gateway, capability))
    made: Gateway = type("Measured", able or (_Measured,), {})(gateway, tell, clock, fence)
    return made


class _Measured:
    """Gateway."""

    def __init__(self, gateway: Gateway, tell: Tell, clock: Callable[[], float], fence: Fence) -> None:
        self.settle_seconds = gateway.settle_seconds
        self.traits = gateway.traits
        self._gateway = gateway
        self._tell = tell
        self._clock = clock
        self._fence = fence

    async def probe(self) -> Probe:
        return await self._measure("probe", self._gateway.probe())

    async def submit(self, batch: Batch) -> str:
        return await self._act("submit", self._gateway.submit(batch))

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        return await self._measure("states", self._gateway.states(job_ids))

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        return await self._measure("get", self._gateway.get(job_ids))

    async def find(self) -> Sequence[RemoteJob]:
        return await self._measure("find", self._gateway.find())

    async def cancel(self, job_id: str) -> None:
        await self._act("cancel", self._gateway.cancel(job_id))

    async def close(self) -> None:
        await self._gateway.close()

    async def _act(self, operation: str, call: Coroutine[object, object, _T]) -> _T:
        """A call that changes something at the site."""
        try:
            self._fence()
        except Unavailable:
            call.close()
            raise
        return await self._measure(operation, call)

    async def _measure(self, operation: str, call: Awaitable[_T]) -> _T:
        """A call that is cancelled together with the operator is not told: it has no outcome."""
        began = self._clock()

        def tell(error: Exception | None) -> None:
            took = self._clock() - began
            self._tell(
                Request(
                    operation=operation,
                    seconds=took,
                    error=error,
                    responses=meter.responses,
                    received=meter.received,
                )
            )

        with metered() as meter:
            try:
                answer = await call
            except Exception as error:
                tell(error)
                raise
        tell(None)
        return answer


class _Accounting(_Measured):
    async def accounted(self, *, names: Collection[str] = (), job_ids: Collection[str] = ()) -> Sequence[RemoteJob]:
        inside = cast("Accounting", self._gateway)
        return await self._measure("accounted", inside.accounted(names=names, job_ids=job_ids))


class _Signals(_Measured):
    async def warn(self, job_id: str, signal: str) -> bool:
        return await self._act("warn", cast("Signals", self._gateway).warn(job_id, signal))


class _Files(_Measured):
    async def size(self, path: str) -> int | None:
        return await self._measure("size", cast("Files", self._gateway).size(path))

    async def read(self, path: str, offset: int, length: int) -> bytes:
        return await self._measure("read", cast("Files", self._gateway).read(path, offset, length))


class _Upload(_Measured):
    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        await self._act("write", cast("Upload", self._gateway).write(path, content, mode=mode))

    async def make_directory(self, path: str) -> None:
        await self._act("make_directory", cast("Upload", self._gateway).make_directory(path))


class _Arranged(_Measured):
    """What Transfer and Handover have in common."""

    @property
    def part_bytes(self) -> int:
        return cast("Transfer", self._gateway).part_bytes

    async def entries(self, path: str) -> Sequence[Entry] | None:
        return await self._measure("entries", cast("Transfer", self._gateway).entries(path))

    async def rename(self, old: str, new: str) -> None:
        await self._act("rename", cast("Transfer", self._gateway).rename(old, new))

    async def remove(self, path: str) -> None:
        await self._act("remove", cast("Transfer", self._gateway).remove(path))

    async def digest(self, path: str) -> str | None:
        return await self._measure("digest", cast("Transfer", self._gateway).digest(path))


class _Opens(_Measured):
    async def open_files(self) -> None:
        await self._act("open_files", cast("Opens", self._gateway).open_files())


class _Transfer(_Arranged):
    async def append(self, path: str, offset: int, content: bytes) -> None:
        await self._act("append", cast("Transfer", self._gateway).append(path, offset, content))


class _Handover(_Arranged):
    @property
    def small_bytes(self) -> int:
        return cast("Handover", self._gateway).small_bytes

    @property
    def store_authority(self) -> bytes | None:
        return cast("Handover", self._gateway).store_authority

    @property
    def transfer_names(self) -> frozenset[str]:
        return cast("Handover", self._gateway).transfer_names

    async def whose(self) -> Identity:
        return await self._measure("whose", cast("Handover", self._gateway).whose())

    async def hand_in(self, path: str, size: int, parts: int, account: str) -> HandedIn:
        return await self._act("hand_in", cast("Handover", self._gateway).hand_in(path, size, parts, account))

    async def hand_out(self, path: str, account: str) -> HandedOut:
        return await self._act("hand_out", cast("Handover", self._gateway).hand_out(path, account))

    async def waiting_for(self, path: str) -> Sequence[str]:
        return await self._measure("waiting_for", cast("Handover", self._gateway).waiting_for(path))

    async def complaint(self, error_log: str) -> PasserelleError | None:
        return await self._measure("complaint", cast("Handover", self._gateway).complaint(error_log))

    async def stamp(self, path: str) -> str | None:
        return await self._measure("stamp", cast("Handover", self._gateway).stamp(path))

    async def resembles(self, path: str, offset: int, content: bytes) -> bool:
        return await self._measure("resembles", cast("Handover", self._gateway).resembles(path, offset, content))


class _Info(_Measured):
    async def survey(self) -> Survey:
        return await self._measure("survey", cast("Info", self._gateway).survey())


_CAPABILITIES: Mapping[type, type[_Measured]] = {
    Accounting: _Accounting,
    Signals: _Signals,
    Files: _Files,
    Upload: _Upload,
    Transfer: _Transfer,
    Opens: _Opens,
    Handover: _Handover,
    Info: _Info,
}

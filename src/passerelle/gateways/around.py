"""A gateway around a gateway: every call passes through one function, which may measure it, hold it back or refuse it.

Capabilities are asked for by type, so the outer gateway has exactly those of the one inside: a new capability in
base.py needs its methods here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar, cast

from passerelle.batch import Batch
from passerelle.errors import PasserelleError
from passerelle.gateways.base import (
    HORIZON_SECONDS,
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
    Traits,
    Transfer,
    Upload,
    Words,
)
from passerelle.gateways.surveys import Survey
from passerelle.marker import Run
from passerelle.slurm import JobState, RemoteJob

_T = TypeVar("_T")

LOOKS = frozenset({"probe", "states", "get", "find", "accounted", "survey"})
"""They ask the scheduler, and change nothing."""

READS = frozenset({"size", "read", "entries", "digest", "whose", "waiting_for", "complaint", "stamp", "resembles"})
"""They ask for files, and change nothing."""


class Through(Protocol):
    """What every call passes through: the operation's name, what begins it, and what an act or a file's call is about:
    a marker, a job's id or a path.
    """

    async def __call__(self, operation: str, call: Callable[[], Awaitable[_T]], about: str | None = None, /) -> _T: ...


def around(gateway: Gateway, through: Through) -> Gateway:
    """The same gateway, each of whose calls passes through there."""
    able = tuple(wrapped for capability, wrapped in _CAPABILITIES.items() if isinstance(gateway, capability))
    made: Gateway = type("Around", able or (_Around,), {})(gateway, through)
    return made


class _Around:
    """Gateway."""

    def __init__(self, gateway: Gateway, through: Through) -> None:
        self._gateway = gateway
        self._through = through

    @property
    def settle_seconds(self) -> float:
        return self._gateway.settle_seconds

    @property
    def traits(self) -> Traits:
        return self._gateway.traits

    async def probe(self) -> Probe:
        return await self._through("probe", self._gateway.probe)

    async def submit(self, batch: Batch) -> str:
        return await self._through("submit", lambda: self._gateway.submit(batch), batch.options.name)

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        return await self._through("states", lambda: self._gateway.states(job_ids))

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        return await self._through("get", lambda: self._gateway.get(job_ids))

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        return await self._through("find", lambda: self._gateway.find(ended_of))

    async def cancel(self, job_id: str) -> None:
        await self._through("cancel", lambda: self._gateway.cancel(job_id), job_id)

    async def close(self) -> None:
        await self._gateway.close()


class _Accounting(_Around):
    async def accounted(
        self, *, names: Words = (), job_ids: Words = (), within: float = HORIZON_SECONDS
    ) -> Sequence[RemoteJob]:
        inside = cast("Accounting", self._gateway)
        return await self._through("accounted", lambda: inside.accounted(names=names, job_ids=job_ids, within=within))


class _Signals(_Around):
    async def warn(self, job_id: str, signal: str) -> bool:
        return await self._through("warn", lambda: cast("Signals", self._gateway).warn(job_id, signal), job_id)


class _Files(_Around):
    async def size(self, path: str) -> int | None:
        return await self._through("size", lambda: cast("Files", self._gateway).size(path), path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        return await self._through("read", lambda: cast("Files", self._gateway).read(path, offset, length), path)


class _Upload(_Around):
    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        await self._through("write", lambda: cast("Upload", self._gateway).write(path, content, mode=mode), path)

    async def make_directory(self, path: str) -> None:
        await self._through("make_directory", lambda: cast("Upload", self._gateway).make_directory(path), path)


class _Arranged(_Around):
    """What Transfer and Handover have in common."""

    @property
    def part_bytes(self) -> int:
        return cast("Transfer", self._gateway).part_bytes

    async def entries(self, path: str) -> Sequence[Entry] | None:
        return await self._through("entries", lambda: cast("Transfer", self._gateway).entries(path), path)

    async def rename(self, old: str, new: str) -> None:
        await self._through("rename", lambda: cast("Transfer", self._gateway).rename(old, new), old)

    async def remove(self, path: str) -> None:
        await self._through("remove", lambda: cast("Transfer", self._gateway).remove(path), path)

    async def digest(self, path: str) -> str | None:
        return await self._through("digest", lambda: cast("Transfer", self._gateway).digest(path), path)


class _Opens(_Around):
    async def open_files(self) -> None:
        await self._through("open_files", lambda: cast("Opens", self._gateway).open_files())


class _Transfer(_Arranged):
    async def append(self, path: str, offset: int, content: bytes) -> None:
        await self._through("append", lambda: cast("Transfer", self._gateway).append(path, offset, content), path)


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
        return await self._through("whose", lambda: cast("Handover", self._gateway).whose())

    async def hand_in(self, path: str, size: int, parts: int, account: str) -> HandedIn:
        return await self._through(
            "hand_in", lambda: cast("Handover", self._gateway).hand_in(path, size, parts, account), path
        )

    async def hand_out(self, path: str, account: str) -> HandedOut:
        return await self._through("hand_out", lambda: cast("Handover", self._gateway).hand_out(path, account), path)

    async def waiting_for(self, path: str) -> Sequence[str]:
        return await self._through("waiting_for", lambda: cast("Handover", self._gateway).waiting_for(path), path)

    async def complaint(self, error_log: str) -> PasserelleError | None:
        return await self._through("complaint", lambda: cast("Handover", self._gateway).complaint(error_log), error_log)

    async def stamp(self, path: str) -> str | None:
        return await self._through("stamp", lambda: cast("Handover", self._gateway).stamp(path), path)

    async def resembles(self, path: str, offset: int, content: bytes) -> bool:
        return await self._through(
            "resembles", lambda: cast("Handover", self._gateway).resembles(path, offset, content), path
        )


class _Info(_Around):
    async def survey(self) -> Survey:
        return await self._through("survey", lambda: cast("Info", self._gateway).survey())


_CAPABILITIES: Mapping[type, type[_Around]] = {
    Accounting: _Accounting,
    Signals: _Signals,
    Files: _Files,
    Upload: _Upload,
    Transfer: _Transfer,
    Opens: _Opens,
    Handover: _Handover,
    Info: _Info,
}

"""The engine between a real object store and a site's door, each at the end of a wire, as an operator has it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from contract.wire import Wire, wire
from passerelle.gateways.base import Gateway, Identity
from passerelle.staging.door import Door
from passerelle.staging.place import place
from passerelle.staging.s3.client import S3
from passerelle.staging.s3.credential import Access, access
from passerelle.staging.steps import Direction, Progress, Step
from passerelle.staging.worker import Staging
from passerelle_sandbox.object_store import serve
from passerelle_sandbox.object_store.serve import ObjectStore

BUCKET = "startup"
MIB = 1024 * 1024
MOST_MEMORY = 192 * MIB
"""What copying may take beyond what the process had: parts in flight, TLS, and SSH or HTTP."""
_PART = 16 * MIB


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    with tempfile.TemporaryDirectory(prefix="passerelle-s3-") as directory:
        started = serve.start(Path(directory), os.environ, buckets=(BUCKET,))
        try:
            yield started
        finally:
            started.end()


def known(store: ObjectStore, *, url: str = "", **other: str) -> Access:
    """Who asks the store, there or in another way."""
    secret = {**store.secret(url=url), **other}
    return access("team/s3", {key: text.encode() for key, text in secret.items()})


async def fill(store: ObjectStore, key: str, size: int) -> str:
    """Put so many bytes there that compress to nothing; their SHA-256."""
    client = S3(BUCKET, known(store))
    digest, parts, upload = hashlib.sha256(), [], await client.begin(key, "")
    for number, start in enumerate(range(0, size, _PART), 1):
        content = os.urandom(min(_PART, size - start))
        digest.update(content)
        parts.append(await client.upload(key, upload, number, content))
    await client.complete(key, upload, parts)
    await client.close()
    return digest.hexdigest()


@dataclass
class Bench:
    """`moved` is what the engine says that it moved."""

    store: ObjectStore
    to_store: Wire
    to_site: Wire
    gateway: Gateway
    moved: dict[Direction, int] = field(default_factory=lambda: {"In": 0, "Out": 0})

    def staging(self) -> Staging:
        """As a newly started operator has it."""
        return Staging(
            "site",
            door=self._door,
            read_access=self._access,
            open_store=S3,
            changed=lambda _: None,
            moved=self._moved,
            now=time.time,
        )

    async def _access(self, *_: str) -> Access:
        return known(self.store, url=f"https://127.0.0.1:{self.to_store.port}")

    def _door(self, _: Identity | None) -> Door:
        assert isinstance(self.gateway, Door)
        return self.gateway

    def _moved(self, direction: Direction, size: int) -> None:
        self.moved[direction] += size


@contextlib.asynccontextmanager
async def bench(store: ObjectStore, port: int, gateway: Callable[[int], Gateway]) -> AsyncIterator[Bench]:
    """`port` is the site's, and `gateway` opens it at another one."""
    async with wire(port) as to_site, wire(store.port) as to_store:
        made = Bench(store, to_store, to_site, gateway(to_site.port))
        try:
            yield made
        finally:
            await made.gateway.close()


def into(key: str, path: str) -> Step:
    return Step(name="corpus", direction="In", path=path, place=place(f"s3://{BUCKET}/{key}"), secret="s3")


def out(path: str, prefix: str) -> Step:
    return Step(name="model", direction="Out", path=path, place=place(f"s3://{BUCKET}/{prefix}/"), secret="s3")


@dataclass
class Took:
    """Seconds; `waiting` are those in which the last that was told was that something broke."""

    seconds: float = 0.0
    waiting: float = 0.0
    progress: Progress | None = None


async def done(staging: Staging, step: Step, run_root: str, *, uid: str = "uid", seconds: float = 300.0) -> Took:
    """Ask until it is done, as the passes do."""
    took, clock = Took(), time.monotonic
    began = last = clock()
    async with asyncio.timeout(seconds):
        while not (progress := staging.ask(uid, "team", [step], run_root)[0]).done:
            assert not progress.stalled, progress
            await asyncio.sleep(0.05)
            took.waiting += clock() - last if progress.reason else 0.0
            last = clock()
    took.seconds, took.progress = clock() - began, progress
    return took


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """What the process takes inside, at most, beyond what it had."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory("VmRSS")
    yield
    grown = _memory("VmHWM") - before
    assert grown < MOST_MEMORY, f"{grown // MIB} MiB more than the {before // MIB} MiB before"


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

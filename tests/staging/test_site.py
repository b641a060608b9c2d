"""A gigabyte from a real object store to a real site, and out again, while both connections break: over SFTP, and
through A-REX, which renames nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from contract.arc_world import ArcWorld
from contract.wire import Wire, wire
from passerelle.gateways.base import Gateway
from passerelle.gateways.ssh.credential import SshCredential, credential_from_secret
from passerelle.gateways.ssh.driver import Ssh
from passerelle.staging.door import Door
from passerelle.staging.place import place
from passerelle.staging.s3.client import S3
from passerelle.staging.s3.credential import Access, access
from passerelle.staging.steps import Direction, Progress, Step
from passerelle.staging.worker import Staging
from passerelle_sandbox import processes
from passerelle_sandbox.object_store.serve import ObjectStore
from passerelle_sandbox.site import serve
from passerelle_sandbox.site.layout import RUN_ROOT
from passerelle_sandbox.site.serve import Site
from staging.conftest import BUCKET

pytestmark = pytest.mark.contract

MIB = 1024 * 1024
SIZE = 1000 * MIB + 12_345
RUNS = RUN_ROOT
"""The site's directory that its user may write."""
MOST_MEMORY = 192 * MIB
"""What copying may take beyond what the process had: parts in flight, TLS and SSH."""


@dataclass(frozen=True)
class Behind:
    """A site, and how it is reached: the port of its door, and the same door at another port. `refusal` is its word for
    a place where nothing may be written.
    """

    site: Site
    port: int
    open_at: Callable[[int], Gateway]
    refusal: str


@pytest.fixture(scope="session", params=["ssh", "arc"])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    env = {**os.environ, processes.SANDBOX: f"staging-{secrets.token_hex(3)}"}
    directory = tmp_path_factory.mktemp("site")
    if request.param == "arc":
        world = ArcWorld.start(directory, env)
        found = Behind(world.site, world.port(), world.open_at, "NotWritten")
        end = world.end
    else:
        site = serve.start(directory, env, release="sid", nodes=1, gpus=0)
        port, end = urlsplit(site.ssh_url).port or 0, site.end

        def open_at(through: int) -> Ssh:
            return Ssh(f"ssh://127.0.0.1:{through}", lambda: _credential(site, port, through))

        found = Behind(site, port, open_at, "FileRefused")
    try:
        yield found
    finally:
        end()


@dataclass
class Worlds:
    """A store and a site, each at the end of a wire."""

    behind: Behind
    store: ObjectStore
    to_site: Wire
    to_store: Wire
    gateway: Gateway
    moved: dict[Direction, int] = dataclasses.field(default_factory=lambda: {"In": 0, "Out": 0})

    @property
    def site(self) -> Site:
        return self.behind.site

    def staging(self) -> Staging:
        """As a newly started operator has it."""
        return Staging(
            "sid",
            door=self._door,
            read_access=self._access,
            open_store=S3,
            changed=lambda _: None,
            moved=self._moved,
            now=time.time,
        )

    async def access(self) -> Access:
        secret = self.store.secret(url=f"https://127.0.0.1:{self.to_store.port}")
        return access("team/s3", {key: text.encode() for key, text in secret.items()})

    async def _access(self, *_: str) -> Access:
        return await self.access()

    def _door(self) -> Door:
        assert isinstance(self.gateway, Door)
        return self.gateway

    def _moved(self, direction: Direction, size: int) -> None:
        self.moved[direction] += size

    def digest(self, path: str) -> str:
        done = self.site.run(["sha256sum", path])
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[0]


@pytest.fixture
async def worlds(behind: Behind, store: ObjectStore) -> AsyncIterator[Worlds]:
    async with wire(behind.port) as to_site, wire(store.port) as to_store:
        gateway = behind.open_at(to_site.port)
        yield Worlds(behind, store, to_site, to_store, gateway)
        await gateway.close()


def _credential(site: Site, port: int, through: int) -> SshCredential:
    secret = {key: text.replace(f":{port} ", f":{through} ") for key, text in site.ssh_secret("+1h").items()}
    return credential_from_secret("ns/site", {key: text.encode() for key, text in secret.items()})


@pytest.fixture(scope="session")
def corpus(store: ObjectStore) -> tuple[str, str]:
    """A key, and the SHA-256 of what is there."""

    async def make() -> str:
        client = S3(BUCKET, access("team/s3", {key: text.encode() for key, text in store.secret().items()}))
        digest, parts, upload = hashlib.sha256(), [], await client.begin("corpus.bin", "")
        for number, start in enumerate(range(0, SIZE, 64 * MIB), 1):
            content = os.urandom(min(64 * MIB, SIZE - start))
            digest.update(content)
            parts.append(await client.upload("corpus.bin", upload, number, content))
        await client.complete("corpus.bin", upload, parts)
        await client.close()
        return digest.hexdigest()

    return "corpus.bin", asyncio.run(make())


def into(key: str, path: str) -> Step:
    return Step(name="corpus", direction="In", path=path, place=place(f"s3://{BUCKET}/{key}"), secret="s3")


def out(path: str, prefix: str) -> Step:
    return Step(name="model", direction="Out", path=path, place=place(f"s3://{BUCKET}/{prefix}/"), secret="s3")


async def done(
    staging: Staging, step: Step, *, uid: str = "uid", meanwhile: Callable[[], None] = lambda: None
) -> Progress:
    """Ask until it is done, as the passes do."""
    async with asyncio.timeout(300):
        while not (progress := staging.ask(uid, "team", [step], RUNS)[0]).done:
            assert not progress.stalled, progress
            meanwhile()
            await asyncio.sleep(0.05)
    return progress


async def begun(staging: Staging, step: Step, size: int) -> None:
    """Ask until so many bytes are there."""
    async with asyncio.timeout(120):
        while (progress := staging.ask("uid", "team", [step], RUNS)[0]).moved < size:
            assert not progress.stalled, progress
            await asyncio.sleep(0.05)


async def eventually(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():  # noqa: ASYNC110 -- what it looks at has no event
            await asyncio.sleep(0.1)


@contextlib.contextmanager
def bounded_memory(told: dict[str, float]) -> Iterator[None]:
    """What the process takes inside, at most, beyond what it had."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory("VmRSS")
    yield
    told["peak MiB"] = max(told.get("peak MiB", 0.0), (_memory("VmHWM") - before) / MIB)
    assert _memory("VmHWM") - before < MOST_MEMORY


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def timed(told: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    told[f"{name} MB/s"] = SIZE / 1e6 / (time.monotonic() - began)


async def test_a_gigabyte_goes_in_and_out_over_connections_that_break(worlds: Worlds, corpus: tuple[str, str]) -> None:
    key, digest = corpus
    told: dict[str, float] = {}
    path = f"{RUNS}/data/corpus.bin"
    with bounded_memory(told):
        staging = worlds.staging()
        worlds.to_store.back.cut_at = worlds.to_store.back.carried + 300 * MIB
        worlds.to_site.there.cut_at = worlds.to_site.there.carried + 600 * MIB
        with timed(told, "in"):
            await done(staging, into(key, path))
        await staging.close()
    assert (worlds.to_store.cuts, worlds.to_site.cuts) == (1, 1)
    assert worlds.digest(path) == digest
    assert worlds.moved["In"] <= SIZE, "what was written was not written again"
    names = worlds.site.run(["ls", "-A", f"{RUNS}/data"]).stdout.split()
    assert names == ["corpus.bin"], "nothing is left half-named"

    read = worlds.to_store.back.carried
    staging = worlds.staging()
    await done(staging, into(key, path), uid="another")
    assert worlds.to_store.back.carried - read < MIB, "no second copy"

    with bounded_memory(told):
        worlds.to_store.there.cut_at = worlds.to_store.there.carried + 300 * MIB
        worlds.to_site.back.cut_at = worlds.to_site.back.carried + 600 * MIB
        with timed(told, "out"):
            await done(staging, out(path, "run1"))
    assert (worlds.to_store.cuts, worlds.to_site.cuts) == (2, 2)
    assert worlds.store.digest(BUCKET, "run1/corpus.bin") == digest
    assert worlds.moved["Out"] == SIZE, "no part was sent twice"
    await done(staging, out(path, "run1"), uid="once more")
    assert worlds.moved["Out"] == SIZE
    await staging.close()
    figures = {name: round(value, 1) for name, value in told.items()}
    print(json.dumps({"staging": {"door": type(worlds.gateway).__name__, **figures}}))  # noqa: T201 -- the figures


async def test_a_prefix_becomes_a_tree_and_a_tree_goes_below_a_prefix(worlds: Worlds) -> None:
    objects = {"tree/empty": b"", "tree/a b/ü~+%.bin": b"some", "tree/a b/c/deep": os.urandom(100_000), "tree/": b""}
    client = S3(BUCKET, await worlds.access())
    for key, content in objects.items():
        await client.put(key, content, "")
    staging = worlds.staging()
    progress = await done(staging, into("tree/", f"{RUNS}/tree"))
    assert (progress.files, progress.total) == (3, 100_004)
    await done(staging, out(f"{RUNS}/tree", "away"), uid="out")
    await staging.close()
    back = await client.list("away/", 10)
    await client.close()
    assert {each.key: worlds.store.digest(BUCKET, each.key) for each in back} == {
        f"away/{key.removeprefix('tree/')}": hashlib.sha256(content).hexdigest()
        for key, content in objects.items()
        if key != "tree/"
    }


async def test_another_operator_goes_on_where_one_was_killed(worlds: Worlds, corpus: tuple[str, str]) -> None:
    key, digest = corpus
    path = f"{RUNS}/data/killed.bin"
    first = worlds.staging()
    step = into(key, path)
    await begun(first, step, 200 * MIB)
    await first.close()
    moved = worlds.moved["In"]

    second = worlds.staging()
    await done(second, step)
    await second.close()

    assert worlds.digest(path) == digest
    assert worlds.moved["In"] - moved <= SIZE - 190 * MIB, "it went on from what lay there"


async def test_a_deleted_job_leaves_nothing_half_named(worlds: Worlds, corpus: tuple[str, str]) -> None:
    key, _ = corpus
    staging = worlds.staging()
    step = into(key, f"{RUNS}/deleted/corpus.bin")
    await begun(staging, step, 50 * MIB)
    begun_as = ".part\n" if worlds.gateway.traits.renames else "corpus.bin\n"
    assert worlds.site.run(["ls", "-A", f"{RUNS}/deleted"]).stdout.endswith(begun_as)
    staging.forget("uid", "team")
    await eventually(lambda: not worlds.site.run(["ls", "-A", f"{RUNS}/deleted"]).stdout)
    await staging.close()


async def test_what_the_site_refuses_is_said(worlds: Worlds, corpus: tuple[str, str]) -> None:
    key, _ = corpus
    staging = worlds.staging()
    step = into(key, "/etc/passerelle/corpus.bin")
    await eventually(lambda: staging.ask("uid", "team", [step], RUNS)[0].stalled)
    progress = staging.ask("uid", "team", [step], RUNS)[0]
    await staging.close()
    assert "/etc/passerelle" in progress.message
    assert progress.reason == worlds.behind.refusal

"""The engine from a real object store to a real site and back, over SFTP and through A-REX, which renames nothing:
trees, ends of operators and of TrainingJobs, and refusals. tests/contract moves a gigabyte through every door.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from contract.arc_world import ArcWorld
from passerelle.gateways.base import Gateway
from passerelle.gateways.ssh.address import address
from passerelle.gateways.ssh.credential import SshCredential, credential_from_secret
from passerelle.gateways.ssh.driver import Ssh
from passerelle.staging.s3.client import S3
from passerelle.staging.steps import Step
from passerelle.staging.worker import Staging
from passerelle_sandbox import processes
from passerelle_sandbox.object_store.serve import ObjectStore
from passerelle_sandbox.site import serve
from passerelle_sandbox.site.layout import RUN_ROOT
from passerelle_sandbox.site.serve import Site
from staging import engine
from staging.engine import BUCKET, MIB, Bench, done, into, known, out

pytestmark = pytest.mark.contract

SIZE = 200 * MIB + 12_345
RUNS = RUN_ROOT
"""The site's directory that its user may write."""


@dataclass(frozen=True)
class Behind:
    """A site, and how it is reached: the port of its door, and the same door at another port. `grows` is how a copy's
    name ends that is not whole; `refusal` the gateway's word for a place where nothing may be written.
    """

    site: Site
    port: int
    open_at: Callable[[int], Gateway]
    grows: str
    refusal: str


@pytest.fixture(scope="session", params=["ssh", "arc"])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    env = {**os.environ, processes.SANDBOX: f"staging-{secrets.token_hex(3)}"}
    directory = tmp_path_factory.mktemp("site")
    if request.param == "arc":
        world = ArcWorld.start(directory, env)
        found, end = Behind(world.site, world.port(), world.open_at, ".bin", "NotWritten"), world.end
    else:
        site = serve.start(directory, env, release="sid", nodes=1, gpus=0)
        port = address(site.ssh_url).port

        def open_at(through: int) -> Ssh:
            return Ssh(f"ssh://127.0.0.1:{through}", lambda: _credential(site, port, through))

        found, end = Behind(site, port, open_at, ".part", "FileRefused"), site.end
    try:
        yield found
    finally:
        end()


@pytest.fixture
def site(behind: Behind) -> Site:
    return behind.site


@pytest.fixture
async def bench(behind: Behind, store: ObjectStore) -> AsyncIterator[Bench]:
    async with engine.bench(store, behind.port, behind.open_at) as made:
        yield made


def _credential(site: Site, port: int, through: int) -> SshCredential:
    secret = {key: text.replace(f":{port} ", f":{through} ") for key, text in site.ssh_secret("+1h").items()}
    return credential_from_secret("ns/site", {key: text.encode() for key, text in secret.items()})


@pytest.fixture(scope="session")
def corpus(store: ObjectStore) -> tuple[str, str]:
    """A key, and the SHA-256 of what is there."""
    return "corpus.bin", asyncio.run(engine.fill(store, "corpus.bin", SIZE))


async def begun(staging: Staging, step: Step, size: int) -> None:
    """Ask until so many bytes are there."""
    async with asyncio.timeout(120):
        while (progress := staging.ask("uid", "team", [step], RUNS)[0]).moved < size:
            assert not progress.stalled, progress
            await asyncio.sleep(0.01)


async def eventually(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():  # noqa: ASYNC110 -- what it looks at has no event
            await asyncio.sleep(0.1)


async def test_a_prefix_becomes_a_tree_and_a_tree_goes_below_a_prefix(bench: Bench) -> None:
    objects = {"wood/empty": b"", "wood/a b/ü~+%.bin": b"some", "wood/a b/c/deep": os.urandom(100_000), "wood/": b""}
    client = S3(BUCKET, known(bench.store))
    for key, content in objects.items():
        await client.put(key, content, "")
    staging = bench.staging()
    progress = (await done(staging, into("wood/", f"{RUNS}/wood"), RUNS)).progress
    assert progress is not None
    assert (progress.files, progress.total) == (3, 100_004)
    await done(staging, out(f"{RUNS}/wood", "forest"), RUNS, uid="out")
    await staging.close()
    back = await client.list("forest/", 10)
    await client.close()
    assert {each.key: bench.store.digest(BUCKET, each.key) for each in back} == {
        f"forest/{key.removeprefix('wood/')}": hashlib.sha256(content).hexdigest()
        for key, content in objects.items()
        if key != "wood/"
    }


async def test_another_operator_goes_on_where_one_was_killed(bench: Bench, site: Site, corpus: tuple[str, str]) -> None:
    key, sha256 = corpus
    path = f"{RUNS}/data/killed.bin"
    first = bench.staging()
    step = into(key, path)
    await begun(first, step, 60 * MIB)
    await first.close()
    moved = bench.moved["In"]

    second = bench.staging()
    await done(second, step, RUNS)
    await second.close()

    assert site.run(["sha256sum", path]).stdout.split()[0] == sha256
    assert bench.moved["In"] - moved <= SIZE - 50 * MIB, "it went on from what lay there"


async def test_a_deleted_job_leaves_nothing_half_named(
    bench: Bench, behind: Behind, site: Site, corpus: tuple[str, str]
) -> None:
    key, _ = corpus
    staging = bench.staging()
    step = into(key, f"{RUNS}/deleted/corpus.bin")
    await begun(staging, step, 30 * MIB)
    assert site.run(["ls", "-A", f"{RUNS}/deleted"]).stdout.endswith(f"{behind.grows}\n")
    staging.forget("uid", "team")
    await eventually(lambda: not site.run(["ls", "-A", f"{RUNS}/deleted"]).stdout)
    await staging.close()


async def test_what_the_site_refuses_is_said(bench: Bench, behind: Behind, corpus: tuple[str, str]) -> None:
    key, _ = corpus
    staging = bench.staging()
    step = into(key, "/etc/passerelle/corpus.bin")
    await eventually(lambda: staging.ask("uid", "team", [step], RUNS)[0].stalled)
    progress = staging.ask("uid", "team", [step], RUNS)[0]
    await staging.close()
    assert "/etc/passerelle" in progress.message
    assert progress.reason == behind.refusal

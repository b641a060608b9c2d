"""Large files through FirecREST: by its object store and real Slurm jobs, while connections break, jobs fail, answers
are lost and the operator dies.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from contract.firecrest_world import SiteShell
from contract.wire import Wire, wire
from firecrest.bucket import Bucket
from firecrest.fake import Fake
from firecrest.issuer import CLIENT, SECRET
from firecrest.transfer import INGRESS, OUTGRESS
from passerelle.errors import Unavailable
from passerelle.gateways.base import Handover
from passerelle.gateways.firecrest.credential import credential_from_secret
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.gateways.unreached import Ca
from passerelle.staging import handover, handover_out, transfer_job
from passerelle.staging.door import Door
from passerelle.staging.handed import Sent
from passerelle.staging.handover import HandIn
from passerelle.staging.place import place
from passerelle.staging.s3.allowed import Allowed
from passerelle.staging.s3.client import S3
from passerelle.staging.s3.credential import Access, access
from passerelle.staging.s3.presigned import Presigned
from passerelle.staging.steps import Direction, Progress, Step
from passerelle.staging.worker import Staging
from passerelle_sandbox import processes
from passerelle_sandbox.object_store.serve import ObjectStore
from passerelle_sandbox.site import serve
from passerelle_sandbox.site.layout import RUN_ROOT
from passerelle_sandbox.site.serve import Site
from staging.engine import BUCKET, MIB

pytestmark = pytest.mark.contract

SIZE = 200 * MIB + 12_345
"""Twenty parts."""
MIDDLE = 24 * MIB + 7
"""Of the files whose story is not their size: three parts."""
RUNS = RUN_ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    env = {**os.environ, processes.SANDBOX: f"firecrest-staging-{secrets.token_hex(3)}"}
    started = serve.start(tmp_path_factory.mktemp("site"), env, release="sid", nodes=1, gpus=0)
    try:
        yield started
    finally:
        started.end()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs here take seconds."""
    for kind in (handover.HandIn, handover_out.HandOut):
        monkeypatch.setattr(kind.__init__, "__defaults__", _looking(kind.__init__.__defaults__))


def _looking(defaults: tuple[object, ...] | None) -> tuple[object, ...]:
    return tuple(0.5 if each == transfer_job.LOOK_SECONDS else each for each in defaults or ())


@dataclass
class Worlds:
    """The user's store, and FirecREST with its own; the operator goes to each of both stores by a wire."""

    site: Site
    store: ObjectStore
    fake: Fake
    to_store: Wire
    to_firecrests: Wire
    last: int
    """The number of the last job that was there before."""
    before: frozenset[str]
    """What lay beside the receipts."""
    moved: dict[Direction, int] = field(default_factory=lambda: {"In": 0, "Out": 0})
    opened: list[Firecrest] = field(default_factory=list)
    running: list[Staging] = field(default_factory=list)

    def gateway(self) -> Firecrest:
        told = {"client-id": CLIENT, "client-secret": SECRET, "token-url": self.fake.token_url}
        known = credential_from_secret("ns/site", {key: value.encode() for key, value in told.items()})
        authority = self.store.authority.read_bytes()
        made = Firecrest(self.fake.url, "sandbox", lambda: known, ca=Ca(authority), settle_seconds=3.0)
        self.opened.append(made)
        return made

    def staging(self, *, hosts: tuple[str, ...] = ()) -> Staging:
        """As a newly started operator has it."""
        gateway = self.gateway()
        assert isinstance(gateway, Handover)
        made = Staging(
            "alps",
            door=lambda _: _door(gateway),
            read_access=self._access,
            open_store=S3,
            changed=lambda _: None,
            moved=self._moved,
            now=time.time,
            presigned=Allowed(hosts).presigned,
        )
        self.running.append(made)
        return made

    async def _access(self, *_: str) -> Access:
        secret = self.store.secret(url=f"https://127.0.0.1:{self.to_store.port}")
        return access("team/s3", {key: text.encode() for key, text in secret.items()})

    def _moved(self, direction: Direction, size: int) -> None:
        self.moved[direction] += size

    def digest(self, path: str) -> str:
        done = self.site.run(["sha256sum", path])
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[0]

    def names(self, directory: str) -> list[str]:
        return self.site.run(["ls", "-A", directory]).stdout.split()

    def jobs(self, name: str) -> list[str]:
        """The states of the transfer jobs of this test."""
        done = self.site.run(["sacct", "-aXnP", f"--name={name}", "--format=JobID,State", "--starttime=now-1hour"])
        found = dict(line.split("|") for line in done.stdout.splitlines())
        return sorted(state.split()[0] for job, state in found.items() if int(job) > self.last)

    def staged(self) -> set[str]:
        """What this test has left beside the receipts, and those."""
        return set(self.names(f"{RUNS}/staged")) - self.before

    def alive(self) -> list[str]:
        return self.site.run(["squeue", "--noheader", "--format=%i"]).stdout.split()


def _door(gateway: object) -> Door:
    return gateway  # type: ignore[return-value]  # as transfers.py has it


@pytest.fixture
async def worlds(site: Site, store: ObjectStore) -> AsyncIterator[Worlds]:
    async with wire(store.port) as to_store, wire(store.port) as to_firecrests:
        bucket = Bucket(store, f"https://127.0.0.1:{to_firecrests.port}")
        fake = Fake("sandbox", SiteShell(site), site.user, bucket=bucket)
        fake.behaviour.directives = ("#SBATCH --account={account}", "#SBATCH --time=10", "#SBATCH --mem=200M")
        last = max(
            map(int, site.run(["sacct", "-aXn", "--format=JobID", "--starttime=now-1hour"]).stdout.split()), default=0
        )
        before = frozenset(site.run(["ls", "-A", f"{RUNS}/staged"]).stdout.split())
        made = Worlds(site, store, fake, to_store, to_firecrests, last, before)
        yield made
        for each in made.running:
            await each.close()
        for gateway in made.opened:
            await gateway.close()
        fake.end()
        await asyncio.to_thread(site.run, ["scancel", f"--user={site.user}"])
        assert fake.violations == []


async def put(store: ObjectStore, key: str, size: int) -> str:
    """An object of random bytes. Returns its SHA-256."""
    client = S3(BUCKET, access("team/s3", {name: text.encode() for name, text in store.secret().items()}))
    digest, parts, upload = hashlib.sha256(), [], await client.begin(key, "")
    for number, start in enumerate(range(0, size, 64 * MIB), 1):
        content = os.urandom(min(64 * MIB, size - start))
        digest.update(content)
        parts.append(await client.upload(key, upload, number, content))
    await client.complete(key, upload, parts)
    await client.close()
    return digest.hexdigest()


def into(key: str, path: str) -> Step:
    where = place(f"s3://{BUCKET}/{key}")
    return Step(name="corpus", direction="In", path=path, place=where, secret="s3", account="startup")


def out(path: str, prefix: str) -> Step:
    where = place(f"s3://{BUCKET}/{prefix}/")
    return Step(name="model", direction="Out", path=path, place=where, secret="s3", account="startup")


async def done(staging: Staging, step: Step, *, uid: str = "uid", seconds: float = 240) -> Progress:
    """Ask until it is done, as the passes do."""
    until = time.monotonic() + seconds
    while not (progress := staging.ask(uid, "team", [step], RUNS)[0]).done:
        assert not progress.stalled, progress
        assert time.monotonic() < until, progress
        await asyncio.sleep(0.05)
    return progress


async def until(staging: Staging, step: Step, wanted: Callable[[Progress], bool]) -> Progress:
    async with asyncio.timeout(120):
        while not wanted(progress := staging.ask("uid", "team", [step], RUNS)[0]):  # noqa: ASYNC110 -- as passes do
            await asyncio.sleep(0.02)
    return progress


async def eventually(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(look):  # noqa: ASYNC110 -- what it looks at has no event
            await asyncio.sleep(0.2)


async def test_a_large_file_goes_in_and_out_over_connections_that_break(
    worlds: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "passerelle")
    digest = await put(worlds.store, "corpus.bin", SIZE)
    path, began = f"{RUNS}/data/corpus.bin", time.monotonic()
    staging = worlds.staging()
    worlds.to_store.back.cut_at = worlds.to_store.back.carried + 60 * MIB
    worlds.to_firecrests.there.cut_at = worlds.to_firecrests.there.carried + 120 * MIB

    await done(staging, into("corpus.bin", path))

    took = time.monotonic() - began
    assert (worlds.to_store.cuts, worlds.to_firecrests.cuts) == (1, 1)
    assert worlds.digest(path) == digest
    assert worlds.names(f"{RUNS}/data") == ["corpus.bin"], "nothing is left half-named"
    assert worlds.moved["In"] == SIZE, "no part was sent twice"
    assert worlds.jobs(INGRESS) == ["COMPLETED"], "one job, and that one once"
    assert worlds.staged() == {f"{hashlib.sha256(path.encode()).hexdigest()}.json"}, "the receipt alone"

    read = worlds.to_store.back.carried
    await done(worlds.staging(), into("corpus.bin", path), uid="another")
    assert worlds.to_store.back.carried - read < MIB, "no second copy"

    worlds.to_firecrests.back.cut_at = worlds.to_firecrests.back.carried + 120 * MIB
    began = time.monotonic()
    await done(staging, out(path, "away"), uid="out")
    assert worlds.to_firecrests.cuts == 2
    assert worlds.store.digest(BUCKET, "away/corpus.bin") == digest
    assert worlds.jobs(OUTGRESS) == ["COMPLETED"]
    figures = {"in MB/s": SIZE / 1e6 / took, "out MB/s": SIZE / 1e6 / (time.monotonic() - began)}
    print(json.dumps({"firecrest": {name: round(value, 1) for name, value in figures.items()}}))  # noqa: T201 -- figures
    assert worlds.fake.bucket is not None
    assert not any(url in caplog.text for url in worlds.fake.bucket.given)
    assert "X-Amz-Signature" not in caplog.text


async def test_another_operator_goes_on_with_the_parts_and_the_job(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "SLICE_SECONDS", 0.0)  # each part is put on record, however fast this machine is
    digest = await put(worlds.store, "killed.bin", 120 * MIB)
    step = into("killed.bin", f"{RUNS}/killed/corpus.bin")
    keep, on_record = HandIn._keep_sent, asyncio.Event()

    async def kept(self: HandIn, part: str, found: Sent) -> None:
        await keep(self, part, found)
        if worlds.moved["In"] > 30 * MIB:
            on_record.set()

    monkeypatch.setattr(HandIn, "_keep_sent", kept)
    first = worlds.staging()
    first.ask("uid", "team", [step], RUNS)
    async with asyncio.timeout(120):
        await on_record.wait()  # a record that is cut in its middle tells nothing, and all is sent again
    await first.close()
    sent = worlds.moved["In"]

    await done(worlds.staging(), step)

    assert worlds.digest(step.path) == digest
    assert worlds.jobs(INGRESS) == ["COMPLETED"], "the job that waited was adopted"
    assert worlds.fake.asked.count("transfer_upload") == 1
    assert worlds.moved["In"] <= 120 * MIB + 10 * MIB, "what was on record was not sent again"
    assert sent > 30 * MIB


@pytest.fixture(scope="module")
def middle(store: ObjectStore) -> tuple[str, str]:
    """A key, and the SHA-256 of what is there."""
    return "middle.bin", asyncio.run(put(store, "middle.bin", MIDDLE))


async def test_a_lost_answer_and_a_lost_completion_leave_one_job_and_one_file(
    worlds: Worlds, middle: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, digest = middle
    step = into(key, f"{RUNS}/lost/corpus.bin")
    worlds.fake.behaviour.lost_answers = 1
    complete, lost = Presigned.complete, 1

    async def loses(self: Presigned, url: str, etags: list[str]) -> bool:
        nonlocal lost
        found = await complete(self, url, etags)
        if lost:
            lost -= 1
            raise Unavailable("The connection broke.", reason="Unreachable")
        return found

    monkeypatch.setattr(Presigned, "complete", loses)

    await done(worlds.staging(), step)

    assert worlds.digest(step.path) == digest
    assert worlds.jobs(INGRESS) == ["CANCELLED", "COMPLETED"], "the one that nobody knew, and the one that carried"
    assert worlds.moved["In"] == MIDDLE


async def test_a_quota_is_told_and_nothing_is_left(worlds: Worlds, middle: tuple[str, str]) -> None:
    step = into(middle[0], f"{RUNS}/full/corpus.bin")
    worlds.fake.behaviour.room = 10 * MIB
    staging = worlds.staging()
    progress = await until(staging, step, lambda each: each.stalled)
    assert (progress.reason, progress.state) == ("NoRoom", "Failed")
    assert "its quota is used up" in progress.message
    assert worlds.names(f"{RUNS}/full") == []
    staging.forget("uid", "team")


async def test_what_the_site_refuses_is_said(worlds: Worlds, middle: tuple[str, str]) -> None:
    staging = worlds.staging()
    step = into(middle[0], "/etc/passerelle/corpus.bin")
    progress = await until(staging, step, lambda each: each.stalled)
    assert progress.reason == "FileRefused"
    assert worlds.fake.asked.count("transfer_upload") == 0
    staging.forget("uid", "team")


async def test_a_job_that_waits_is_told_and_one_that_is_cancelled_is_begun_anew(
    worlds: Worlds, middle: tuple[str, str]
) -> None:
    key, digest = middle
    held = worlds.fake.behaviour.directives
    worlds.fake.behaviour.directives = (*held, "#SBATCH --hold")
    staging, step = worlds.staging(), into(key, f"{RUNS}/held/corpus.bin")

    told = await until(staging, step, lambda each: each.reason == "TransferJobWaits")
    assert "waits in the queue: JobHeldUser" in told.message
    assert told.moved == MIDDLE
    (job,) = worlds.alive()
    worlds.fake.behaviour.directives = held
    worlds.site.run(["scancel", job])
    failed = await until(staging, step, lambda each: each.reason == "TransferJobFailed")
    assert f"transfer job {job} ended as CANCELLED" in failed.message
    staging.stop("uid")

    await done(worlds.staging(), step)
    assert worlds.digest(step.path) == digest


async def test_a_deleted_trainingjob_leaves_no_job_and_nothing_half_named(
    worlds: Worlds, middle: tuple[str, str]
) -> None:
    worlds.fake.behaviour.directives = (*worlds.fake.behaviour.directives, "#SBATCH --hold")
    staging, step = worlds.staging(), into(middle[0], f"{RUNS}/deleted/corpus.bin")
    await until(staging, step, lambda each: each.reason == "TransferJobWaits")
    gateway = worlds.gateway()
    assert await gateway.find() == [], "a transfer job is no attempt"

    staging.forget("uid", "team")

    await eventually(lambda: not worlds.alive())
    await eventually(lambda: not worlds.staged())
    assert worlds.names(f"{RUNS}/deleted") == []


async def test_a_host_that_is_not_allowed_is_never_spoken_to(worlds: Worlds, middle: tuple[str, str]) -> None:
    staging, step = worlds.staging(hosts=("lumidata.eu",)), into(middle[0], f"{RUNS}/foreign/corpus.bin")
    before = worlds.to_firecrests.there.carried
    progress = await until(staging, step, lambda each: each.stalled)
    assert progress.reason == "EndpointNotAllowed"
    assert "objectStoreHosts" in progress.message
    assert worlds.to_firecrests.there.carried == before
    staging.forget("uid", "team")


async def test_a_download_that_lost_a_part_is_not_believed(worlds: Worlds, middle: tuple[str, str]) -> None:
    key, digest = middle
    path = f"{RUNS}/gaps/corpus.bin"
    worlds.fake.behaviour.part = 8 * MIB
    await done(worlds.staging(), into(key, path))
    worlds.fake.behaviour.lost_parts = (2,)
    staging = worlds.staging()
    step = out(path, "gaps")
    failed = await until(staging, step, lambda each: each.reason == "TransferJobFailed")
    assert "ended as COMPLETED and has not carried" in failed.message
    staging.stop("uid", "Out")

    worlds.fake.behaviour.lost_parts, worlds.fake.behaviour.snake = (), True
    await done(worlds.staging(), step)
    assert worlds.store.digest(BUCKET, "gaps/corpus.bin") == digest


async def test_a_tree_goes_in_and_out_and_what_is_small_needs_no_job(worlds: Worlds) -> None:
    client = S3(BUCKET, access("team/s3", {name: text.encode() for name, text in worlds.store.secret().items()}))
    objects = {"tree/empty": b"", "tree/a/b": b"some", "tree/a/c/deep.bin": os.urandom(3 * MIB)}
    for key, content in objects.items():
        await client.put(key, content, "")
    staging = worlds.staging()
    progress = await done(staging, into("tree/", f"{RUNS}/tree"))
    assert (progress.files, worlds.fake.asked.count("transfer_upload")) == (3, 0)
    worlds.site.run(["ln", "-s", "nowhere", f"{RUNS}/tree/a/dangling"], worlds.site.user)
    refused = await until(staging, out(f"{RUNS}/tree", "away"), lambda each: each.stalled)
    assert (refused.reason, "a link that leads to nothing" in refused.message) == ("BrokenLink", True)
    staging.forget("uid", "team")
    worlds.site.run(["rm", f"{RUNS}/tree/a/dangling"])
    await done(staging, out(f"{RUNS}/tree", "away"), uid="out")
    back = await client.list("away/", 10)
    await client.close()
    assert {each.key: worlds.store.digest(BUCKET, each.key) for each in back if each.key != "away/corpus.bin"} == {
        f"away/{key.removeprefix('tree/')}": hashlib.sha256(content).hexdigest() for key, content in objects.items()
    }

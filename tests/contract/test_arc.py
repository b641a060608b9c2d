"""Rows that ARC fulfils in its own way, and what only ARC promises, against the live A-REX."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import PurePosixPath

import httpx
import pytest

from contract.arc_world import ArcWorld
from contract.test_contract import one, reach, row
from contract.world import SCRATCH, Allocation, World
from passerelle.errors import Missing, Rejected, Unavailable
from passerelle.gateways.arc.credential import credential_from_secret
from passerelle.gateways.arc.door import LOOK_SECONDS, NAME, Charge
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import NOT_OPENED, OPENING, Accounting
from passerelle.gateways.unreached import Ca
from passerelle.marker import parse
from passerelle.slurm import REFUSED, Stage

TEN_MINUTES = 600


@pytest.fixture
def arc(world: World) -> ArcWorld:
    assert isinstance(world, ArcWorld)
    return world


@pytest.fixture
async def session(arc: ArcWorld) -> AsyncIterator[tuple[Arc, str]]:
    """A door, and the session directory of a running job."""
    door = arc.open()
    job_id = await door.submit(arc.batch(seconds=TEN_MINUTES))
    await reach(arc, door, job_id, Stage.RUNNING)
    yield door, f"/scratch/arc/session/{job_id}"
    await door.close()


@row("submit-gpu")
@pytest.mark.parametrize("qos", ["normal", "debug"])
async def test_two_nodes_of_four_gpus_are_allocated(arc: ArcWorld, qos: str) -> None:
    door = arc.door()
    asked = arc.batch(
        seconds=TEN_MINUTES,
        nodes=2,
        tasks_per_node=2,
        cpus_per_task=3,
        memory_per_node_mib=2000,
        gpus_per_node=4,
        time_limit_minutes=33,
        warning_seconds=60,
        qos=qos,
    )
    job_id = await door.submit(asked)
    job = await reach(arc, door, job_id, Stage.RUNNING)
    assert await arc.allocation(job_id) == Allocation(nodes=2, tasks=4, cpus=12, gpus=8, minutes=33, requeue=False)
    assert (await arc.show(job.slurm_id))["MinMemoryNode"] == "2000M"
    assert (job.node_count, job.gpus, job.time_limit_minutes) == (2, 8, 33)
    assert (job.account, job.qos, job.partition) == ("startup", qos, "gpu")
    assert (job.user, job.cluster, job.name) == (arc.user, arc.cluster, asked.options.name)
    assert job.standard_output == f"{SCRATCH}/psr-{job.slurm_id}.out"
    assert job.nodes
    assert (job.end_time, job.exit_code) == (None, None), "a running job has neither"


@row("submit-gpu")
async def test_without_a_runtime_environment_what_cannot_be_asked_for_is_refused(arc: ArcWorld) -> None:
    door = Arc(arc.server.url, lambda: arc.credential, ca=Ca(arc.server.authority))
    arc.opened.append(door)
    for options, word in (({}, "--account"), ({"account": None, "qos": None, "gpus_per_node": 4}, "--gpus-per-node")):
        with pytest.raises(Rejected, match=word) as caught:
            await door.submit(arc.batch(**options))  # type: ignore[arg-type]  # fields of Options
        assert caught.value.reason == "NotExpressible"
    plain = arc.batch(account=None, qos=None, nodes=2, memory_per_node_mib=300)
    job_id = await door.submit(plain)
    ended = await reach(arc, door, job_id, Stage.ENDED)
    assert (ended.state.base, ended.node_count) == ("COMPLETED", 2)


@row("submit-gpu")
async def test_an_environment_that_the_site_lacks_is_told_before_anything_is_sent(arc: ArcWorld) -> None:
    door = Arc(arc.server.url, lambda: arc.credential, ca=Ca(arc.server.authority), environment="ENV/NOWHERE")
    arc.opened.append(door)
    before = len(await door.find())
    with pytest.raises(Rejected, match=r"it has: PASSERELLE") as caught:
        await door.submit(arc.batch())
    assert (caught.value.reason, caught.value.transient) == ("RuntimeEnvironmentMissing", True)
    assert len(await door.find()) == before


@row("reject")
async def test_a_queue_that_is_none_is_refused_at_once(arc: ArcWorld) -> None:
    door = arc.door()
    with pytest.raises(Rejected) as caught:
        await door.submit(arc.batch(partition="nowhere"))
    assert (caught.value.reason, caught.value.transient) == ("InvalidPartition", False)


@row("reject")
async def test_what_sbatch_refuses_ends_without_having_begun(arc: ArcWorld) -> None:
    """A-REX takes the job, tries sbatch for some twenty seconds, and fails it."""
    door = arc.door()
    refused = {
        "Invalid account": arc.batch(account="nobody"),
        "Invalid qos": arc.batch(qos="noqos"),
        "configuration is not available": arc.batch(gpus_per_node=99),
    }
    ids = [await door.submit(batch) for batch in refused.values()]
    ended = [await reach(arc, door, job_id, Stage.ENDED) for job_id in ids]
    for words, job in zip(refused, ended, strict=True):
        assert words in job.state_reason
        assert job.state.base == "FAILED"
        assert (job.exit_code, job.exit_signal, job.start_time, job.nodes) == (None, None, None, "")
        assert job.refused, "it never ran, and another attempt's claim is not in question"
        assert words in job.refusal
        assert job.ending is REFUSED


@row("purge")
async def test_a_wiped_job_is_gone(arc: ArcWorld) -> None:
    """A-REX keeps jobs for a week, and whoever wants to may clean up before. There is no accounting behind it."""
    door = arc.door()
    assert not isinstance(door, Accounting)
    job_id = await door.submit(batch := arc.batch(exit_code=3))
    await reach(arc, door, job_id, Stage.ENDED)
    assert [job.job_id for job in await door.find() if job.name == batch.options.name] == [job_id]
    assert [job for job in await arc.door().find(()) if job.name == batch.options.name] == [], "nobody asks for its end"
    await arc.clean(job_id)

    async def forgotten() -> bool:
        return job_id not in await door.states([job_id])

    await arc.until(forgotten, "wiping", seconds=120)
    assert await door.get([job_id]) == []
    assert [job for job in await door.find() if job.name == batch.options.name] == []


@row("requeue")
async def test_a_job_that_an_administrator_requeues_stays_alive(arc: ArcWorld) -> None:
    """A-REX tells nothing of a restart; but it must not be taken for an end."""
    door = arc.door()
    job_id = await door.submit(arc.batch(seconds=TEN_MINUTES))
    await reach(arc, door, job_id, Stage.RUNNING)
    await arc.let_pass(2.0)
    await arc.requeue(job_id)
    number = await arc.slurm_id(job_id)

    async def again() -> bool:
        assert (await one(door, job_id)).ending is None
        shown = await arc.show(number)
        return shown["Restarts"] == "1" and shown["JobState"] == "RUNNING"

    await arc.until(again, "a second life", seconds=180)
    assert (await one(door, job_id)).ending is None
    await door.cancel(job_id)


@row("comment")
async def test_a_comment_is_not_told(arc: ArcWorld) -> None:
    door = arc.door()
    job_id = await door.submit(arc.batch(seconds=TEN_MINUTES))
    await reach(arc, door, job_id, Stage.RUNNING)
    await arc.write_comment(job_id, "step 12")
    assert (await one(door, job_id)).comment == ""


@row("ends")
async def test_an_administrators_end_and_a_killed_script_are_told_apart(arc: ArcWorld) -> None:
    """A-REX knows the one as FINISHED, and of the other a code of its shell."""
    door = arc.door()
    cancelled = await door.submit(arc.batch(seconds=TEN_MINUTES))
    killed = await door.submit(dataclasses.replace(arc.batch(), script="#!/bin/sh\nkill -9 $$\n"))
    await reach(arc, door, cancelled, Stage.RUNNING)
    await arc.run("scancel", await arc.slurm_id(cancelled))
    assert (await reach(arc, door, cancelled, Stage.ENDED)).state.base == "CANCELLED"
    ended = await reach(arc, door, killed, Stage.ENDED)
    assert (ended.state.base, ended.exit_code) == ("FAILED", 137)


@row("daemon-down")
async def test_without_its_daemon_arex_takes_jobs_and_they_wait(arc: ArcWorld) -> None:
    door = arc.door()
    await door.probe()
    await arc.stop("arex")
    try:
        job_id = await door.submit(batch := arc.batch())
        await arc.let_pass(8.0)
        waiting = await one(door, job_id)
        assert (waiting.stage, waiting.slurm_id, waiting.name) == (Stage.QUEUED, "", batch.options.name)
        assert (await door.states([job_id]))[job_id].stage is Stage.QUEUED
        assert (await door.probe()).identity.user == arc.user
    finally:
        await arc.start_again("arex")
    ended = await reach(arc, door, job_id, Stage.ENDED)
    assert ended.state.base == "COMPLETED"


@row("certificate")
@pytest.mark.parametrize("kind", ["certificate", "proxy"])
async def test_a_certificate_is_taken_as_its_holder(arc: ArcWorld, kind: str) -> None:
    secret = await asyncio.to_thread(
        arc.server.certificate_secret if kind == "certificate" else arc.server.proxy_secret
    )
    arc.credential = credential_from_secret("ns/contract", secret)
    door = arc.door()
    probe = await door.probe()
    assert probe.identity.user == "/DC=org/DC=nordugrid/DC=ARC/O=TestCA/CN=startup"
    job_id = await door.submit(batch := arc.batch())
    ended = await reach(arc, door, job_id, Stage.ENDED)
    assert (ended.state.base, ended.user) == ("COMPLETED", probe.identity.user)
    arc.credential = arc.good()
    assert [job for job in await door.find() if job.name == batch.options.name] == [], "jobs are their holder's alone"


@row("files")
async def test_a_log_is_read_wherever_it_lies(arc: ArcWorld, session: tuple[Arc, str]) -> None:
    door, place = session
    job = await one(door, PurePosixPath(place).name)
    fresh = arc.open()
    arc.opened.append(fresh)
    size = await fresh.size(job.standard_output)
    assert size
    text = await fresh.read(job.standard_output, 0, size)
    assert b"SLURM_JOB_ID=" + job.slurm_id.encode() in text.split(b"\0")


@row("door")
async def test_a_log_needs_no_door_and_opens_none(arc: ArcWorld, session: tuple[Arc, str]) -> None:
    door, place = session
    job = await one(door, PurePosixPath(place).name)
    await close(arc)
    fresh = arc.open()
    arc.opened.append(fresh)
    try:
        assert await fresh.size(job.standard_output)
        assert await fresh.read(f"{place}/bootstrap.log", 0, 100) == b""
        for path in (f"{place}/nowhere", "/etc/hostname", f"{place}/../../control/info.xml"):
            assert await fresh.size(path) is None
            with pytest.raises(Missing):
                await fresh.read(path, 0, 1)
        assert await fresh._doors() == {}, "a read submits nothing"
    finally:
        await arc.open_door()


@row("door")
async def test_a_door_that_arex_removes_is_renewed_and_nothing_behind_it_is_lost(arc: ArcWorld) -> None:
    """It is asked for by two at once, and while it is not there nothing is told to be missing."""
    door, other = arc.door(), arc.door()
    assert isinstance(door, Arc)
    assert isinstance(other, Arc)
    place = f"{SCRATCH}/psr-{secrets.token_hex(8)}"
    await door.make_directory(place)
    await door.append(f"{place}/file", 0, b"kept")
    assert await other.size(f"{place}/file") == 4
    await close(arc)
    assert arc.seen(f"{place}/file").read_bytes() == b"kept", "A-REX removes the link, and nothing behind it"
    for call in (door.size(f"{place}/file"), door.append(f"{place}/new", 0, b"x"), other.entries(place)):
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.reason == OPENING
    for other_call in (door.read(f"{place}/file", 0, 9), door.remove(f"{place}/file"), door.open_files()):
        with pytest.raises(Unavailable) as caught:
            await other_call
        assert caught.value.reason == OPENING
    await arc.open_door()
    await arc.let_pass(LOOK_SECONDS)
    assert await door.read(f"{place}/file", 0, 9) == b"kept"
    await other.append(f"{place}/file", 4, b" on")
    assert arc.seen(f"{place}/file").read_bytes() == b"kept on"
    assert not arc.seen(f"{place}/new").exists()
    (job_id,) = await door._doors()
    assert parse(NAME) is None
    assert job_id not in [job.job_id for job in await door.find()], "it is nobody's attempt"


@row("door")
async def test_a_door_that_is_refused_is_told_of_and_not_submitted_again_at_once(arc: ArcWorld) -> None:
    await close(arc)
    charge = Charge(partition="gpu", account="nobody")
    door = Arc(
        arc.server.url,
        lambda: arc.credential,
        environment="PASSERELLE",
        charge=charge,
        ca=Ca(arc.server.authority),
    )
    arc.opened.append(door)
    try:
        told: list[str] = []

        async def refused() -> bool:
            try:
                await door.open_files()
            except Unavailable:
                return False
            except Rejected as error:
                told.append(error.message)
                return error.reason == NOT_OPENED
            return False

        await arc.until(refused, "the refusal", seconds=120)
        assert "Invalid account" in told[-1]
        await arc.let_pass(LOOK_SECONDS + 1)
        with pytest.raises(Rejected):
            await door.open_files()
        assert len(await door._doors()) == 1
        for job_id in await door._doors():
            await arc.clean(job_id)
    finally:
        await arc.open_door()


@row("door")
async def test_links_are_what_they_lead_to(arc: ArcWorld) -> None:
    door = arc.door()
    assert isinstance(door, Arc)
    place = f"{SCRATCH}/psr-{secrets.token_hex(8)}"
    await door.make_directory(f"{place}/é d")
    await door.append(f"{place}/file", 0, b"four")
    here = arc.seen(place)
    for name, target in (("to é?#;&", "file"), ("to d", "é d"), ("no", "nothing"), ("round", "round")):
        (here / name).symlink_to(target)
    os.mkfifo(here / "pipe")
    (here / "mine").write_text("closed")
    (here / "mine").chmod(0o600)
    (here / "to mine").symlink_to("mine")
    found = {each.name: each for each in await door.entries(place) or ()}
    sizes = {name: (each.size, each.is_directory) for name, each in found.items() if not each.broken}
    assert sizes == {
        "file": (4, False),
        "to é?#;&": (4, False),
        "mine": (6, False),
        "é d": (0, True),
        "to d": (0, True),
    }
    assert {name for name, each in found.items() if "nowhere" in each.broken} == {"no", "round", "pipe"}
    assert found["to mine"].broken == "a link to what the site's user may not see"
    with pytest.raises(Rejected, match="is a directory"):
        await door.remove(f"{place}/to d")
    (here / "é d" / "kept").write_text("kept")
    await door.remove(f"{place}/to é?#;&")
    assert (here / "file").read_text() == "four", "a link goes, and not what it leads to"
    assert (here / "é d" / "kept").read_text() == "kept"
    (here / os.fsdecode(b"no\xffutf")).write_text("x")
    with pytest.raises(Rejected, match=r"no UTF-8; rename it"):
        await door.entries(place)


async def close(arc: ArcWorld) -> None:
    """A-REX removes every door job."""
    door = arc.open()
    for job_id in await door._doors():
        await arc.clean(job_id)
    await door.close()


@row("adopt")
async def test_an_answer_cut_off_leaves_the_job_to_be_found(arc: ArcWorld) -> None:
    """The connection is lost between the request and its answer; the job is there once, whole, and runs."""
    batch = arc.batch()

    class Cut(httpx.AsyncBaseTransport):
        inner = httpx.AsyncHTTPTransport(verify=False)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await self.inner.handle_async_request(request)
            if request.url.params.get("action") == "new":
                await answer.aread()
                await answer.aclose()
                raise httpx.ReadError("cut")
            return answer

        async def aclose(self) -> None:
            await self.inner.aclose()

    cut = Arc(arc.server.url, lambda: arc.credential, environment="PASSERELLE", transport=Cut())
    arc.opened.append(cut)
    with pytest.raises(Unavailable) as caught:
        await cut.submit(batch)
    assert caught.value.sent
    door = arc.door()
    (found,) = [job for job in await door.find() if job.name == batch.options.name]
    ended = await reach(arc, door, found.job_id, Stage.ENDED)
    assert ended.state.base == "COMPLETED"

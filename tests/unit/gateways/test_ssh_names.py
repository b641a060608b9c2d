"""What a look-up by name costs at a login node, and that what it does not find is as certainly not there as ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from passerelle.errors import Rejected, Unavailable
from passerelle.gateways.base import DAY_SECONDS
from passerelle.gateways.ssh import commands, names, pauses
from passerelle.gateways.ssh.driver import Ssh
from passerelle.slurm import RemoteJob
from unit.gateways import login_node
from unit.gateways.login_node import Call, LoginNode
from unit.gateways.scripted_server import BATCH, OPTIONS

MARKERS = [f"psr-{'a' * 26}-{number}" for number in range(1, 3)]


class Queue:
    """A scheduler whose jobs were never eligible: sacct knows none by its name."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}  # id -> name
        self.purged: list[str] = []  # what is gone when it is read
        self.asked: list[list[str]] = []
        self.printed = 0

    async def __call__(self, call: Call) -> None:
        """Fields and widths as the command asks for them."""
        told = {word.partition("=")[0]: word.partition("=")[2] for word in call.words}
        fields = [each.split(":") for each in told["--Format"].split(",")]
        self.asked.append([name for name, _ in fields])
        ids = told["--jobs"].split(",") if "--jobs" in told else list(self.jobs)
        text = ""
        for job_id in ids:
            if job_id in self.jobs and ("--jobs" not in told or job_id not in self.purged):
                row = {"JobID": job_id, "Name": self.jobs[job_id], "UserName": "ada", "State": "PENDING"}
                row |= {"Reason": "JobHeldUser", "SubmitTime": "1000"}
                for name, size in fields:
                    width = int(size.partition("m")[0])
                    text += row.get(name, "")[:width].ljust(width) + call.mark
                text += "\n"
        self.printed += len(text)
        await call.answer(text)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
async def node(queue: Queue) -> AsyncIterator[LoginNode]:
    async def nothing(call: Call) -> None:
        await call.answer()

    async def accept(call: Call) -> None:
        await call.answer("7\n")

    async with login_node.running({"squeue": queue, "sacct": nothing, "sbatch": accept}) as running:
        yield running


async def look_up(door: Ssh, *markers: str) -> list[RemoteJob]:
    return list(await door.accounted(names=markers, within=DAY_SECONDS))


async def test_a_name_that_is_not_found_costs_no_full_listing(queue: Queue, door: Ssh) -> None:
    queue.jobs = {str(number): f"psr-{'b' * 26}-{number}" for number in range(1, 1001)}

    assert await look_up(door, *MARKERS) == []
    assert queue.asked == [["JobID", "Name"]]
    assert queue.printed <= 120 * len(queue.jobs)


async def test_what_is_found_is_read_in_full_and_nothing_else(queue: Queue, door: Ssh) -> None:
    queue.jobs = {str(number): f"psr-{'b' * 26}-{number}" for number in range(1, 100)} | {"500": MARKERS[0]}

    (job,) = await look_up(door, *MARKERS)

    assert (job.job_id, job.name, job.user, job.cluster) == ("500", MARKERS[0], "ada", "site")
    assert (job.submit_time, job.state_reason) == (1000, "JobHeldUser")
    assert queue.asked == [["JobID", "Name"], list(commands.LIVE)]


async def test_a_thousand_names_share_a_listing(queue: Queue, door: Ssh) -> None:
    for piece in range(20):
        await look_up(door, *(f"psr-{'c' * 26}-{50 * piece + number}" for number in range(1, 51)))
    await asyncio.gather(*(look_up(door, MARKERS[0]) for _ in range(5)))

    assert queue.asked == [["JobID", "Name"]]


async def test_a_listing_is_shared_for_seconds_alone(queue: Queue, door: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    await look_up(door, MARKERS[0])
    queue.jobs["500"] = MARKERS[0]
    monkeypatch.setattr(names, "SHARED_SECONDS", 0.0)

    assert [job.job_id for job in await look_up(door, MARKERS[0])] == ["500"]


async def test_what_was_submitted_since_the_listing_is_found(queue: Queue, door: Ssh) -> None:
    await look_up(door, MARKERS[0])
    await door.submit(BATCH)
    queue.jobs["7"] = OPTIONS.name

    assert [job.job_id for job in await look_up(door, OPTIONS.name)] == ["7"]


async def test_what_is_submitted_while_it_is_listed_is_found(node: LoginNode, queue: Queue, door: Ssh) -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        node.commands["squeue"] = queue
        begun.set()
        await over.wait()
        await call.answer()

    node.commands["squeue"] = slow
    asked = asyncio.create_task(look_up(door, MARKERS[1]))
    await begun.wait()
    await door.submit(BATCH)
    queue.jobs["7"] = OPTIONS.name
    over.set()
    await asked

    assert [job.job_id for job in await look_up(door, OPTIONS.name)] == ["7"]


async def test_no_listing_is_shared_while_a_submit_is_in_doubt(
    node: LoginNode, queue: Queue, door: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut(call: Call) -> None:
        call.greet()
        await call.process.stdin.read()
        call.cut()

    monkeypatch.setattr(pauses, "FAILED_FIRST", 0.0)  # it may come back at once
    node.commands["sbatch"] = cut
    await look_up(door, OPTIONS.name)
    with pytest.raises(Unavailable):
        await door.submit(BATCH)
    for job_id in ("500", "501"):  # what of it comes to light does so at any time
        queue.jobs[job_id] = OPTIONS.name
        found = await look_up(door, OPTIONS.name)
        assert [job.job_id for job in found] == list(queue.jobs)


async def test_a_submit_that_was_given_up_is_in_doubt(node: LoginNode, queue: Queue, door: Ssh) -> None:
    begun = asyncio.Event()

    async def slow(call: Call) -> None:
        begun.set()
        await asyncio.sleep(3600)

    node.commands["sbatch"] = slow
    await look_up(door, OPTIONS.name)
    submit = asyncio.create_task(door.submit(BATCH))
    await begun.wait()
    submit.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await submit
    queue.jobs["500"] = OPTIONS.name

    assert [job.job_id for job in await look_up(door, OPTIONS.name)] == ["500"]


async def test_a_refused_submit_leaves_the_listing_as_it_is(node: LoginNode, queue: Queue, door: Ssh) -> None:
    async def refuse(call: Call) -> None:
        await call.answer(stderr="sbatch: error: Batch job submission failed: Invalid qos specification\n", status=1)

    node.commands["sbatch"] = refuse
    await look_up(door, OPTIONS.name)
    with pytest.raises(Rejected):
        await door.submit(BATCH)
    await look_up(door, OPTIONS.name)

    assert len(queue.asked) == 1


@pytest.mark.parametrize("renamed", [False, True])
async def test_a_job_that_is_gone_when_it_is_read_is_no_absence(queue: Queue, door: Ssh, renamed: bool) -> None:
    queue.jobs = {"500": MARKERS[0]}
    await look_up(door, MARKERS[1])
    if renamed:
        queue.jobs["500"] = "another"
    else:
        queue.purged = ["500"]
    with pytest.raises(Unavailable, match="asked again"):
        await look_up(door, MARKERS[0])
    queue.jobs, queue.purged = {}, []

    assert await look_up(door, MARKERS[0]) == [], "and then it is listed anew"


async def test_another_cluster_has_a_listing_of_its_own(node: LoginNode, queue: Queue, door: Ssh) -> None:
    async def elsewhere(call: Call) -> None:
        await call.answer(login_node.WHO.replace("= site", "= other"))

    await look_up(door, MARKERS[0])
    queue.jobs["500"] = MARKERS[0]
    node.commands["scontrol"] = elsewhere
    await door.probe()

    assert [job.cluster for job in await look_up(door, MARKERS[0])] == ["other"]

"""The driver against the fake server, over a login node whose answers are written by hand."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from firecrest.canned import UID, USER, LoginNode, Row
from firecrest.fake import Fake
from firecrest.issuer import CLIENT, SECRET
from firecrest.login_node import Done
from passerelle.errors import Invalid, Rejected, Unauthorized, Unavailable
from passerelle.gateways import second_try
from passerelle.gateways.base import Accounting, Files, Gateway, Handover, Transfer, Upload
from passerelle.gateways.firecrest.credential import FirecrestCredential, credential_from_secret
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.gateways.firecrest.jobs import READS_AT_ONCE
from passerelle.slurm import Stage
from unit.gateways.scripted_server import BATCH

OURS, OTHER = f"psr-{'a' * 26}-1", f"psr-{'b' * 26}-1"
POISON = "evil|name"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_try, "JITTER", (0.0, 0.0))


@pytest.fixture
def node(tmp_path: Path) -> LoginNode:
    return LoginNode(tmp_path)


@pytest.fixture
def fake(node: LoginNode) -> Iterator[Fake]:
    made = Fake("alps", node, USER)
    yield made
    made.end()
    assert made.violations == []


OPENED: list[Firecrest] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    while OPENED:
        await OPENED.pop().close()


def secret(fake: Fake, **more: str) -> FirecrestCredential:
    told = {"client-id": CLIENT, "client-secret": SECRET, "token-url": fake.token_url, **more}
    return credential_from_secret("ns/alps", {key: value.encode() for key, value in told.items()})


def client(fake: Fake, *, system: str = "alps", allow_rest: bool = False, **more: str) -> Firecrest:
    given = secret(fake, **more)
    made = Firecrest(fake.url, system, lambda: given, allow_rest=allow_rest)
    OPENED.append(made)
    return made


def test_it_is_a_gateway_with_accounting_and_files(fake: Fake) -> None:
    gateway = client(fake)

    assert isinstance(gateway, Gateway)
    assert isinstance(gateway, Accounting)
    assert isinstance(gateway, Files)
    assert isinstance(gateway, Upload)
    assert isinstance(gateway, Handover)
    assert not isinstance(gateway, Transfer), "large files go by way of an object store of the server's"


async def test_probe_names_the_system_and_the_user_that_runs_commands(fake: Fake) -> None:
    probe = await client(fake, system="Alps").probe()

    assert (probe.identity.cluster, probe.identity.user) == ("alps", USER)
    assert (probe.version, probe.api_version) == ("24.11.0", "v2")


async def test_who_we_are_is_asked_once_a_credential(fake: Fake) -> None:
    gateway = client(fake)
    for _ in range(3):
        await gateway.probe()

    assert fake.asked.count("userinfo") == 1


async def test_rest_mode_is_refused_by_name(fake: Fake) -> None:
    fake.behaviour.mode = "rest"
    for call in (client(fake).probe(), client(fake).submit(BATCH)):
        with pytest.raises(Invalid, match="allowRestMode") as caught:
            await call
        assert caught.value.reason == "RestModeRefused"

    assert "submit" not in fake.asked
    assert await client(fake, allow_rest=True).submit(BATCH) == "77"


async def test_hybrid_mode_lays_the_script_down(fake: Fake, node: LoginNode) -> None:
    fake.behaviour.mode = "hybrid"
    batch = dataclasses.replace(BATCH, options=dataclasses.replace(BATCH.options, working_directory="/site/"))

    assert await client(fake).submit(batch) == "77"
    laid = (node.root / f"{OURS}.sbatch").read_text()
    assert "#SBATCH --nodes=1" in laid
    assert node.scripts == [""]


async def test_hybrid_mode_without_its_directory_is_refused(fake: Fake) -> None:
    fake.behaviour.mode = "hybrid"
    batch = dataclasses.replace(BATCH, options=dataclasses.replace(BATCH.options, working_directory="/site/nowhere"))
    with pytest.raises(Rejected) as caught:
        await client(fake).submit(batch)

    assert caught.value.reason == "WorkingDirectoryMissing"
    assert "submit" not in fake.asked


async def test_missing_system_names_those_that_are_there(fake: Fake) -> None:
    with pytest.raises(Invalid, match=r"write one of alps into gateway\.system"):
        await client(fake, system="daint").probe()


async def test_unwell_scheduler_is_told_and_no_submit_is_in_doubt(fake: Fake) -> None:
    gateway = client(fake)
    await gateway.probe()
    fake.behaviour.unwell = "scontrol ping says DOWN"
    with pytest.raises(Unavailable, match="scontrol ping says DOWN"):
        await gateway.probe()
    with pytest.raises(Unavailable) as caught:
        await gateway.submit(BATCH)

    assert not caught.value.sent


async def test_dead_controller_is_no_answer(fake: Fake, node: LoginNode) -> None:
    gateway = client(fake)
    await gateway.probe()
    node.down |= {"scontrol", "squeue", "sbatch", "scancel"}
    for call in (
        gateway.probe(),
        gateway.states(["1"]),
        gateway.find(),
        gateway.get(["1"]),
        gateway.cancel("1"),
        gateway.submit(BATCH),
    ):
        with pytest.raises(Unavailable):
            await call


@pytest.mark.parametrize("channel_error", [True, False])
async def test_submit_that_ran_out_of_time_is_in_doubt(fake: Fake, node: LoginNode, channel_error: bool) -> None:
    fake.behaviour.channel_error = channel_error
    node.hung.add("sbatch")
    with pytest.raises(Unavailable) as caught:
        await client(fake).submit(BATCH)

    assert caught.value.sent
    assert fake.asked.count("submit") == 1


async def test_refusal_in_sbatch_words(fake: Fake, node: LoginNode) -> None:
    said = "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    node.sbatch = Done(1, "", said)
    with pytest.raises(Rejected, match="Invalid partition name specified") as caught:
        await client(fake).submit(BATCH)

    assert (caught.value.reason, caught.value.transient) == ("InvalidPartition", False)


async def test_limit_of_the_moment(fake: Fake, node: LoginNode) -> None:
    node.sbatch = Done(
        1,
        "",
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)\n",
    )
    with pytest.raises(Rejected, match="QOSMaxSubmitJobPerUserLimit") as caught:
        await client(fake).submit(BATCH)

    assert (caught.value.reason, caught.value.transient) == ("PolicyLimit", True)


async def test_busy_proxy_is_certain_that_nothing_ran(fake: Fake) -> None:
    gateway = client(fake)
    await gateway.probe()
    fake.behaviour.busy = 1
    with pytest.raises(Unavailable) as caught:
        await gateway.submit(BATCH)

    assert (caught.value.sent, caught.value.retry_after) == (False, 1.0)
    fake.behaviour.busy = 1
    assert await gateway.states(["1"]) == {}, "a read waits a moment and asks again"


async def test_missing_job_is_asked_for_by_its_id(fake: Fake, node: LoginNode) -> None:
    node.rows = [Row("1", OURS), Row("2", OTHER), Row("3", OURS, user="bob")]
    gateway = client(fake)
    await gateway.states(["1", "2"])
    fake.asked.clear()

    states = await gateway.states(["1", "2", "3", "4", "0badid"])

    assert set(states) == {"1", "2"}
    assert sorted(fake.asked) == ["job", "job", "list"], "3 is another's, 4 is nobody's, and 0badid is no number"


async def test_a_look_is_one_list(fake: Fake, node: LoginNode) -> None:
    node.rows = [Row("1", OURS), Row("2", OTHER)]
    gateway = client(fake)
    await gateway.states(["1", "2"])
    jobs = await gateway.get(["1", "2"])

    assert [job.job_id for job in jobs] == ["1", "2"]
    assert fake.asked.count("list") == 1
    assert "job" not in fake.asked


async def test_a_submit_or_a_cancel_ends_what_a_list_says(fake: Fake, node: LoginNode) -> None:
    node.rows = [Row("1", OURS), Row("2", OTHER)]
    gateway = client(fake)
    await gateway.states(["1", "2"])
    await gateway.cancel("1")
    (job,) = await gateway.get(["1"])

    assert (job.state.base, job.cancelled_by, job.stage) == ("CANCELLED", USER, Stage.ENDED)


async def test_busy_proxy_is_not_asked_for_single_jobs(fake: Fake) -> None:
    gateway = client(fake)
    await gateway.probe()
    fake.asked.clear()
    fake.behaviour.busy = 2
    with pytest.raises(Unavailable) as caught:
        await gateway.states(["1", "2"])

    assert caught.value.reason == "Busy"
    assert fake.asked == []


async def test_cancel_of_what_has_ended_or_never_was(fake: Fake, node: LoginNode) -> None:
    node.rows = [Row("1", OURS)]
    gateway = client(fake)
    for job_id in ("1", "1", "9", "not-slurms"):
        await gateway.cancel(job_id)

    assert node.rows[0].state == f"CANCELLED by {UID}"


async def test_find_knows_markers_only(fake: Fake, node: LoginNode) -> None:
    node.rows = [Row("1", OURS), Row("2", "interactive"), Row("172_0", OTHER)]

    assert [job.job_id for job in await client(fake).find()] == ["1"]


async def test_windows_are_the_shortest_and_the_longest(fake: Fake, node: LoginNode) -> None:
    gateway = client(fake)
    await gateway.find()
    await gateway.accounted(names=[OURS])
    windows = [word for command in node.commands for word in command.split() if word.startswith("--starttime")]

    assert windows == ["--starttime=now-1hour", "--starttime=now-7days"]


async def test_accounting_tells_names_and_ids(fake: Fake, node: LoginNode) -> None:
    node.rows = [Row("1", OURS, "FAILED", "3:0", end="2000"), Row("2", OTHER)]
    gateway = client(fake)
    (by_name,) = await gateway.accounted(names=[OURS, f"psr-{'c' * 26}-1"])
    (by_id,) = await gateway.accounted(job_ids=["1", "9"])

    assert by_name == by_id
    assert (by_name.exit_code, by_name.end_time, by_name.live) == (3, 2000, False)


async def test_poisoned_list_hides_nobody(fake: Fake, node: LoginNode, caplog: pytest.LogCaptureFixture) -> None:
    node.rows = [Row("1", OURS), Row("2", OTHER), Row("66", POISON)]
    gateway = client(fake)
    with caplog.at_level(logging.WARNING):
        states = await gateway.states(["1", "2", "3"])

    assert set(states) == {"1", "2"}
    assert {job.job_id for job in await gateway.get(["1", "2", "3"])} == {"1", "2"}
    assert "3 jobs are read one by one" in caplog.text
    (job,) = await gateway.accounted(names=[OURS])
    assert job.job_id == "1"
    assert [job.job_id for job in await gateway.find()] == ["1"], "the names that were asked for"
    await gateway.probe()
    with pytest.raises(Unavailable, match=r"has a \| in its name"):
        await gateway.find()
    fake.behaviour.poison = False
    assert [job.job_id for job in await gateway.find()] == ["1", "2"]


async def test_poisoned_list_that_nothing_helps_is_told(fake: Fake, node: LoginNode) -> None:
    node.rows = [Row("1", OURS), Row("66", POISON)]
    gateway = client(fake)
    with pytest.raises(Unavailable, match=r"has a \| in its name") as caught:
        await gateway.find()
    assert caught.value.reason == "ListBroken"
    fake.behaviour.filters = False
    with pytest.raises(Unavailable, match=r"has a \| in its name"):
        await gateway.accounted(names=[OURS])


async def test_dead_accounting_is_not_called_a_broken_list(fake: Fake, node: LoginNode) -> None:
    node.down.add("sacct")
    with pytest.raises(Unavailable) as caught:
        await client(fake).accounted(names=[OURS])

    assert caught.value.reason == "SchedulerUnavailable"


async def test_of_many_jobs_no_more_are_read_once_one_is_refused(fake: Fake, node: LoginNode) -> None:
    node.down.add("sacct")
    with pytest.raises(Unavailable):
        await client(fake).accounted(job_ids=[str(number) for number in range(1, 101)])

    assert 1 <= fake.asked.count("job") <= 2 * READS_AT_ONCE


async def test_another_user_than_the_secret_says_is_refused_before_anything(fake: Fake) -> None:
    gateway = client(fake, username="bob")
    for call in (gateway.probe(), gateway.submit(BATCH), gateway.states(["1"]), gateway.size("/site/x")):
        with pytest.raises(Unauthorized, match="write ada under username") as caught:
            await call
        assert caught.value.reason == "UserMismatch"

    assert set(fake.asked) == {"systems", "userinfo"}


async def test_ids_may_be_numbers() -> None:
    def server(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/systems"):
            return httpx.Response(200, json={"systems": [{"name": "alps", "scheduler": {"type": "slurm"}}]})
        if request.url.path.endswith("/userinfo"):
            return httpx.Response(200, json={"user": {"id": "1", "name": USER}})
        return httpx.Response(201, json={"jobId": 77})

    given = FirecrestCredential(user=USER, token="t")
    gateway = Firecrest("http://127.0.0.1:1", "alps", lambda: given, transport=httpx.MockTransport(server))

    assert await gateway.submit(BATCH) == "77"


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(201, json={"jobId": None}),
        httpx.Response(201, text="<html>"),
        httpx.Response(200, json={"jobId": "77"}),
        httpx.Response(302, headers={"location": "https://elsewhere.example"}),
        httpx.Response(500, json={"errorType": "error", "message": "('Channel not open for sending',)"}),
        httpx.Response(504, text="gateway time-out"),
        httpx.Response(503, text="no upstream"),
        httpx.ReadTimeout("slow"),
    ],
    ids=lambda reply: type(reply).__name__ if isinstance(reply, Exception) else str(reply.status_code),
)
async def test_submit_is_sent_once_whatever_comes(reply: httpx.Response | Exception) -> None:
    sent: list[Any] = []

    def server(request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path.endswith("/systems"):
            return httpx.Response(200, json={"systems": [{"name": "alps", "scheduler": {"type": "slurm"}}]})
        if request.method == "GET":
            return httpx.Response(200, json={"user": {"id": "1", "name": USER}})
        sent.append(json.loads(request.content))
        if isinstance(reply, Exception):
            raise reply
        return reply

    given = FirecrestCredential(user=USER, token="t")
    gateway = Firecrest("http://127.0.0.1:1", "alps", lambda: given, transport=httpx.MockTransport(server))
    with pytest.raises(Unavailable) as caught:
        await gateway.submit(BATCH)

    assert caught.value.sent
    assert len(sent) == 1
    assert "env" not in sent[0]["job"]


async def test_reads_go_on_side_by_side(fake: Fake, node: LoginNode) -> None:
    node.rows = [Row(str(each), OURS) for each in range(1, 9)]
    gateway = client(fake)
    found = await asyncio.gather(*(gateway.get([str(each)]) for each in range(1, 9)))

    assert [job.job_id for (job,) in found] == [str(each) for each in range(1, 9)]


async def test_read_goes_on_when_the_issuers_key_has_changed(fake: Fake) -> None:
    gateway = client(fake)
    await gateway.probe()
    fake.issuer.key = b"another"

    assert (await gateway.probe()).identity.user == USER


async def test_submit_with_a_refused_token_is_not_repeated(fake: Fake, node: LoginNode) -> None:
    gateway = client(fake)
    await gateway.probe()
    fake.issuer.key = b"another"
    with pytest.raises(Unauthorized) as caught:
        await gateway.submit(BATCH)

    assert caught.value.reason == "TokenRefused"
    assert node.scripts == []
    assert await gateway.submit(BATCH) == "77"


async def test_token_that_lives_too_short_is_told(fake: Fake) -> None:
    fake.issuer.seconds = 20
    with pytest.raises(Unauthorized, match="expires too soon"):
        await client(fake).probe()

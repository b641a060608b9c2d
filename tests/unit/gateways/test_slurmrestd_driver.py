"""The carrier against a scripted server: what is asked, how often, and what becomes of odd answers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import httpx
import pytest

from passerelle.errors import Misaddressed, Unauthorized, Unavailable
from passerelle.gateways import second_try
from passerelle.gateways.base import Accounting, Files, Gateway
from passerelle.gateways.slurmrestd.credential import TokenCredential
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from unit.gateways.scripted_server import BATCH, META, OPTIONS, Reply, Server, ada, client


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_try, "JITTER", (0.0, 0.0))


def test_it_is_a_gateway_with_accounting() -> None:
    gateway = client(Server())

    assert isinstance(gateway, Gateway)
    assert isinstance(gateway, Accounting)
    assert not isinstance(gateway, Files)


@pytest.mark.parametrize("served, spoken", [((40, 41, 42), "v0.0.42"), ((38,), "v0.0.38"), ((43, 44, 45), "v0.0.45")])
async def test_newest_version_that_both_know(served: tuple[int, ...], spoken: str) -> None:
    server = Server(*served)
    server.replies["GET db/clusters"] = {"clusters": [{"name": "site"}]}
    server.replies["GET licenses"] = {"meta": META if served[0] > 39 else {"Slurm": {"release": "22.05.8"}}}

    probe = await client(server).probe()

    assert (probe.api_version, probe.identity.cluster, probe.identity.user) == (spoken, "site", "ada")


async def test_newer_server_is_named_and_spoken_to(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        probe = await client(Server(44, 45, 46)).probe()

    assert probe.api_version == "v0.0.45"
    assert "newer" in caplog.text


async def test_no_known_version_is_one_clear_sentence() -> None:
    with pytest.raises(
        Misaddressed, match=r"v0\.0\.38 and v0\.0\.45; write slurmrestd's base address.*without /slurm/"
    ) as caught:
        await client(Server(36)).probe()

    assert caught.value.reason == "NoKnownVersion"


async def test_version_is_looked_for_again_after_an_upgrade() -> None:
    server = Server(40, 41)
    gateway = client(server)
    assert (await gateway.probe()).api_version == "v0.0.41"
    server.versions = (43, 44)
    with pytest.raises(Unavailable):
        await gateway.probe()

    assert (await gateway.probe()).api_version == "v0.0.44"


@pytest.mark.parametrize("version,everybody", [(38, True), (39, True), (40, False), (45, False)])
async def test_a_release_whose_looks_list_everybody_says_so(version: int, everybody: bool) -> None:
    server = Server(version)
    server.replies["GET licenses"] = {"meta": {"Slurm": {"release": "22.05.8", "cluster": "site"}}}
    server.replies["GET db/clusters"] = {"clusters": [{"name": "site"}]}
    probe = await client(server).probe()

    assert probe.everybody is everybody
    assert any("jobs of all users" in each for each in probe.lacks) is everybody


async def test_legacy_cluster_name_comes_from_a_job_where_accounting_is_away() -> None:
    server = Server(38)
    server.replies["GET licenses"] = {"meta": {"Slurm": {"release": "22.05.8"}}}
    server.replies["GET db/clusters"] = httpx.Response(500, json={"errors": [{"error_number": 7000}]})
    server.replies["GET jobs"] = {"jobs": [{"job_id": 1, "cluster": "site"}]}

    assert (await client(server).probe()).identity.cluster == "site"


async def test_legacy_bad_token_is_told_from_a_dead_scheduler_by_accounting() -> None:
    server = Server(38)
    server.replies["GET licenses"] = httpx.Response(500, json={"errors": [{"error_number": -1}]})
    server.replies["GET db/clusters"] = httpx.Response(500, json={"errors": [{"error_number": 1007}]})
    with pytest.raises(Unauthorized):
        await client(server).probe()
    server.replies["GET db/clusters"] = {"clusters": [{"name": "site"}]}
    with pytest.raises(Unavailable):
        await client(server).probe()


@pytest.mark.parametrize(
    "reply",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("gone"),
        httpx.Response(502, json={"errors": [{"error_number": 1800}]}),
        httpx.Response(503, headers={"retry-after": "0"}),
        httpx.Response(307, headers={"location": "https://elsewhere.example"}),
        httpx.Response(200, json={"job_id": 0}),
        httpx.Response(200, text="<html>"),
    ],
    ids=lambda reply: type(reply).__name__ if isinstance(reply, Exception) else str(reply.status_code),
)
async def test_submit_is_sent_once_whatever_comes(reply: Reply) -> None:
    server = Server()
    server.replies["POST job/submit"] = reply
    with pytest.raises(Unavailable) as caught:
        await client(server).submit(BATCH)

    assert caught.value.sent
    assert server.asked == ["POST job/submit"]


async def test_submit_before_the_first_byte_is_known_to_be_unsent() -> None:
    server = Server()
    server.replies["POST job/submit"] = httpx.ConnectError("refused")
    gateway = client(server)
    with pytest.raises(Unavailable) as caught:
        await gateway.submit(BATCH)
    assert not caught.value.sent


async def test_search_for_a_version_submits_nothing() -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    with pytest.raises(Unavailable) as caught:
        await Slurmrestd("http://127.0.0.1:1", ada, transport=httpx.MockTransport(broken)).submit(BATCH)

    assert not caught.value.sent


async def test_ignored_field_is_told_loudly_and_the_id_returned(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.replies["POST job/submit"] = {
        "job_id": 7,
        "warnings": [{"source": "#/job/nonsense/"}, {"source": "slurm_submit_batch_job()"}],
    }
    gateway = client(server)

    assert await gateway.submit(BATCH) == "7"
    assert gateway.not_understood == ["#/job/nonsense/"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_held_job_of_22_05_is_accepted_with_an_error_beside_it() -> None:
    server = Server(38)
    server.replies["POST job/submit"] = {"job_id": 7, "errors": [{"error_number": 2042}]}

    assert await client(server).submit(BATCH) == "7"


async def test_expired_token_spends_no_request() -> None:
    server = Server()
    gateway = client(server, lambda: TokenCredential(user="ada", token="t", expires=time.time() - 1))
    for call in (gateway.probe(), gateway.submit(BATCH), gateway.find()):
        with pytest.raises(Unauthorized):
            await call

    assert server.asked == []


async def test_credential_is_read_for_every_call() -> None:
    seen: list[str] = []
    tokens = iter(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    server = Server(45)

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["X-SLURM-USER-TOKEN"])
        assert request.headers["X-SLURM-USER-NAME"] == "ada"
        return server(request)

    gateway = Slurmrestd(
        "http://127.0.0.1:1",
        lambda: TokenCredential(user="ada", token=next(tokens)),
        transport=httpx.MockTransport(handler),
    )
    await gateway.probe()

    assert len(set(seen)) == len(seen) > 1


async def test_reads_share_the_pool() -> None:
    server = Server()
    server.replies |= {f"GET job/{each}": {"jobs": [{"job_id": each}]} for each in range(1, 20)}
    gateway = client(server)

    found = await asyncio.gather(*(gateway.get([str(each)]) for each in range(1, 20)))

    assert [job.job_id for (job,) in found] == [str(each) for each in range(1, 20)]


async def test_body_is_json_with_every_field() -> None:
    bodies: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            bodies.append(json.loads(request.content))
            return httpx.Response(200, json={"job_id": 7})
        return Server(45)(request)

    await Slurmrestd("http://127.0.0.1:1", ada, transport=httpx.MockTransport(handler)).submit(BATCH)

    assert bodies[0]["script"] == BATCH.script
    assert bodies[0]["job"]["name"] == OPTIONS.name

"""Reads and cancels: in which pieces they are asked, how often, and what their answers mean."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from passerelle.errors import Misaddressed, Unauthorized, Unavailable
from passerelle.gateways import second_try
from passerelle.gateways.base import DAY_SECONDS
from passerelle.gateways.slurmrestd import driver
from unit.gateways.scripted_server import OPTIONS, Server, client


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_try, "JITTER", (0.0, 0.0))


async def test_read_is_tried_twice_where_nothing_answered() -> None:
    server = Server()
    server.replies["GET jobs"] = [httpx.ReadError("reset"), {"jobs": []}]

    assert await client(server).find() == []
    assert server.asked == ["GET jobs", "GET jobs"]


@pytest.mark.parametrize(
    "reply, times",
    [
        (httpx.Response(504, json={"errors": [{"error_number": 5004}]}), 1),
        (httpx.Response(503, headers={"retry-after": "600"}), 1),
        (httpx.Response(503), 1),
        (httpx.Response(429), 1),
        (httpx.Response(503, headers={"retry-after": "0"}), 2),
        (httpx.Response(511, json={"errors": [{"error_number": 1007}]}), 1),
    ],
    ids=["hung", "come back later", "busy", "too many", "come back at once", "token"],
)
async def test_how_often_a_failed_read_is_tried(reply: httpx.Response, times: int) -> None:
    server = Server()
    server.replies["GET jobs"] = reply
    with pytest.raises(Unauthorized if reply.status_code == 511 else Unavailable):
        await client(server).find()

    assert server.asked == ["GET jobs"] * times


async def test_states_are_asked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "STATES_PER_CALL", 2)
    server = Server()
    rows = [[1, 2], [3]]
    server.replies["GET jobs/state"] = [
        {"jobs": [{"job_id": str(each), "state": ["RUNNING"]} for each in piece]} for piece in rows
    ]

    assert set(await client(server).states(["3", "1", "2"])) == {"1", "2", "3"}
    assert [url.query for url in server.urls] == [b"job_id=1&job_id=2", b"job_id=3"]


async def test_pieces_shrink_where_a_proxy_takes_less() -> None:
    server = Server()
    server.replies["GET jobs/state"] = [
        httpx.Response(414),
        {"jobs": [{"job_id": 1, "state": ["RUNNING"]}]},
        {"jobs": []},
    ]

    assert set(await client(server).states(["1", "2"])) == {"1"}
    assert [url.query for url in server.urls] == [b"job_id=1&job_id=2", b"job_id=1", b"job_id=2"]


async def test_states_without_a_light_listing_come_from_the_full_one() -> None:
    server = Server(39)
    server.replies["GET jobs"] = {"jobs": [{"job_id": 1, "job_state": "RUNNING"}, {"job_id": 9, "job_state": "FAILED"}]}

    assert {job_id: state.base for job_id, state in (await client(server).states(["1", "2"])).items()} == {
        "1": "RUNNING"
    }


async def test_get_leaves_out_unknown_ids() -> None:
    server = Server()
    unknown = httpx.Response(404, json={"errors": [{"error_number": 2017}]})
    server.replies |= {"GET job/1": {"jobs": [{"job_id": 1}]}, "GET job/2": unknown}

    assert [job.job_id for job in await client(server).get(["1", "2"])] == ["1"]


async def test_many_full_records_are_never_a_full_listing() -> None:
    server = Server()
    server.replies |= {f"GET job/{each}": {"jobs": [{"job_id": each}]} for each in range(1, 100)}

    ids = [str(number) for number in range(1, 100)]

    assert [job.job_id for job in await client(server).get(set(ids))] == ids
    assert "GET jobs" not in server.asked


async def test_find_keeps_our_user_s_markers() -> None:
    server = Server()
    ours = {"job_id": 1, "name": OPTIONS.name, "user_name": "ada"}
    server.replies["GET jobs"] = {"jobs": [ours, ours | {"user_name": "bob"}, ours | {"name": "other"}]}

    assert [job.job_id for job in await client(server).find()] == ["1"]


async def test_a_listing_of_a_whole_site_does_not_become_objects() -> None:
    number = {"set": True, "infinite": False, "number": 1}
    record = {"name": "theirs", "user_name": "bob", "job_state": ["RUNNING"]} | {
        f"field{each}": number for each in range(60)
    }
    ours = {"job_id": 1, "name": OPTIONS.name, "user_name": "ada", "job_state": ["RUNNING"]}
    server = Server()
    theirs = json.dumps(record | {"job_id": 2}).encode()

    async def listing() -> AsyncIterator[bytes]:
        yield b'{"jobs": ['
        for _ in range(3_000):
            yield theirs + b","
        yield json.dumps(ours).encode() + b"]}"

    server.replies["GET jobs"] = httpx.Response(200, headers={"content-type": "application/json"}, content=listing())
    driver_under_test = client(server)
    await driver_under_test.probe()
    tracemalloc.start()
    found = await driver_under_test.find()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert [job.job_id for job in found] == ["1"]
    assert peak < 3_000 * len(theirs) / 10


async def test_a_listing_that_broke_off_and_is_read_again_tells_of_each_job_once() -> None:
    server = Server()
    ours = {"job_id": 1, "name": OPTIONS.name, "user_name": "ada"}

    async def broken() -> AsyncIterator[bytes]:
        yield json.dumps({"jobs": [ours] * 2_000}).encode()[:-10]
        raise httpx.ReadError("reset")

    headers = {"content-type": "application/json"}
    server.replies["GET jobs"] = [httpx.Response(200, headers=headers, content=broken()), {"jobs": [ours]}]

    assert [job.job_id for job in await client(server).find()] == ["1"]


@pytest.mark.parametrize(
    "content",
    [b'{"jobs": [{"job_id": 1}', b'{"jobs": [{"job_id": 1}], "errors": [{"error_number": 5005}]}', b"<html>"],
    ids=["cut off", "with an error", "no JSON"],
)
async def test_a_listing_that_is_not_whole_tells_nothing(content: bytes) -> None:
    server = Server()
    server.replies["GET jobs"] = httpx.Response(200, headers={"content-type": "application/json"}, content=content)
    with pytest.raises(Unavailable):
        await client(server).find()


async def test_accounting_search() -> None:
    server = Server()
    row = {"job_id": 1, "name": OPTIONS.name, "user": "ada", "cluster": "site"}
    foreign = [row | {"cluster": "other"}, row | {"user": "bob"}, row | {"job_id": 3, "name": "x"}]
    server.replies["GET db/jobs"] = [{"jobs": [row, *foreign]}, {"jobs": []}]
    names = [f"psr-{'a' * 26}-{attempt}" for attempt in range(1, 60)]

    found = await client(server).accounted(names=names)

    assert [job.job_id for job in found] == ["1"]
    searches = [url.params for url in server.urls if url.path.startswith("/slurmdb")]
    assert [len(search["job_name"].split(",")) for search in searches] == [50, 9]
    assert {search["users"] for search in searches} == {"ada"}
    assert {search["cluster"] for search in searches} == {"site"}
    assert {search["usage_time_as_submit_time"] for search in searches} == {"true"}


async def test_accounting_search_by_id() -> None:
    for versions, steps in (((42,), ["1", "2"]), ((38,), ["1,2"])):
        server = Server(*versions)
        server.replies["GET db/jobs"] = {"jobs": [], "errors": [{"error_number": 9003}]}
        server.replies["GET db/clusters"] = {"clusters": [{"name": "site"}]}

        assert await client(server).accounted(job_ids=["2", "1"]) == []
        assert server.urls[-1].params.get_list("step") == steps


def days_back(date: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(date).replace(tzinfo=UTC)).total_seconds() / DAY_SECONDS


@pytest.mark.parametrize(
    "version,start", [(45, "start_time"), (40, "start_time"), (39, "submit_time"), (38, "submit_time")]
)
async def test_an_accounting_search_goes_back_as_far_as_asked(version: int, start: str) -> None:
    server = Server(version)
    server.replies["GET db/jobs"] = {"jobs": []}
    server.replies["GET db/clusters"] = {"clusters": [{"name": "site"}]}
    await client(server).accounted(names=["psr-a-1"], within=3 * DAY_SECONDS)
    await client(server).accounted(job_ids=["1"], within=3 * DAY_SECONDS)

    searches = [url.params for url in server.urls if url.path.endswith("/jobs") and url.path.startswith("/slurmdb")]
    assert len(searches) == 2
    assert all(3 <= days_back(search[start]) <= 4 for search in searches)


async def test_a_search_that_is_too_wide_for_the_site_is_made_of_narrower_ones() -> None:
    server = Server()
    wide = httpx.Response(500, json={"errors": [{"error_number": 7007, "error": "Too wide of a date range in query"}]})
    row = {"job_id": 1, "name": "psr-a-1", "user": "ada", "cluster": "site"}
    server.replies["GET db/jobs"] = [
        wide,
        wide,
        {"jobs": [row]},
        {"jobs": [row]},
        {"jobs": []},
        {"jobs": []},
        {"jobs": []},
    ]
    gateway = client(server)
    found = await gateway.accounted(names=["psr-a-1"], within=8 * DAY_SECONDS)

    assert [job.job_id for job in found] == ["1"]
    searches = [url.params for url in server.urls if url.path.startswith("/slurmdb")]
    spans = [(days_back(each["start_time"]), days_back(each["end_time"])) for each in searches[2:]]
    assert all(start - end == pytest.approx(2) for start, end in spans)
    assert spans[0][1] < 0
    assert spans[-1][0] >= 8


async def test_where_a_day_is_too_wide_that_has_a_name() -> None:
    server = Server()
    server.replies["GET db/jobs"] = httpx.Response(500, json={"errors": [{"error_number": 7007}]})
    with pytest.raises(Unavailable, match="MaxQueryTimeRange") as caught:
        await client(server).accounted(names=["psr-a-1"])

    assert caught.value.reason == "QueryTooWide"


async def test_nothing_asked_is_nothing_sent() -> None:
    server = Server()
    gateway = client(server)

    assert await gateway.states([]) == {}
    assert list(await gateway.get([])) == []
    assert server.asked == []


async def test_an_id_of_another_driver_is_unknown_and_goes_into_no_address() -> None:
    server = Server()
    gateway = client(server)
    strange = ["0f9a2c1e-ada0", "1/../2", "7_1", "", "²"]

    assert await gateway.states(strange) == {}
    assert list(await gateway.get(strange)) == []
    assert list(await gateway.accounted(job_ids=strange)) == []
    for job_id in strange:
        await gateway.cancel(job_id)
    assert [key for key in server.asked if key != "GET licenses"] == []


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, json={"status": []}),
        httpx.Response(200, json={"status": [{"error": {"code": 2021}}]}),
        httpx.Response(200, json={"status": [{"error": {"code": 2017}}]}),
        httpx.Response(500, json={"errors": [{"error_number": 2017}]}),
        httpx.Response(500, json={"errors": [{"error_number": 2021}]}),
        httpx.Response(200, json={"errors": []}),
    ],
)
async def test_cancel_that_is_done(reply: httpx.Response) -> None:
    server = Server()
    server.replies["DELETE job/7"] = reply

    await client(server).cancel("7")


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, json={"status": [{"error": {"code": 2020, "message": "not now"}}]}),
        httpx.Response(403, json={"errors": [{"error_number": 1, "error": "Operation not permitted"}]}),
    ],
    ids=["not now", "dead slurmctld of 26.05"],
)
async def test_cancel_that_is_not_done(reply: httpx.Response) -> None:
    server = Server()
    server.replies["DELETE job/7"] = reply
    with pytest.raises(Unavailable):
        await client(server).cancel("7")


@pytest.mark.parametrize(
    "path,ask",
    [
        ("GET jobs/state", lambda slurm: slurm.states(["7"])),
        ("GET job/7", lambda slurm: slurm.get(["7"])),
        ("GET jobs", lambda slurm: slurm.find()),
        ("GET db/jobs", lambda slurm: slurm.accounted(job_ids=["7"])),
    ],
    ids=["states", "get", "find", "accounted"],
)
async def test_what_another_cluster_does_not_know_is_no_word(path: str, ask: Callable[[Any], Awaitable[Any]]) -> None:
    server = Server()
    server.replies["GET licenses"] = {"meta": {"slurm": {"cluster": "site"}}}
    nothing = {"jobs": [], "errors": [{"error_number": 2017}]}
    server.replies[path] = [
        nothing | {"meta": {"slurm": {"cluster": "elsewhere"}}},
        nothing | {"meta": {"slurm": {"cluster": "site"}}},
    ]
    slurm = client(server)
    await slurm.probe()

    with pytest.raises(Misaddressed, match="Cluster elsewhere answers, where site did") as caught:
        await ask(slurm)

    assert caught.value.reason == "AnotherCluster"
    assert not await ask(slurm)


async def test_a_proof_of_the_credential_takes_whichever_cluster_answers() -> None:
    server = Server()
    server.replies["GET licenses"] = [{"meta": {"slurm": {"cluster": name}}} for name in ("site", "new")]
    slurm = client(server)

    assert [(await slurm.probe()).identity.cluster for _ in range(2)] == ["site", "new"]

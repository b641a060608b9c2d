"""The driver against a scripted server: what is asked, by whose right, how often, and what silence is worth."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import httpx
import pytest

from passerelle.errors import Invalid, Misaddressed, Rejected, Unauthorized, Unavailable
from passerelle.gateways import second_try
from passerelle.gateways.base import Accounting, Files, Gateway, Identity, Upload
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import LEAST_SECONDS, PAGE, Unicore
from unit.gateways.scripted_server import BATCH, OPTIONS
from unit.gateways.test_unicore_decode import DETAILS, JOB, LOST
from unit.gateways.unicore_server import BY_PASSWORD, BY_TOKEN, ELSEWHERE, NOW, SERVER, Server, client, jwt, listed

LATER = datetime.fromtimestamp(NOW + 2 * LEAST_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%S%z")
KEPT = JOB | {"terminationTime": LATER}
RUNNING = KEPT | {"status": "RUNNING", "exitCode": None}
CREATED = httpx.Response(201, headers={"location": f"{ELSEWHERE}/jobs/B4jDR837ABd"})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_try, "JITTER", (0.0, 0.0))


def test_it_is_a_gateway_with_files_and_without_accounting() -> None:
    gateway = client(Server())

    assert isinstance(gateway, Gateway)
    assert isinstance(gateway, Files)
    assert isinstance(gateway, Upload)
    assert not isinstance(gateway, Accounting)


async def test_probe_names_the_site_and_the_account_there() -> None:
    probe = await client(Server()).probe()

    assert probe.identity == Identity("JUPITER", "startup")
    assert (probe.version, probe.api_version) == ("11.0.0", "rest/core")


async def test_a_server_that_does_not_reach_the_site_is_told_apart() -> None:
    server = Server()
    server.server = SERVER | {"externalConnections": {"TSI 1": "FAILED: connection refused", "Registry": "n/a"}}

    with pytest.raises(Unavailable, match="does not reach the site: FAILED: connection refused"):
        await client(server).probe()


async def test_another_server_is_one_clear_sentence() -> None:
    server = httpx.MockTransport(lambda _: httpx.Response(200, html="<p>Welcome</p>"))
    gateway = client(Server())
    gateway._calls._carrier._client._transport = server

    with pytest.raises(Misaddressed, match=r"like https://unicore\.example\.eu/SITE/rest/core") as caught:
        await gateway.probe()

    assert caught.value.reason == "NoUnicore"


@pytest.mark.parametrize("url", ["https://unicore.example.eu", "https://unicore.example.eu/JUPITER/rest/core/jobs"])
def test_an_address_of_something_else_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(Invalid, match="ends in /rest/core"):
        Unicore(url, lambda: BY_TOKEN)


async def test_a_server_that_is_about_to_begin_is_no_wrong_address() -> None:
    """UNICORE/X 3.0.0 listens before it knows who asks."""
    server = Server()
    early = httpx.MockTransport(lambda _: httpx.Response(200, json={"_links": {}, "server": {"version": "11.0.0"}}))
    gateway = client(server)
    gateway._calls._carrier._client._transport = early

    with pytest.raises(Unavailable, match="about to begin") as caught:
        await gateway.probe()

    assert caught.value.reason == "UnexpectedAnswer"


# Who asks


@pytest.mark.parametrize("call", ["probe", "find", "states", "get", "cancel", "size", "submit"])
async def test_anonymous_is_never_taken_for_an_answer(call: str) -> None:
    """A token that nobody knows is answered with 200 and empty lists."""
    gateway = client(Server(), lambda: dataclasses.replace(BY_TOKEN, token="gone"))
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "probe": gateway.probe,
        "find": gateway.find,
        "states": lambda: gateway.states(["j1"]),
        "get": lambda: gateway.get(["j1"]),
        "cancel": lambda: gateway.cancel("j1"),
        "size": lambda: gateway.size("/p/x"),
        "submit": lambda: gateway.submit(BATCH),
    }

    with pytest.raises(Unauthorized):
        await asked[call]()


async def test_an_empty_list_is_proven() -> None:
    server = Server()
    server.replies["GET jobs"] = {"jobs": []}

    assert await client(server).find() == []
    assert server.asked[:2] == ["GET jobs", "GET "]


async def test_an_empty_list_is_proven_each_time() -> None:
    server = Server()
    server.replies["GET jobs"] = {"jobs": []}
    gateway = client(server)
    await gateway.find()
    server.tokens.clear()
    server.sessions.clear()

    with pytest.raises(Unauthorized):
        await gateway.find()


async def test_an_expired_token_costs_no_request() -> None:
    server = Server()

    with pytest.raises(Unauthorized, match="has expired"):
        await client(server, lambda: dataclasses.replace(BY_TOKEN, expires=NOW - 1)).probe()

    assert server.asked == []


async def test_reads_go_by_the_session_once_the_server_knows_us_and_submits_never_do() -> None:
    server = Server()
    server.replies |= {"GET jobs/j1": RUNNING, "POST jobs": CREATED}
    gateway = client(server)
    await gateway.probe()

    await gateway.states(["j1"])
    await gateway.submit(BATCH)

    read, submit = server.requests[-2:]
    assert "authorization" not in read.headers
    assert read.headers["x-unicore-securitysession"] == "s1"
    assert submit.headers["authorization"] == "Bearer good"
    assert "x-unicore-securitysession" not in submit.headers


async def test_a_session_that_is_over_is_followed_by_the_credential() -> None:
    server = Server()
    server.replies["GET jobs/j1"] = RUNNING
    gateway = client(server)
    await gateway.probe()
    server.sessions.clear()

    assert set(await gateway.states(["j1"])) == {"j1"}
    assert server.requests[-1].headers["authorization"] == "Bearer good"


async def test_a_session_of_another_credential_is_not_used() -> None:
    server, held = Server(), [BY_TOKEN]
    server.replies["GET jobs/j1"] = RUNNING
    gateway = client(server, lambda: held[0])
    await gateway.probe()
    held[0] = dataclasses.replace(BY_TOKEN, token="gone")

    with pytest.raises(Unauthorized):
        await gateway.states(["j1"])


async def test_anonymous_s_session_is_not_kept() -> None:
    server, held = Server(), [dataclasses.replace(BY_TOKEN, token="gone")]
    gateway = client(server, lambda: held[0])
    with pytest.raises(Unauthorized):
        await gateway.probe()
    with pytest.raises(Unauthorized):
        await gateway.states(["j1"])

    assert all("x-unicore-securitysession" not in each.headers for each in server.requests)


async def test_a_password_is_traded_for_a_token_that_is_renewed_at_two_thirds_of_its_life() -> None:
    server, now = Server(), [NOW]
    tokens = [jwt(iat=NOW, exp=NOW + 3_000), jwt(iat=NOW, exp=NOW + 6_000)]
    server.tokens |= set(tokens)
    server.replies["GET token"] = [httpx.Response(200, text=token) for token in tokens]
    gateway = client(server, lambda: BY_PASSWORD, lambda: now[0])

    for now[0] in (NOW, NOW + 1_999, NOW + 2_001):
        await gateway.probe()

    assert server.asked == ["GET token", "GET ", "GET ", "GET token", "GET "]
    sent = [each.headers["authorization"].split()[0] for each in server.requests]
    assert sent == ["Basic", "Bearer", "Bearer", "Basic", "Bearer"]
    assert server.requests[-1].headers["authorization"].endswith(tokens[1])


async def test_a_server_that_gives_no_tokens_gets_the_password() -> None:
    server = Server()
    gateway = client(server, lambda: BY_PASSWORD)

    await gateway.probe()
    await gateway.probe()

    assert server.asked == ["GET token", "GET ", "GET "]
    assert server.requests[-1].headers["authorization"].startswith("Basic ")


async def test_a_token_that_the_server_has_forgotten_is_fetched_anew() -> None:
    server = Server()
    old, new = jwt(iat=NOW, exp=NOW + 3_000, n=1), jwt(iat=NOW, exp=NOW + 3_000, n=2)
    server.tokens = {new}
    server.replies["GET token"] = [httpx.Response(200, text=old), httpx.Response(200, text=new)]

    assert (await client(server, lambda: BY_PASSWORD).probe()).identity.user == "startup"


async def test_a_wrong_password_is_the_administrator_s() -> None:
    server = Server()
    server.replies["GET token"] = httpx.Response(403)

    with pytest.raises(Unauthorized) as caught:
        await client(server, lambda: BY_PASSWORD).probe()

    assert "secret" not in caught.value.message


async def test_one_account_of_several_is_asked_for() -> None:
    server = Server()

    await client(server, lambda: UnicoreCredential(user="ada", token="good", uid="ada2")).probe()

    assert server.requests[0].headers["x-unicore-user-preferences"] == "uid:ada2"


# Submit and cancel


async def test_a_submit_s_id_is_the_last_word_of_its_address() -> None:
    server = Server()
    server.replies["POST jobs"] = CREATED

    assert await client(server).submit(BATCH) == "B4jDR837ABd"
    assert server.bodies("POST jobs")[0]["Tags"] == ["passerelle", OPTIONS.name]


@pytest.mark.parametrize(
    "reply",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(500, json={"errorMessage": "Could not submit job"}),
        httpx.Response(502, text="proxy"),
        httpx.Response(503, text="proxy"),
        httpx.Response(302, headers={"location": "https://elsewhere"}),
        httpx.Response(200, json={}),
        httpx.Response(201),
        httpx.Response(201, headers={"location": f"{ELSEWHERE}/jobs/..%2f"}),
        httpx.Response(404),
        httpx.Response(432),
    ],
    ids=lambda reply: type(reply).__name__ + str(getattr(reply, "status_code", "")),
)
async def test_a_submit_without_a_clear_answer_is_unknown_and_sent_once(reply: httpx.Response | Exception) -> None:
    server = Server()
    server.replies["POST jobs"] = reply

    with pytest.raises(Unavailable) as caught:
        await client(server).submit(BATCH)

    assert caught.value.sent
    assert server.asked == ["POST jobs"]


async def test_a_submit_whose_token_could_not_be_fetched_was_never_sent() -> None:
    server = Server()
    server.replies["GET token"] = httpx.ReadTimeout("slow")

    with pytest.raises(Unavailable) as caught:
        await client(server, lambda: BY_PASSWORD).submit(BATCH)

    assert not caught.value.sent
    assert server.asked == ["GET token"]


async def test_submission_that_is_switched_off_is_a_refusal_of_the_moment() -> None:
    server = Server()
    server.replies["POST jobs"] = httpx.Response(503, json={"errorMessage": "Maintenance till noon.", "status": 503})

    with pytest.raises(Rejected, match="Maintenance till noon") as caught:
        await client(server).submit(BATCH)

    assert caught.value.transient


async def test_a_login_that_is_shown_no_target_system_is_no_wrong_credential() -> None:
    """As UNICORE/X 3.0.0 answers a moment after its start, to a user whom it knows."""
    server = Server()
    said = "Could not submit job: AuthorisationException: There are no accessible targetsystem factories."
    server.replies["POST jobs"] = httpx.Response(401, json={"errorMessage": said})

    with pytest.raises(Rejected, match="no accessible targetsystem factories") as caught:
        await client(server).submit(BATCH)

    assert (caught.value.reason, caught.value.transient) == ("NoTargetSystem", True)


async def test_what_can_t_be_written_is_refused_before_anything_is_sent() -> None:
    server = Server()
    batch = dataclasses.replace(BATCH, options=dataclasses.replace(OPTIONS, constraint="a b"))

    with pytest.raises(Rejected, match="constraint"):
        await client(server).submit(batch)

    assert server.asked == []


async def test_a_cancel_is_no_error_where_the_job_has_ended_or_is_unknown() -> None:
    server = Server()
    server.replies["POST jobs/j1/actions/abort"] = httpx.Response(204)
    gateway = client(server)

    await gateway.cancel("j1")
    await gateway.cancel("j2")
    await gateway.cancel("../../token")

    assert server.asked == ["POST jobs/j1/actions/abort", "POST jobs/j2/actions/abort", "GET "]


# Reads


async def test_states_are_read_side_by_side_and_unknown_ids_are_absent() -> None:
    server, inside, most = Server(), 0, 0
    ids = [f"j{number}" for number in range(20)]
    server.replies |= {f"GET jobs/{job_id}": RUNNING for job_id in ids}
    gateway = client(server)
    send = gateway._calls._carrier.send

    async def counted(*args: object, **more: object) -> object:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        answer = await send(*args, **more)  # type: ignore[arg-type]  # as it came
        inside -= 1
        return answer

    gateway._calls._carrier.send = counted  # type: ignore[method-assign, assignment]

    states = await gateway.states([*ids, "unknown", "60000000"])

    assert {job_id: str(state) for job_id, state in states.items()} == dict.fromkeys(ids, "RUNNING")
    assert most == 4


async def test_one_job_that_can_t_be_read_is_no_absence() -> None:
    server = Server()
    server.replies |= {"GET jobs/j1": RUNNING, "GET jobs/j2": httpx.Response(500, json={"errorMessage": "database"})}

    with pytest.raises(Unavailable, match="database"):
        await client(server).states(["j1", "j2"])


async def test_a_job_of_another_is_no_job_of_ours() -> None:
    server = Server()
    server.replies["GET jobs/j1"] = httpx.Response(403)

    assert await client(server).get(["j1"]) == []


async def test_all_pages_are_read_by_addresses_of_our_own() -> None:
    """The server's next link leads elsewhere, and has lost the tag."""
    server = Server()
    ids = [f"j{number}" for number in range(PAGE + 3)]
    server.replies["GET jobs"] = [listed(*ids[:PAGE]), listed(*ids[PAGE:]), listed()]
    server.replies |= {f"GET jobs/{job_id}": KEPT for job_id in ids}

    found = await client(server).find()

    assert {job.job_id for job in found} == set(ids)
    pages = [each.url.params for each in server.requests if each.url.path.endswith("/jobs")]
    assert [(page["tags"], page["offset"], page["num"]) for page in pages] == [
        ("passerelle", str(number * PAGE), str(PAGE)) for number in range(3)
    ]


async def test_a_list_that_does_not_end_is_no_answer() -> None:
    server = Server()
    server.replies["GET jobs"] = listed("j1")

    with pytest.raises(Unavailable, match="does not end"):
        await client(server).find()


async def test_what_has_ended_is_not_read_again_in_a_list_and_forgotten_with_it() -> None:
    server = Server()
    server.replies |= {"GET jobs/j1": KEPT, "GET jobs/j2": RUNNING, "GET jobs/j1/details": DETAILS}
    server.replies["GET jobs"] = [listed("j1", "j2"), listed(), listed("j1", "j2"), listed(), listed("j2"), listed()]
    gateway = client(server)

    assert {job.job_id for job in await gateway.find()} == {"j1", "j2"}
    assert {job.job_id for job in await gateway.find()} == {"j1", "j2"}
    assert {job.job_id for job in await gateway.find()} == {"j2"}
    assert server.asked.count("GET jobs/j1") == 1


async def test_jobs_without_our_marker_are_not_found() -> None:
    server = Server()
    server.replies |= {"GET jobs": [listed("j1"), listed()], "GET jobs/j1": KEPT | {"tags": ["passerelle"]}}

    assert await client(server).find() == []


async def test_slurm_s_word_is_remembered_when_slurmctld_has_forgotten_the_job() -> None:
    server = Server()
    failed = KEPT | {"status": "FAILED", "exitCode": None, "statusMessage": LOST}
    server.replies["GET jobs/j1"] = [RUNNING, failed]
    gone = httpx.Response(500, json={"errorMessage": "Invalid job id"})
    server.replies["GET jobs/j1/details"] = [httpx.Response(200, json=DETAILS | {"JobState": "TIMEOUT"}), gone]
    gateway = client(server)
    await gateway.get(["j1"])

    (job,) = await gateway.get(["j1"])

    assert (job.state.base, job.nodes) == ("TIMEOUT", DETAILS["NodeList"])


# Lifetime


async def test_the_lifetime_of_a_live_job_is_kept_ahead() -> None:
    """A day after its submit the server would end the job and remove its directory."""
    server = Server()
    server.replies |= {"GET jobs/j1": JOB | {"status": "RUNNING"}, "PUT jobs/j1": {"terminationTime": "OK"}}

    await client(server).states(["j1"])

    (body,) = server.bodies("PUT jobs/j1")
    until = datetime.strptime(body["terminationTime"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    assert until - NOW >= 2 * LEAST_SECONDS


async def test_a_lifetime_that_is_long_enough_is_left_alone() -> None:
    server = Server()
    server.replies["GET jobs/j1"] = RUNNING

    await client(server).states(["j1"])

    assert server.asked == ["GET jobs/j1"]


async def test_a_site_that_extends_no_lifetime_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.replies |= {"GET jobs/j1": JOB | {"status": "RUNNING"}, "PUT jobs/j1": {"terminationTime": "FAILED"}}
    gateway = client(server)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert set(await gateway.states(["j1"])) == {"j1"}

    assert server.asked.count("PUT jobs/j1") == 1
    assert caplog.text.count("lifetime") == 1

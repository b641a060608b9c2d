from __future__ import annotations

import base64
import contextlib
import json
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from passerelle.errors import Unauthorized, Unavailable
from passerelle.gateways.firecrest.credential import FirecrestCredential, credential_from_secret
from passerelle.gateways.http import Carrier
from passerelle.gateways.oidc import LEAST_SECONDS, Client, Tokens, client_in, renewal
from passerelle.gateways.slurmrestd import credential as slurmrestd
from passerelle.gateways.unicore import credential as unicore

CLIENT = Client(client_id="we", secret="hu:sh%", token_url="https://auth.example.eu/realms/a/token")
CREDENTIAL = FirecrestCredential(user="we", client=CLIENT)


class Issuer:
    """Hands out t1, t2, …; `broken` answers instead while it is there."""

    def __init__(self, life: object = 300) -> None:
        self.client = CLIENT
        self.life = life
        self.refresh: list[str] = []
        self.now = 1_000_000.0
        self.given = 0
        self.asked: list[httpx.Request] = []
        self.broken: httpx.Response | Exception | None = None
        self.tokens = Tokens(
            lambda url, server: Carrier(url, server=server, transport=httpx.MockTransport(self)), lambda: self.now
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if isinstance(self.broken, Exception):
            raise self.broken
        if self.broken is not None:
            return self.broken
        self.given += 1
        body = {"access_token": f"t{self.given}", "token_type": "Bearer", "expires_in": self.life}
        if self.refresh:
            body["refresh_token"] = self.refresh.pop(0)
        return httpx.Response(200, json={key: value for key, value in body.items() if value is not None})

    async def after(self, seconds: float) -> str:
        self.now += seconds
        return await self.tokens.of(self.client)


async def test_token_serves_for_two_thirds_of_its_life() -> None:
    issuer = Issuer(life=300)

    assert [await issuer.after(seconds) for seconds in (0, 199, 2, 0)] == ["t1", "t1", "t2", "t2"]


async def test_token_is_not_used_in_its_last_minute() -> None:
    issuer = Issuer(life=120)

    assert [await issuer.after(seconds) for seconds in (0, 59, 2)] == ["t1", "t1", "t2"]


@pytest.mark.parametrize("life", [-5, 0, 1, 30, 60, 65, 300, 86_400, 1e12])
def test_pause_between_fetches_has_bounds(life: float) -> None:
    assert LEAST_SECONDS <= renewal(life) <= 3600


async def test_life_that_is_not_told_is_short() -> None:
    issuer = Issuer(life=None)

    assert [await issuer.after(seconds) for seconds in (0, 4, 2)] == ["t1", "t1", "t2"]


async def test_token_serves_on_while_its_server_is_away() -> None:
    issuer = Issuer(life=300)
    await issuer.after(0)
    issuer.broken = httpx.ConnectError("refused")
    assert [await issuer.after(seconds) for seconds in (220, 1, 1)] == ["t1", "t1", "t1"]
    assert len(issuer.asked) == 2, "it is not asked again at once"
    with pytest.raises(Unavailable) as caught:
        await issuer.after(60)

    assert not caught.value.sent
    assert caught.value.reason == "TokenUnavailable"
    assert "token's server" in caught.value.message
    assert "gateway" not in caught.value.message


async def tries(issuer: Issuer, seconds: int) -> list[int]:
    """Seconds after which the issuer was asked, where somebody wants a token each second."""
    asked = []
    for second in range(seconds):
        before = len(issuer.asked)
        with contextlib.suppress(Unavailable, Unauthorized):
            await issuer.after(1)
        if len(issuer.asked) > before:
            asked.append(second)
    return asked


@pytest.mark.parametrize(
    "broken",
    [httpx.ConnectError("refused"), httpx.Response(500), httpx.Response(400, json={"error": "invalid_client"})],
    ids=["away", "broken", "refuses"],
)
async def test_while_a_token_serves_an_issuer_that_fails_is_asked_ever_later(
    broken: httpx.Response | Exception,
) -> None:
    issuer = Issuer(life=900)
    await issuer.after(0)
    issuer.broken = broken
    issuer.now += 599

    assert await tries(issuer, 270) == [0, 5, 15, 35, 75, 135, 195, 255]
    issuer.broken = None
    assert await issuer.after(45) == "t2"
    issuer.broken = broken
    issuer.now += 600
    assert await tries(issuer, 6) == [0, 5], "the next time it begins anew"


async def test_an_issuer_that_asks_for_patience_gets_it_while_a_token_serves() -> None:
    issuer = Issuer(life=900)
    await issuer.after(0)
    issuer.broken = httpx.Response(429, headers={"retry-after": "100"})
    issuer.now += 600

    assert await tries(issuer, 269) == [0, 100, 200]


async def test_a_token_that_ends_is_asked_for_anew_whatever_the_pause() -> None:
    issuer = Issuer(life=300)
    await issuer.after(0)
    issuer.broken = httpx.Response(503, headers={"retry-after": "1000"})
    issuer.now += 200

    assert await tries(issuer, 100) == [0, 69], "it is good until 30 seconds before its end"
    issuer.broken = None
    assert (await tries(issuer, 900))[0] == 869, "and then it gets its patience, up to a quarter of an hour"


async def test_a_token_that_is_refused_ends_the_long_pauses() -> None:
    issuer = Issuer(life=900)
    await issuer.after(0)
    issuer.broken = httpx.ConnectError("refused")
    issuer.now += 600
    await tries(issuer, 100)
    issuer.broken = None
    assert issuer.tokens.refused("t1")

    assert await issuer.after(0) == "t2"


async def test_token_that_is_refused_is_fetched_anew() -> None:
    issuer = Issuer()
    token = await issuer.after(0)
    assert not issuer.tokens.refused("another")
    assert issuer.tokens.refused(token)

    assert await issuer.after(0) == "t2"
    assert not issuer.tokens.refused("t2"), "what follows a refused one at once is refused for what it is"
    assert await issuer.after(0) == "t2"


async def test_an_issuer_that_is_away_is_asked_now_and_then() -> None:
    issuer = Issuer()
    issuer.broken = httpx.ConnectError("refused")
    for _ in range(100):
        with pytest.raises(Unavailable):
            await issuer.after(0.5)
    assert len(issuer.asked) <= 50 / LEAST_SECONDS + 1
    issuer.broken = None

    assert await issuer.after(LEAST_SECONDS) == "t1"


async def test_a_site_that_refuses_every_token_has_few_fetched() -> None:
    issuer = Issuer()
    for _ in range(100):
        issuer.tokens.refused(await issuer.after(0.5))

    assert len(issuer.asked) <= 50 / LEAST_SECONDS + 1


async def test_another_client_gets_its_own_token() -> None:
    issuer = Issuer()
    await issuer.after(0)
    other = Client(client_id="they", secret="s", token_url="https://other.example.eu/token")

    assert await issuer.tokens.of(other) == "t2"
    assert issuer.asked[1].url == "https://other.example.eu/token"


async def test_form_of_both_kinds_of_client() -> None:
    issuer = Issuer()
    await issuer.after(0)
    basic = Client(client_id=CLIENT.client_id, secret=CLIENT.secret, token_url=CLIENT.token_url, auth="basic")
    await issuer.tokens.of(basic)
    posted, given = issuer.asked
    form = {key: values[0] for key, values in parse_qs(posted.content.decode()).items()}

    assert form == {"grant_type": "client_credentials", "client_id": "we", "client_secret": "hu:sh%"}
    assert "authorization" not in posted.headers
    assert parse_qs(given.content.decode()) == {"grant_type": ["client_credentials"]}
    assert base64.b64decode(given.headers["authorization"].removeprefix("Basic ")) == b"we:hu%3Ash%25"


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refused_client_is_the_administrators(status: int) -> None:
    issuer = Issuer()
    told = {"error": "invalid_client", "error_description": "hu:sh% is wrong"}
    issuer.broken = httpx.Response(status, json=told)
    with pytest.raises(Unauthorized, match=r"invalid_client.*write basic under client-auth") as caught:
        await issuer.after(0)

    assert "sh%" not in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, text="oops"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"access_token": 5}),
        httpx.Response(200, json={"access_token": "two\nlines"}),
        httpx.Response(302, headers={"location": "https://elsewhere.example"}),
    ],
)
async def test_answer_without_a_token_is_no_token(answer: httpx.Response) -> None:
    issuer = Issuer()
    issuer.broken = answer
    with pytest.raises(Unavailable) as caught:
        await issuer.after(0)

    assert not caught.value.sent


def public(refresh_token: str = "r0", **more: str) -> Client:  # noqa: S107 -- no secret
    """A client without a secret, of a person who logged in."""
    return Client(client_id="we", token_url=CLIENT.token_url, refresh_token=refresh_token, **more)  # type: ignore[arg-type]  # words


def forms(issuer: Issuer) -> list[dict[str, str]]:
    return [{key: values[0] for key, values in parse_qs(each.content.decode()).items()} for each in issuer.asked]


async def test_a_refresh_token_that_stays_is_shown_again_and_again() -> None:
    issuer = Issuer(life=300)
    issuer.client = public()

    assert [await issuer.after(seconds) for seconds in (0, 201, 201)] == ["t1", "t2", "t3"]
    assert forms(issuer) == [{"grant_type": "refresh_token", "refresh_token": "r0", "client_id": "we"}] * 3
    assert not issuer.tokens.rotates


async def test_a_refresh_token_that_is_replaced_is_followed_and_told() -> None:
    issuer = Issuer(life=300)
    issuer.client, issuer.refresh = public(secret="s"), ["r1", "r2"]
    for seconds in (0, 201, 201):
        await issuer.after(seconds)

    assert [each["refresh_token"] for each in forms(issuer)] == ["r0", "r1", "r2"]
    assert {each["client_secret"] for each in forms(issuer)} == {"s"}
    assert issuer.tokens.rotates


async def test_another_refresh_token_in_the_secret_begins_anew() -> None:
    issuer = Issuer(life=300)
    issuer.client, issuer.refresh = public(), ["r1"]
    await issuer.after(0)
    issuer.client = public("fresh")
    await issuer.after(0)

    assert [each["refresh_token"] for each in forms(issuer)] == ["r0", "fresh"]
    assert not issuer.tokens.rotates


@pytest.mark.parametrize("rotated", [False, True])
async def test_a_refresh_token_that_has_ended_asks_for_a_login(rotated: bool) -> None:
    issuer = Issuer(life=100)
    issuer.client, issuer.refresh = public(), ["hush"] if rotated else []
    await issuer.after(0)
    issuer.broken = httpx.Response(400, json={"error": "invalid_grant", "error_description": "hush"})
    with pytest.raises(Unauthorized, match="log in anew, and write the new one under refresh-token") as caught:
        await issuer.after(101)

    assert ("it replaces them" in caught.value.message) is rotated
    assert "hush" not in caught.value.message


def test_a_refresh_token_tells_its_end_where_it_has_one() -> None:
    assert public(token(exp=5000)).expires == 5000.0
    assert public(token(exp=0)).expires is None, "an offline token of Keycloak's"
    assert public("opaque").expires is None
    assert "opaque" not in repr(public("opaque"))


def token(**claims: object) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in ({}, claims)]
    return ".".join([*parts, "c2ln"])


def secret(**told: str) -> dict[str, bytes]:
    return {key.replace("_", "-"): value.encode() for key, value in told.items()}


def test_static_token_tells_user_and_end() -> None:
    found = credential_from_secret("ns/alps", secret(token=token(preferred_username="ada", exp=2000)))

    assert (found.user, found.username, found.expires, found.client) == ("ada", "", 2000.0, None)


def test_client_ends_never() -> None:
    told = secret(client_id="we", client_secret="s", token_url=CLIENT.token_url, username="ada", client_auth="basic")
    found = credential_from_secret("ns/alps", told)

    assert (found.user, found.username, found.expires) == ("ada", "ada", None)
    assert found.client is not None
    assert found.client.auth == "basic"


@pytest.mark.parametrize(
    "read, told, user",
    [
        (unicore.credential_from_secret, {}, "we"),
        (unicore.credential_from_secret, {"username": "ada"}, "ada"),
        (slurmrestd.credential_from_secret, {"username": "ada"}, "ada"),
        (credential_from_secret, {}, "we"),
    ],
)
def test_each_driver_that_takes_bearer_tokens_takes_a_client(read: Any, told: dict[str, str], user: str) -> None:
    data = secret(client_id="we", refresh_token=token(exp=9000), token_url=CLIENT.token_url, **told)
    found = read("ns/site", data)

    assert (found.user, found.token, found.expires) == (user, "", 9000.0)
    assert found.client == client_in("ns/site", data)


@pytest.mark.parametrize("read", [unicore.credential_from_secret, slurmrestd.credential_from_secret])
def test_a_client_beside_a_token_is_ambiguous(read: Any) -> None:
    data = secret(client_id="we", client_secret="s", token_url=CLIENT.token_url, username="ada", token="t")
    with pytest.raises(Unauthorized) as caught:
        read("ns/site", data)

    assert caught.value.reason == "CredentialAmbiguous"


def test_slurm_is_told_for_whom_a_client_asks() -> None:
    data = secret(client_id="we", client_secret="s", token_url=CLIENT.token_url)
    with pytest.raises(Unauthorized, match="username") as caught:
        slurmrestd.credential_from_secret("ns/site", data)

    assert caught.value.reason == "UsernameMissing"


def test_no_secret_is_shown() -> None:
    for shown in (repr(CREDENTIAL), repr(FirecrestCredential(user="ada", token="hush"))):
        assert "hu" not in shown


@pytest.mark.parametrize(
    "told, reason, fix",
    [
        ({}, "TokenMissing", "write an OIDC client under client-id, client-secret and token-url, or a token"),
        (
            {"client_id": "we", "token_url": "https://a.example/token"},
            "TokenMissing",
            "has no client-secret or refresh-token",
        ),
        ({"client_id": "we", "client_secret": "s", "token_url": "http://a.example/t"}, "TokenUrlInvalid", "https://"),
        ({"client_id": "we", "client_secret": "s", "token_url": "https://a.example"}, "TokenUrlInvalid", "/token"),
        (
            {"client_id": "we", "client_secret": "s", "token_url": "https://a.example/t", "client_auth": "jwt"},
            "TokenMalformed",
            "neither post nor basic",
        ),
        ({"token": "two\nlines"}, "TokenMalformed", "without line breaks"),
    ],
)
def test_incomplete_secret_says_what_to_write(told: dict[str, str], reason: str, fix: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        credential_from_secret("ns/alps", secret(**told))

    assert caught.value.reason == reason
    assert "ns/alps" in caught.value.message
    assert fix in caught.value.message

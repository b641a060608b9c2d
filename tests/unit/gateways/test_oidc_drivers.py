"""Drivers that fetch tokens for an OIDC client: what they show, and when they fetch another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from passerelle.errors import Unauthorized, Unavailable
from passerelle.gateways.oidc import ROTATES, Client
from passerelle.gateways.slurmrestd.credential import TokenCredential
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import Unicore
from unit.gateways.scripted_server import BATCH, Server

TOKEN_URL = "https://auth.example.eu/token"
CLIENT = Client(client_id="we", secret="s", token_url=TOKEN_URL)
REFRESHED = Client(client_id="we", refresh_token="r0", token_url=TOKEN_URL)
UNICORE = {
    "client": {"role": {"selected": "user"}, "xlogin": {"UID": "ada"}},
    "server": {"siteName": "SITE", "version": "11.0.0", "externalConnections": {"TSI 1": "OK"}},
}


class World:
    """A site and an issuer of tokens t1, t2, …, of which the site takes those in `valid`."""

    def __init__(self, site: Callable[[httpx.Request], httpx.Response], refusal: httpx.Response) -> None:
        self.site = site
        self.refusal = refusal
        self.given = 0
        self.rotates = False
        self.down = False
        self.invalid: set[str] = set()
        self.shown: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "auth.example.eu":
            assert "authorization" not in request.headers
            assert "x-slurm-user-token" not in request.headers
            if self.down:
                raise httpx.ConnectError("refused")
            self.given += 1
            more = {"refresh_token": f"r{self.given}"} if self.rotates else {}
            return httpx.Response(200, json={"access_token": f"t{self.given}", "expires_in": 300, **more})
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.shown.append(request.headers.get("x-slurm-user-token", bearer))
        return self.refusal if self.shown[-1] in self.invalid else self.site(request)


def slurmrestd(client: Client) -> tuple[World, Slurmrestd]:
    server = Server(42)
    server.replies["POST job/submit"] = {"job_id": 7}
    refused = httpx.Response(511, json={"errors": [{"error_number": 1007, "error": "Protocol authentication error"}]})
    world = World(server, refused)
    held = TokenCredential(user="ada", client=client)
    return world, Slurmrestd("https://site.example", lambda: held, transport=httpx.MockTransport(world))


def unicore(client: Client) -> tuple[World, Unicore]:
    anonymous = httpx.Response(200, json=UNICORE | {"client": {"role": {"selected": "anonymous"}}})
    world = World(lambda _: httpx.Response(200, json=UNICORE), anonymous)
    held = UnicoreCredential(user="we", client=client)
    return world, Unicore("https://site.example/rest/core", lambda: held, transport=httpx.MockTransport(world))


DRIVERS = pytest.mark.parametrize("make", [slurmrestd, unicore])


@DRIVERS
async def test_one_token_serves_many_calls(make: Any) -> None:
    world, gateway = make(CLIENT)
    for _ in range(3):
        assert (await gateway.probe()).identity.user == "ada"

    assert set(world.shown) == {"t1"}
    assert world.given == 1


@DRIVERS
async def test_a_token_that_the_site_refuses_is_fetched_anew(make: Any) -> None:
    world, gateway = make(CLIENT)
    await gateway.probe()
    world.invalid.add("t1")

    assert (await gateway.probe()).identity.user == "ada"
    assert world.shown[-1] == "t2"


@DRIVERS
async def test_where_the_site_takes_none_of_them_it_is_asked_no_further(make: Any) -> None:
    world, gateway = make(CLIENT)
    await gateway.probe()
    world.invalid |= {f"t{number}" for number in range(1, 10)}
    world.shown.clear()
    with pytest.raises(Unauthorized):
        await gateway.probe()

    assert world.given <= 3
    assert len(world.shown) <= 3


@DRIVERS
async def test_where_the_issuer_is_away_nothing_is_sent(make: Any) -> None:
    world, gateway = make(CLIENT)
    world.down = True
    with pytest.raises(Unavailable) as caught:
        await gateway.submit(BATCH)

    assert not caught.value.sent
    assert world.shown == []


@DRIVERS
async def test_an_issuer_that_replaces_refresh_tokens_is_told_of(make: Any) -> None:
    world, gateway = make(REFRESHED)
    assert ROTATES not in (await gateway.probe()).lacks
    world, gateway = make(REFRESHED)
    world.rotates = True

    assert ROTATES in (await gateway.probe()).lacks

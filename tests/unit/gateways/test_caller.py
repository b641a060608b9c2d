"""Every door of a site says who calls, of which Site, and whom to write to; and no word of it breaks out."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from passerelle.errors import PasserelleError
from passerelle.gateways.arc.credential import ArcCredential
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import Gateway
from passerelle.gateways.caller import VERSION, Caller
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.gateways.oidc import Client
from passerelle.gateways.open import open_gateway
from passerelle.gateways.slurmrestd.credential import TokenCredential
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.gateways.ssh.driver import Ssh
from passerelle.gateways.trust import Trust
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import Unicore
from passerelle.v1alpha1.site import GatewaySpec, SiteSpec
from unit.gateways import login_node

CALLER = Caller("lumi", "ml-platform@example.eu")
CLIENT = Client(client_id="we", secret="s", token_url="https://auth.example.eu/token")
HELD = FirecrestCredential(user="ada", client=CLIENT)
URL = "https://site.example"

Make = Callable[[httpx.MockTransport], Gateway]
DOORS: dict[str, tuple[Make, set[str]]] = {
    "slurmrestd": (
        lambda way: Slurmrestd(URL, lambda: TokenCredential(user="ada", client=CLIENT), caller=CALLER, transport=way),
        {"site.example", "auth.example.eu"},
    ),
    "unicore": (
        lambda way: Unicore(
            f"{URL}/rest/core", lambda: UnicoreCredential(user="we", client=CLIENT), caller=CALLER, transport=way
        ),
        {"site.example", "auth.example.eu"},
    ),
    "firecrest": (
        lambda way: Firecrest(URL, "x", lambda: HELD, caller=CALLER, transport=way),
        {"site.example", "auth.example.eu"},
    ),
    "arc": (
        lambda way: Arc(f"{URL}/arex", lambda: ArcCredential(user="ada", token="hush"), caller=CALLER, transport=way),
        {"site.example"},
    ),
}


@pytest.mark.parametrize("word", DOORS)
async def test_each_request_says_who_calls_and_so_does_a_token_fetch(word: str) -> None:
    seen: list[tuple[str, str]] = []

    def site(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers["user-agent"]))
        if request.url.host == "auth.example.eu":
            return httpx.Response(200, json={"access_token": "t1", "expires_in": 300})
        return httpx.Response(404)

    make, hosts = DOORS[word]
    gateway = make(httpx.MockTransport(site))
    with pytest.raises(PasserelleError):
        await gateway.probe()
    await gateway.close()

    assert {host for host, _ in seen} == hosts
    assert {agent for _, agent in seen} == {f"passerelle/{VERSION} (site lumi; contact ml-platform@example.eu)"}


async def test_a_login_node_sees_it_in_the_first_line() -> None:
    versions: list[str] = []

    async def who(call: login_node.Call) -> None:
        versions.append(call.process.get_extra_info("client_version"))
        await call.answer(login_node.WHO)

    async with login_node.running({"scontrol": who}) as node:
        for caller in (CALLER, Caller("lumi", "x@" + "y" * 198)):
            door: Ssh = node.door(caller=caller)
            await door.probe()
            await door.close()

    assert versions[0] == f"SSH-2.0-passerelle_{VERSION} site lumi contact ml-platform@example.eu"
    assert len(versions[1]) <= 253


@pytest.mark.parametrize("driver", ["slurmrestd", "ssh", "unicore", "firecrest", "arc"])
async def test_a_sites_door_is_opened_in_its_name(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever class it is: the registry hands the caller on."""
    given: list[object] = []
    for kind in (Slurmrestd, Ssh, Unicore, Firecrest, Arc):
        monkeypatch.setattr(kind, "__init__", lambda _, *__, **named: given.append(named["caller"]))
    url = {"ssh": "ssh://login.example.eu", "unicore": f"{URL}/rest/core"}.get(driver, URL)
    gateway = GatewaySpec.model_validate({"driver": driver, "url": url, "system": "x", "credentials": {"name": "c"}})
    spec = SiteSpec(profile="lumi-g", gateway=gateway, run_root="/scratch", contact="https://example.eu/help")

    open_gateway(spec, lambda: pytest.fail("a credential was asked for"), Trust().called_by("lumi", spec.contact))

    assert given == [Caller("lumi", "https://example.eu/help")]


@pytest.mark.parametrize("word", ["a\r\nx-evil: 1", "a b", "a)", 'a"', "a;b", "a\\", "é@example.eu", "", "a\x00"])
def test_a_word_that_would_break_out_is_left_out(word: str) -> None:
    assert Caller(word, word).agent == f"passerelle/{VERSION}"
    assert Caller(word, word).banner == f"passerelle_{VERSION}"


@pytest.mark.parametrize("text", ["ml-platform@example.eu", "https://example.eu/help?team=ml&x=1#top", "a+b@c.example"])
def test_a_contact_is_an_address_or_a_url(text: str) -> None:
    assert site(text).contact == text
    assert Caller("x", text).agent.endswith(f"(site x; contact {text})")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "somebody",
        "a@b\n",
        "a@b\r\nx: y",
        "a@b (me)",
        "a@b;c",
        "a@b'",
        'a@b"',
        "a@b`id`",
        "a@b$(id)",
        "a@b\\",
        "é@example.eu",
        "ftp://example.eu",
        "https://",
        "a@" + "b" * 199,
    ],
)
def test_what_could_break_a_header_or_a_script_is_no_contact(text: str) -> None:
    with pytest.raises(ValueError, match="contact"):
        site(text)


def site(contact: str) -> SiteSpec:
    gateway = {"driver": "slurmrestd", "url": URL, "credentials": {"name": "c"}}
    return SiteSpec.model_validate({"profile": "lumi-g", "gateway": gateway, "runRoot": "/x", "contact": contact})

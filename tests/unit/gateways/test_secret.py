"""What every driver says of a Secret: one rule for a token's text, and the Secret's name in each sentence about it."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from passerelle.errors import PasserelleError, Unauthorized
from passerelle.gateways.arc.credential import ArcCredential
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import Gateway
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.gateways.oidc import Client
from passerelle.gateways.open import credential
from passerelle.gateways.slurmrestd.credential import TokenCredential
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import Unicore
from unit.gateways.unicore_server import jwt

TOKEN = jwt(sub="ada", iss="https://issuer.example.eu")


@pytest.mark.parametrize("driver", ["slurmrestd", "unicore", "firecrest", "arc"])
@pytest.mark.parametrize(
    "text, words",
    [
        (f"Bearer {TOKEN}", "has Bearer before the token under token; leave that out"),
        (f"bearer: {TOKEN}", "has bearer: before the token under token; leave that out"),
        (f"{TOKEN} {TOKEN}", "has several words under token; write the token alone"),
        (f"{TOKEN[:9]}\n{TOKEN[9:]}", "more than plain ASCII under token; write it without line breaks"),
        (TOKEN[:9] + "é", "more than plain ASCII under token"),
    ],
)
def test_a_token_is_one_word_whichever_driver_shows_it(driver: str, text: str, words: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        credential(driver, "ns/site", {"username": b"ada", "token": text.encode()})

    assert caught.value.reason == "TokenMalformed"
    assert caught.value.message.startswith("The Secret ns/site ")
    assert words in caught.value.message
    assert TOKEN[:9] not in caught.value.message


@pytest.mark.parametrize("driver", ["slurmrestd", "unicore", "firecrest", "arc"])
def test_a_credential_knows_its_secret(driver: str) -> None:
    found = credential(driver, "ns/site", {"username": b"ada", "token": f" {TOKEN}\n".encode()})

    assert found.place == "the Secret ns/site"
    assert getattr(found, "token") == TOKEN  # noqa: B009 -- each driver's own field


def unicore(**held: str) -> Callable[[httpx.BaseTransport | object], Gateway]:
    own = UnicoreCredential(**({"user": "ada", "kept": "ns/site"} | held))  # type: ignore[arg-type]  # all are texts
    return lambda transport: Unicore("https://a.example/rest/core", lambda: own, transport=transport)  # type: ignore[arg-type]


def slurmrestd(transport: object) -> Gateway:
    own = TokenCredential(user="ada", token="good", kept="ns/site")
    return Slurmrestd("https://a.example", lambda: own, transport=transport)  # type: ignore[arg-type]


def firecrest(transport: object) -> Gateway:
    own = FirecrestCredential(user="ada", token="good", kept="ns/site")
    return Firecrest("https://a.example", "daint", lambda: own, transport=transport)  # type: ignore[arg-type]


def firecrest_client(transport: object) -> Gateway:
    client = Client(client_id="we", secret="s", token_url="https://b.example/token", kept="ns/site")
    own = FirecrestCredential(user="ada", client=client, kept="ns/site")
    return Firecrest("https://a.example", "daint", lambda: own, transport=transport)  # type: ignore[arg-type]


def arc(transport: object) -> Gateway:
    own = ArcCredential(user="ada", token="good", kept="ns/site")
    return Arc("https://a.example/arex", lambda: own, transport=transport)  # type: ignore[arg-type]


ANONYMOUS = {"client": {"role": {"selected": "anonymous"}}, "server": {"siteName": "X"}}
OF_SLURM = {"errors": [{"error_number": 1007, "error": "Protocol authentication error"}]}


def refusing(request: httpx.Request) -> httpx.Response:
    """Every server's own way to say that the credential is not taken."""
    path = request.url.path
    if request.url.host == "b.example":
        return httpx.Response(200, json={"access_token": "fetched", "expires_in": 300})
    if path.endswith("/token"):
        return httpx.Response(403)
    if path.startswith("/rest/core"):
        return httpx.Response(200, json=ANONYMOUS)
    if path == "/arex/rest":
        return httpx.Response(200, json={"version": ["1.1"]})
    if path.startswith("/slurm"):
        ping = path.endswith("/ping")
        return httpx.Response(200, json={}) if ping else httpx.Response(511, json=OF_SLURM)
    return httpx.Response(401)


@pytest.mark.parametrize(
    "make, reason, words",
    [
        (unicore(password="p"), "TokenRefused", "check username and password in the Secret ns/site."),
        (unicore(password="p", uid="root"), "TokenRefused", "username and password, and uid in the Secret ns/site."),
        (
            unicore(token="t"),
            "Anonymous",
            "expired or is another site's, or the site has given the login no account; ",
        ),
        (unicore(token="t"), "Anonymous", "check token in the Secret ns/site."),
        (unicore(token="t", uid="root"), "Anonymous", "no account root; check token, and uid in the Secret ns/site."),
        (slurmrestd, "TokenRefused", "(`scontrol token`), and write it under token into the Secret ns/site."),
        (firecrest, "TokenRefused", "issuer, and write it under token into the Secret ns/site."),
        (firecrest_client, "TokenRefused", "check that token-url in the Secret ns/site is of the issuer"),
        (arc, "TokenRefused", "or renew it in the Secret ns/site."),
    ],
)
async def test_a_refused_credential_is_told_with_its_secret(
    make: Callable[[object], Gateway], reason: str, words: str
) -> None:
    gateway = make(httpx.MockTransport(refusing))

    with pytest.raises(PasserelleError) as caught:
        await gateway.probe()

    assert (type(caught.value), caught.value.reason) == (Unauthorized, reason)
    assert words in caught.value.message
    await gateway.close()


async def test_a_login_by_password_with_an_account_that_it_lacks_is_told_by_uid() -> None:
    """UNICORE gives out a token to the right password, and knows no one with a uid that is not the login's."""
    given = jwt(iat=1_900_000_000, exp=1_900_003_600)

    def reply(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, text=given)
        return httpx.Response(200, json=ANONYMOUS)

    gateway = unicore(password="p", uid="root")(httpx.MockTransport(reply))

    with pytest.raises(Unauthorized) as caught:
        await gateway.probe()

    assert caught.value.message == (
        "UNICORE does not know the holder of the credential: the site has given the login no account root; check "
        "username and password, and uid in the Secret ns/site."
    )

"""Why no connection came about: each cause, and what a person reads of it. Real sockets where one can be had."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from listening import certificate_error, listening
from passerelle.errors import Unavailable
from passerelle.gateways.http import Carrier
from passerelle.gateways.unreached import Ca
from passerelle_sandbox.control_plane.pki import Authority


async def told(carrier: Carrier) -> str:
    """The words of the failure of a request."""
    with pytest.raises(Unavailable) as caught:
        await carrier.send("GET", "x", headers={"X-SLURM-USER-TOKEN": "hush"})
    await carrier.close()
    assert caught.value.reason == "Unreachable"
    assert not caught.value.sent
    return caught.value.message


async def told_of(cause: BaseException, url: str = "https://gateway.example") -> str:
    """The words for a cause that httpx wraps."""

    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: NOISE] hush (_ssl.c:1006)") from cause

    return await told(Carrier(url, transport=httpx.MockTransport(broken)))


def tls_error(reason: str) -> ssl.SSLError:
    """As OpenSSL raises it."""
    error = ssl.SSLError(1, f"[SSL: {reason}] noise (_ssl.c:1006)")
    error.reason = reason
    return error


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path, "authority")


async def test_a_port_on_which_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # held, and not listened on
        port = taken.getsockname()[1]

        assert await told(Carrier(f"http://127.0.0.1:{port}")) == (
            f"The gateway can't be reached at 127.0.0.1:{port}: the connection was refused; "
            "check the port in gateway.url, and that the gateway runs."
        )


async def test_a_certificate_of_an_unknown_authority(authority: Authority) -> None:
    async with listening(authority.sign("server", subject="/CN=x", usages=["serverAuth"], hosts=["IP:127.0.0.1"])) as p:
        assert await told(Carrier(f"https://127.0.0.1:{p}")) == (
            f"The gateway can't be reached at 127.0.0.1:{p}: its certificate is of an unknown authority; put the "
            "authority's certificate into a Secret under ca.crt, and the Secret's name into gateway.tls.caSecret."
        )


async def test_a_certificate_of_another_authority_than_the_known_one(authority: Authority, tmp_path: Path) -> None:
    known = Ca(Authority.create(tmp_path / "b", "b").pair.certificate.read_bytes(), "ca.crt of the Secret ns/ca")
    async with listening(authority.sign("server", subject="/CN=x", usages=["serverAuth"], hosts=["IP:127.0.0.1"])) as p:
        for public in (False, True):
            assert await told(Carrier(f"https://127.0.0.1:{p}", ca=known, public=public)) == (
                f"The gateway can't be reached at 127.0.0.1:{p}: its certificate is of another authority than ca.crt "
                "of the Secret ns/ca; put the right one there."
            )


async def test_plain_http_towards_tls_says_what_to_write(authority: Authority) -> None:
    async with listening(authority.sign("server", subject="/CN=x", usages=["serverAuth"], hosts=["IP:127.0.0.1"])) as p:
        carrier = Carrier(f"http://127.0.0.1:{p}")
        with pytest.raises(Unavailable) as caught:
            await carrier.send("GET", "", headers={})
        await carrier.close()

    assert caught.value.message == (
        "The gateway ended the connection or broke HTTP's rules; write https in gateway.url if TLS is spoken there."
    )


async def test_own_authority_counts_beside_the_public_ones(authority: Authority) -> None:
    ca = authority.pair.certificate.read_bytes()
    alone = Carrier("https://auth.example", ca=Ca(ca))
    beside = Carrier("https://auth.example", ca=Ca(ca), public=True)
    async with listening(authority.sign("server", subject="/CN=x", usages=["serverAuth"], hosts=["IP:127.0.0.1"])) as p:
        door = Carrier(f"https://127.0.0.1:{p}", ca=Ca(ca), public=True)
        assert (await door.send("GET", "x", headers={})).status == 404
        await door.close()

    assert len(trusted(beside)) > len(trusted(alone)) == 1


def trusted(carrier: Carrier) -> list[object]:
    """The authorities that a carrier has loaded."""
    transport = carrier._client._transport
    assert isinstance(transport, httpx.AsyncHTTPTransport)
    return list(transport._pool._ssl_context.get_ca_certs())  # type: ignore[union-attr]


async def test_a_certificate_for_another_host(authority: Authority) -> None:
    ca = authority.pair.certificate.read_bytes()
    async with listening(authority.sign("server", subject="/CN=x", usages=["serverAuth"], hosts=["DNS:other"])) as p:
        assert await told(Carrier(f"https://127.0.0.1:{p}", ca=Ca(ca))) == (
            f"The gateway can't be reached at 127.0.0.1:{p}: its certificate is not accepted: "
            "IP address mismatch, certificate is not valid for '127.0.0.1'."
        )


async def test_https_where_plain_http_is_spoken() -> None:
    async with listening() as port:
        assert await told(Carrier(f"https://127.0.0.1:{port}")) == (
            f"The gateway can't be reached at 127.0.0.1:{port}: what listens there does not speak TLS; "
            "check the port in gateway.url."
        )


@pytest.mark.parametrize(
    "cause,words",
    [
        pytest.param(
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            ": the host's name can't be resolved; check it in gateway.url.",
            id="unknown host",
        ),
        pytest.param(OSError(errno.EHOSTUNREACH, "words"), ": no route to host.", id="no route"),
        pytest.param(OSError("All connection attempts failed"), ".", id="nothing said"),
        pytest.param(TimeoutError(), ": check host and port in gateway.url, and firewalls on the way.", id="silence"),
        pytest.param(
            certificate_error(10),
            ": its certificate has expired; tell the site, and check this machine's clock.",
            id="an expired certificate",
        ),
        pytest.param(
            certificate_error(9),
            ": its certificate is not valid yet; tell the site, and check this machine's clock.",
            id="a certificate of tomorrow",
        ),
        pytest.param(tls_error("UNSUPPORTED_PROTOCOL"), ": TLS failed: unsupported protocol.", id="no common TLS"),
        pytest.param(
            ExceptionGroup("several", [OSError(errno.ENETUNREACH, "IPv6"), ConnectionRefusedError()]),
            ": the connection was refused; check the port in gateway.url, and that the gateway runs.",
            id="several addresses",
        ),
    ],
)
async def test_a_cause_is_told_in_words_and_the_noise_is_not(cause: BaseException, words: str) -> None:
    assert await told_of(cause) == f"The gateway can't be reached at gateway.example:443{words}"


async def test_a_timeout_names_where_it_knocked() -> None:
    def silent(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("") from TimeoutError()

    assert await told(Carrier("https://gateway.example:6820", transport=httpx.MockTransport(silent))) == (
        "The gateway took no connection in time at gateway.example:6820: "
        "check host and port in gateway.url, and firewalls on the way."
    )


@pytest.mark.parametrize(
    "url,where",
    [
        ("https://gateway.example/api", "gateway.example:443"),
        ("http://localhost", "localhost:80"),
        ("http://[::1]:6820", "[::1]:6820"),
    ],
)
async def test_host_and_port_are_always_named(url: str, where: str) -> None:
    assert f" at {where}: the connection was refused" in await told_of(ConnectionRefusedError(), url)

"""What a hostile, broken or talkative server can do to us, over real sockets: little."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from listening import tls
from passerelle.errors import PasserelleError, Unavailable
from passerelle.gateways import http
from passerelle.gateways.http import Carrier, ClientCertificate, proofs
from passerelle.gateways.slurmrestd.credential import TokenCredential
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import Unicore
from passerelle.gateways.unreached import Ca
from passerelle_sandbox.control_plane.pki import Authority
from unit.gateways.scripted_server import BATCH

TOKEN = "an-opaque-token-of-ours"
SCRIPT = "#!/bin/sh\necho the-script-of-ours\n"


@dataclass
class Heard:
    """One request that a server got."""

    line: str
    head: str
    body: bytes


@dataclass
class Loopback:
    """A server that answers what `says` makes of a request."""

    says: Callable[[Heard], bytes]
    port: int = 0
    heard: list[Heard] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            size = next((line for line in head.lower().splitlines() if line.startswith("content-length:")), ":0")
            found = Heard(head.splitlines()[0], head, await reader.readexactly(int(size.partition(":")[2])))
            self.heard.append(found)
            writer.write(self.says(found))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def loopback(says: Callable[[Heard], bytes], context: ssl.SSLContext | None = None) -> AsyncIterator[Loopback]:
    made = Loopback(says)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    told = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def slurmrestd(port: int) -> Slurmrestd:
    held = TokenCredential(user="ada", token=TOKEN)
    return Slurmrestd(f"http://127.0.0.1:{port}", lambda: held)


def unicore(port: int) -> Unicore:
    held = UnicoreCredential(user="ada", token=TOKEN)
    return Unicore(f"http://127.0.0.1:{port}/rest/core", lambda: held)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_takes_our_token_nowhere(status: str) -> None:
    async with loopback(lambda _: answer("200 OK", b"{}")) as elsewhere:
        where = f"http://127.0.0.1:{elsewhere.port}/stolen"
        async with loopback(lambda _: answer(status, location=where)) as here:
            carrier = Carrier(f"http://127.0.0.1:{here.port}")
            told = await carrier.send("POST", "x", headers={"authorization": f"Bearer {TOKEN}"}, body={})
            await carrier.close()
            gateway = slurmrestd(here.port)
            with pytest.raises(Unavailable):
                await gateway.submit(BATCH)
            await gateway.close()

    assert told.status == int(status.split(maxsplit=1)[0])
    assert elsewhere.heard == []


async def test_an_address_that_a_server_names_is_never_called() -> None:
    """UNICORE's own addresses lead to what it takes for its name; one that lies leads nowhere, too."""
    async with loopback(lambda _: answer("200 OK", b"{}")) as elsewhere:
        away = f"http://127.0.0.1:{elsewhere.port}/rest/core"

        def says(heard: Heard) -> bytes:
            told = {
                "client": {"role": {"selected": "user"}, "xlogin": {"UID": "ada"}},
                "server": {"siteName": "SITE", "version": "11.0.0"},
                "jobs": [f"{away}/jobs/mine"] if "offset=0" in heard.line else [],
                "factories": [f"{away}/factories/one", f"{away}/factories/../../../up"],
                "storages": [f"{away}/storages/DATA"],
                "mountPoint": "/data",
                "resources": {"gpu": {}},
                "size": 3,
                "status": "RUNNING",
                "tags": ["passerelle", BATCH.options.name],
                "_links": {"self": {"href": f"{away}/jobs/mine"}, "next": {"href": f"{away}/jobs?offset=200"}},
            }
            if heard.line.startswith("POST"):
                return answer("201 Created", location=f"{away}/jobs/mine")
            return answer("200 OK", json.dumps(told).encode())

        async with loopback(says) as here:
            gateway = unicore(here.port)
            assert await gateway.submit(BATCH) == "mine"
            assert [job.job_id for job in await gateway.find()] == ["mine"]
            assert [each.name for each in (await gateway.survey()).partitions or ()] == ["gpu"]
            assert await gateway.size("/data/ada/log") == 3
            await gateway.close()

        assert elsewhere.heard == []
        assert len(here.heard) > 5
        assert not [heard.line for heard in here.heard if ".." in heard.line]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_a_body_without_end_is_given_up(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed, it comes in a few kilobytes."""
    monkeypatch.setattr(http, "BODY_LIMIT", 1_000_000)
    body = gzip.compress(b" " * 5_000_000) if packed else b" " * 5_000_000
    more = {"content_encoding": "gzip"} if packed else {}
    async with loopback(lambda _: answer("200 OK", body, **more)) as here:
        carrier = Carrier(f"http://127.0.0.1:{here.port}")
        with pytest.raises(Unavailable) as caught:
            await carrier.send("GET", "x", headers={})
        await carrier.close()

    assert caught.value.reason == "AnswerTooLarge"


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "deflate", "zstd", "gzip,identity"])
async def test_what_is_packed_twice_or_otherwise_is_not_unpacked(coding: str) -> None:
    """A kilobyte that is packed twice may be a gigabyte."""
    body = gzip.compress(gzip.compress(b" " * 50_000_000))
    async with loopback(lambda _: answer("200 OK", body, content_encoding=coding)) as here:
        carrier = Carrier(f"http://127.0.0.1:{here.port}")
        with pytest.raises(Unavailable) as caught:
            await carrier.send("GET", "x", headers={})
        await carrier.close()

    assert caught.value.reason == "AnswerTooLarge"
    assert "accept-encoding: gzip\r\n" in here.heard[0].head.lower()


def echo(heard: Heard) -> bytes:
    """All that came, in every field that some gateway reads an error from."""
    said = heard.head + heard.body.decode()
    told = {
        "errors": [{"error_number": 9000, "error": said, "description": said}],
        "errorMessage": said,
        "message": said,
        "errorType": "error",
        "detail": said,
    }
    return answer("500 Internal Server Error", json.dumps(told).encode())


@pytest.mark.parametrize("make", [slurmrestd, unicore])
async def test_a_server_that_repeats_what_it_got_betrays_nothing(make: Callable[[int], Slurmrestd | Unicore]) -> None:
    batch = replace(BATCH, script=SCRIPT)
    async with loopback(echo) as here:
        gateway = make(here.port)
        said = []
        for call in (lambda: gateway.submit(batch), gateway.probe, gateway.find):
            with pytest.raises(PasserelleError) as caught:
                await call()
            said.append(caught.value.message)
        await gateway.close()

    assert TOKEN in here.heard[0].head, "or nothing would be proven"
    assert not [text for text in said if TOKEN in text or "the-script-of-ours" in text]


def test_every_proof_is_known_in_each_of_its_shapes() -> None:
    basic = "Basic YWRhOmEtbG9uZy1wYXNzd29yZA=="
    found = proofs({"Authorization": basic, "accept": "application/json"}, {"client_secret": "a-client-secret"})

    assert found == {basic, "YWRhOmEtbG9uZy1wYXNzd29yZA==", "a-long-password", "a-client-secret"}
    assert proofs({"X-SLURM-USER-TOKEN": "short"}, {}) == set()


# Certificates and proxies


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path, "authority")


def asking(authority: Authority, host: str) -> ssl.SSLContext:
    """TLS that wants to see a certificate of the authority."""
    context = tls(authority.sign("server", subject="/CN=server", usages=["serverAuth"], hosts=[host]))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.pair.certificate)
    return context


async def test_a_gateway_that_asks_for_a_certificate_gets_ours(authority: Authority) -> None:
    pair = authority.sign("client", subject="/CN=passerelle", usages=["clientAuth"], hosts=[])
    ours = ClientCertificate(pair.certificate.read_bytes(), pair.key.read_bytes())
    ca = authority.pair.certificate.read_bytes()
    async with loopback(lambda _: answer("200 OK", b"{}"), asking(authority, "IP:127.0.0.1")) as here:
        with_ours = Carrier(f"https://127.0.0.1:{here.port}", ca=Ca(ca), certificate=ours)
        without = Carrier(f"https://127.0.0.1:{here.port}", ca=Ca(ca))
        assert (await with_ours.send("GET", "x", headers={})).status == 200
        with pytest.raises(Unavailable):
            await without.send("GET", "x", headers={})
        await with_ours.close()
        await without.close()

    assert len(here.heard) == 1


@asynccontextmanager
async def proxy(port: int) -> AsyncIterator[tuple[int, list[str]]]:
    """A proxy that leads every tunnel to one port of this machine, and remembers where each was to lead."""
    asked: list[str] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        there = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def test_the_environments_proxy_leads_to_sites_and_sees_no_token(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = authority.pair.certificate.read_bytes()
    context = tls(authority.sign("server", subject="/CN=x", usages=["serverAuth"], hosts=["DNS:gateway.example"]))
    async with (
        loopback(lambda _: answer("200 OK", b"{}"), context) as here,
        proxy(here.port) as (port, asked),
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "direct.example")
        through = Carrier("https://gateway.example", ca=Ca(ca))
        direct = Carrier("https://direct.example", ca=Ca(ca))
        assert (await through.send("GET", "x", headers={"authorization": f"Bearer {TOKEN}"})).status == 200
        with pytest.raises(Unavailable, match="can't be resolved"):
            await direct.send("GET", "x", headers={})
        await through.close()
        await direct.close()

    assert [head.splitlines()[0] for head in asked] == ["CONNECT gateway.example:443 HTTP/1.1"]
    assert TOKEN not in asked[0]
    assert TOKEN in here.heard[0].head


async def test_no_proxy_stands_between_us_and_our_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    async with loopback(lambda _: answer("200 OK", b"{}")) as here, proxy(here.port) as (port, asked):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        carrier = Carrier(f"http://127.0.0.1:{here.port}")
        assert (await carrier.send("GET", "x", headers={})).status == 200
        await carrier.close()

    assert asked == []

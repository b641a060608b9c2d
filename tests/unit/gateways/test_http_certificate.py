"""The carrier shows a client certificate that it has in memory alone."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from passerelle.errors import Unauthorized, Unavailable
from passerelle.gateways.http import Carrier, ClientCertificate
from passerelle.gateways.unreached import Ca

SCRIPT = """
    key='-newkey rsa:2048 -nodes'
    openssl req -x509 $key -subj /CN=authority -keyout ca.key -out ca.crt -days 2
    printf 'subjectAltName=DNS:localhost' > san
    for name in localhost ada bob; do
        openssl req $key -subj /CN=$name -keyout $name.key -out $name.csr
        openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out $name.crt
    done
    openssl rsa -aes256 -passout pass:secret -in ada.key -out locked.key
"""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pki")
    subprocess.run(["sh", "-euc", SCRIPT], cwd=place, check=True, capture_output=True, timeout=60)
    return place


def shown(pki: Path, name: str, key: str | None = None) -> ClientCertificate:
    return ClientCertificate((pki / f"{name}.crt").read_bytes(), (pki / f"{key or name}.key").read_bytes())


@pytest.fixture
async def url(pki: Path) -> AsyncIterator[str]:
    """Where a server tells each client its name, and talks to nobody without one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "localhost.crt", pki / "localhost.key")
    context.verify_mode = ssl.CERT_REQUIRED

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        name = writer.get_extra_info("peercert")["subject"][0][0][1].encode()
        writer.write(b"HTTP/1.1 200 Known\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(name), name))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(tell, "127.0.0.1", 0, ssl=context)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_the_server_sees_whose_certificate_is_shown(pki: Path, url: str) -> None:
    for name in ("ada", "bob"):
        carrier = Carrier(url, ca=Ca((pki / "ca.crt").read_bytes()), certificate=shown(pki, name))
        answer = await carrier.send("GET", "who", headers={})
        await carrier.close()
        assert (answer.body, answer.phrase) == (name.encode(), "Known")


async def test_without_one_there_is_no_answer(pki: Path, url: str) -> None:
    carrier = Carrier(url, ca=Ca((pki / "ca.crt").read_bytes()))
    with pytest.raises(Unavailable):
        await carrier.send("GET", "who", headers={})
    await carrier.close()


@pytest.mark.parametrize("key", ["bob", "locked"])
def test_a_key_that_does_not_fit_is_told(pki: Path, key: str) -> None:
    with pytest.raises(Unauthorized, match="unencrypted") as caught:
        Carrier("https://localhost:1", certificate=shown(pki, "ada", key))
    assert caught.value.reason == "CertificateMalformed"


def test_nothing_of_it_is_shown_to_people(pki: Path) -> None:
    assert "BEGIN" not in repr(shown(pki, "ada"))

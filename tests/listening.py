"""A server on this machine that gives everybody the same answer, with TLS where there is a certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from passerelle_sandbox.control_plane.pki import Pair

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def tls(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


@asynccontextmanager
async def listening(pair: Pair | None = None, *, says: bytes = NOT_FOUND) -> AsyncIterator[int]:
    """Its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(says)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=None if pair is None else tls(pair))
    async with server:
        yield server.sockets[0].getsockname()[1]


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    """As OpenSSL raises it."""
    error = ssl.SSLCertVerificationError(1, "noise")
    error.verify_code, error.verify_message = code, "noise"
    return error

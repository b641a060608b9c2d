"""Health and metrics on our own server, up before anything else: a broken kube-apiserver restarts nothing."""

from __future__ import annotations

import asyncio
import contextlib

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

READ_SECONDS = 5.0
HEADER_LIMIT = 8192


class Health:
    """A small HTTP/1.1 server: /livez, /readyz, /metrics. Every answer closes its connection."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self._host = host
        self._port = port
        self._registry = registry
        self._server: asyncio.Server | None = None
        self._ready = False

    @property
    def port(self) -> int:
        """The port in use, once started."""
        if self._server is None:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    def heard(self) -> None:
        """kube-apiserver's watch delivered something: the operator is ready."""
        self._ready = True

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=HEADER_LIMIT)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), READ_SECONDS)
            status, kind, body = self._answer(request.split(b" ", 2)[1].decode("latin-1").partition("?")[0])
            head = (
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    def _answer(self, path: str) -> tuple[str, str, bytes]:
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/livez":
            return "200 OK", "text/plain", b"ok\n"
        if path == "/readyz":
            if self._ready:
                return "200 OK", "text/plain", b"ok\n"
            return "503 Service Unavailable", "text/plain", b"waiting for the first listing of kube-apiserver\n"
        return "404 Not Found", "text/plain", b"try /livez, /readyz or /metrics\n"

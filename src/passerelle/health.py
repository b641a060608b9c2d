"""Health and metrics on our own server, up before anything else: a broken kube-apiserver restarts nothing.

Ready: kube-apiserver has answered us and, where there is anything to hear of, its watch has delivered. Not live: only
where kube-apiserver answers a request while the watch has been silent for longer than several of its renewals, each of
which repeats what there is; a stream can freeze without closing, and a restart mends that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry

from passerelle.errors import PasserelleError
from passerelle.exposition import pieces

READ_SECONDS = 5.0
METRICS_SECONDS = 60.0
"""How long a reader of /metrics may take; Prometheus gives up after 10 s."""
HEADER_LIMIT = 8192

ASK_SECONDS = 5.0
"""How often kube-apiserver is asked until it has answered once; then it is asked once a minute."""
ASK_AGAIN_SECONDS = 60.0


class Health:
    """A small HTTP/1.1 server: /livez, /readyz, /metrics. Every answer closes its connection.

    `stale_seconds` is how long a watch over something may be silent; `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        stale_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._port = port
        self._registry = registry
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._heard_at = clock()
        self._heard = False
        self._stands_by: Callable[[], bool] | None = None
        self._answers: bool | None = None  # None: never asked; False: the last question had no answer
        self._anything = False

    @property
    def port(self) -> int:
        """The port in use, once started."""
        if self._server is None:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def ready(self) -> bool:
        """An operator that stands by is as ready as it can be: a rollout goes on with it."""
        if self._stands_by is not None:
            return self._stands_by()
        return self._answers is not None and (self._heard or not self._anything)

    @property
    def live(self) -> bool:
        silent = self._clock() - self._heard_at > self._stale_seconds
        return not (self._answers and self._anything and silent)

    def stand_by(self, waits: Callable[[], bool] | None) -> None:
        """It stands by, and watches nothing; `waits` tells whether it knows for whom. None: from now on it acts."""
        self._stands_by = waits
        self._heard_at = self._clock()

    def heard(self) -> None:
        """kube-apiserver's watch delivered something."""
        self._heard = True
        self._heard_at = self._clock()

    async def ask(self, anything: Callable[[], Awaitable[bool]]) -> None:
        """Ask kube-apiserver for ever; `anything` tells whether there is something that a watch would deliver."""
        while True:
            try:
                self._anything = await anything()
                if not self._anything:
                    self._heard_at = self._clock()
                self._answers = True
            except PasserelleError:
                self._answers = None if self._answers is None else False
            await asyncio.sleep(ASK_AGAIN_SECONDS if self._answers else ASK_SECONDS)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=HEADER_LIMIT)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), READ_SECONDS)
            words = request.split(b" ", 2)
            path, _, query = words[1].decode("latin-1").partition("?") if len(words) > 1 else ("", "", "")
            if path == "/metrics":
                async with asyncio.timeout(METRICS_SECONDS):
                    await self._tell_metrics(writer, parse_qs(query).get("name[]", []))
            else:
                status, body = self._answer(path)
                about = f"Content-Type: text/plain\r\nContent-Length: {len(body)}"
                writer.write(f"HTTP/1.1 {status}\r\n{about}\r\nConnection: close\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()

    async def _tell_metrics(self, writer: asyncio.StreamWriter, names: Sequence[str]) -> None:
        """In chunks, so that one that was cut off is known as such. Everybody else has a turn between two of them. Of
        these series, where any are named.
        """
        about = f"Content-Type: {CONTENT_TYPE_LATEST}\r\nTransfer-Encoding: chunked"
        writer.write(f"HTTP/1.1 200 OK\r\n{about}\r\nConnection: close\r\n\r\n".encode())
        for piece in pieces(self._registry.restricted_registry(names) if names else self._registry):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _answer(self, path: str) -> tuple[str, bytes]:
        if path == "/livez":
            if self.live:
                return "200 OK", b"ok\n"
            return "503 Service Unavailable", b"the watch of kube-apiserver is silent\n"
        if path == "/readyz":
            if self.ready:
                return "200 OK", b"ok\n"
            return "503 Service Unavailable", b"waiting for kube-apiserver\n"
        return "404 Not Found", b"try /livez, /readyz or /metrics\n"

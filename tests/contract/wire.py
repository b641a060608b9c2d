"""A wire between a gateway's driver and its server that counts bytes, and is cut where a test wants it. On loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_PIECE = 256 * 1024


@dataclass(slots=True)
class Way:
    """One of the two. `cut_at`: after so many bytes, of all connections together, every connection breaks, once."""

    carried: int = 0
    cut_at: int | None = None


@dataclass(slots=True)
class Wire:
    """`port` is where a driver connects to."""

    port: int = 0
    there: Way = field(default_factory=Way)
    back: Way = field(default_factory=Way)
    cuts: int = 0
    ends: set[asyncio.StreamWriter] = field(default_factory=set)

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way) -> None:
        """All that comes, up to the cut, which falls where it will: within a packet, a block, a word."""
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE):
                if way.cut_at is not None and way.carried + len(piece) >= way.cut_at:
                    piece, way.cut_at = piece[: way.cut_at - way.carried], None
                    sink.write(piece)
                    way.carried += len(piece)
                    await sink.drain()
                    self.cut()
                    return
                sink.write(piece)
                way.carried += len(piece)
                await sink.drain()
        with contextlib.suppress(OSError):
            if sink.can_write_eof():
                sink.write_eof()
            else:  # TLS has no half of a connection
                sink.close()

    def cut(self) -> None:
        self.cuts += 1
        for end in self.ends:
            end.transport.abort()


@contextlib.asynccontextmanager
async def wire(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """A wire to this port of our own host, which ends here in TLS where it is given."""
    made = Wire()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        ends = {writer, far_writer}
        made.ends |= ends
        try:
            await asyncio.gather(made.carry(reader, far_writer, made.there), made.carry(far_reader, writer, made.back))
        finally:
            made.ends -= ends
            for end in ends:
                end.close()

    async with await asyncio.start_server(joined, "127.0.0.1", 0, ssl=tls) as server:
        made.port = server.sockets[0].getsockname()[1]
        try:
            yield made
        finally:
            made.cut()

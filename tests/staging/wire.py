"""A TCP connection on loopback that goes through us, counts what passes, and can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_PIECE = 256 * 1024


@dataclass
class Wire:
    """Leads to a port. `cut_at`: when so many bytes have passed, all connections break, once."""

    to: int
    port: int = 0
    passed: int = 0
    cut_at: int | None = None
    cuts: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(onward, writer))
        self._writers -= {writer, back}

    def cut(self) -> None:
        self.cuts += 1
        self.cut_at = None
        for each in self._writers:
            each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE):
                self.passed += len(piece)
                if self.cut_at is not None and self.passed >= self.cut_at:
                    self.cut()
                    return
                writer.write(piece)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def wire(to: int) -> AsyncIterator[Wire]:
    made = Wire(to)
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await asyncio.sleep(0.05)

"""A proxy of bytes before a login node: connections that are cut, stand still, or are dropped once they were accepted.

What is said is sealed, so nobody can tell a submit from a listing here: a mishap befalls the piece of a number,
whichever way it goes.
"""

from __future__ import annotations

import asyncio
import contextlib

from faults.plan import KILLS, Fault, Kind, Plan
from faults.proxy import Leader, meanwhile

PIECE_BYTES = 65_536
DROPPED = 2
"""Connections that are dropped once they were accepted, after one was lost."""


class Wire:
    """Before `host` and `port`, for one run."""

    def __init__(self, host: str, port: int, plan: Plan, leader: Leader) -> None:
        self._host, self._port = host, port
        self._plan, self._leader = plan, leader
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropped = 0
        self._server: asyncio.Server
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for each in list(self._tasks):
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._dropped:
            self._dropped -= 1
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        ways = [asyncio.create_task(self._carry(one, other)) for one, other in ((reader, back), (there, writer))]
        try:
            with contextlib.suppress(asyncio.CancelledError):  # by `stop`: asyncio complains of a handler that ends so
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ways:
                each.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each_writer in (writer, back):
                each_writer.transport.abort()

    async def _carry(self, one: asyncio.StreamReader, other: asyncio.StreamWriter) -> None:
        """One way, until it ends or is ended."""
        with contextlib.suppress(ConnectionError):
            while piece := await one.read(PIECE_BYTES):
                if not await self._pass(piece, other):
                    return

    async def _pass(self, piece: bytes, other: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on after this piece."""
        fault = self._plan.next(Kind.PIECE)
        if fault is Fault.LOSE_CALL:
            self._dropped = DROPPED
            return False
        if fault is Fault.KILL_BEFORE:
            self._leader.kill()
            return False
        if fault is Fault.FREEZE:
            await asyncio.Event().wait()  # until this side or that one gives up
        await meanwhile(fault, self._leader)
        other.write(piece[: len(piece) // 2] if fault is Fault.CUT_ANSWER else piece)
        await other.drain()
        if fault in KILLS:
            self._leader.kill()
        return fault is not Fault.CUT_ANSWER and fault not in KILLS

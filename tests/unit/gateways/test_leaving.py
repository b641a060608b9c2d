"""What is under way when it may no longer leave: patience that was asked meanwhile, a Lease that ended meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from passerelle.errors import Deferred, Unavailable
from passerelle.gateways import meter
from passerelle.gateways.courtesy import Courtesy
from passerelle.gateways.http import CONNECTIONS, Answer, Carrier
from passerelle.gateways.measured import measured
from passerelle.gateways.memory import Memory
from unit.gateways import login_node
from unit.gateways.login_node import Call
from unit.gateways.scripted_server import BATCH, Server, client

NOT_LEADING = Unavailable("Another one acts.", reason="NotLeading", sent=False)


class Lease:
    """It ends, and whoever passes after that is told."""

    def __init__(self) -> None:
        self.ended = False

    def fence(self) -> None:
        if self.ended:
            raise NOT_LEADING


class Narrow:
    """A real server that holds its first requests until it is told what to answer, and counts all that came."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.came = 0
        self.full = asyncio.Event()
        self.answers = asyncio.Event()
        self._served: list[asyncio.Task[None] | None] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.append(asyncio.current_task())
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            self.came += 1
            if self.came == CONNECTIONS:
                self.full.set()
            await self.answers.wait()
            writer.write(self.reply)
        writer.close()

    async def __aenter__(self) -> Carrier:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._carrier = Carrier(f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}")
        return self._carrier

    async def __aexit__(self, *_: object) -> None:
        await self._carrier.close()
        self._server.close()
        await asyncio.gather(*filter(None, self._served))


async def test_what_waits_for_a_connection_while_patience_is_asked_for_is_not_sent() -> None:
    busy = Narrow(b"HTTP/1.1 503 Busy\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n")
    courtesy = Courtesy(asyncio.get_running_loop().time, calls_per_hour=1000)
    async with busy as carrier:

        async def send() -> Answer:
            return await carrier.send("GET", "job", headers={})

        calls = [asyncio.create_task(courtesy.through("get", send)) for _ in range(2 * CONNECTIONS)]
        await busy.full.wait()
        busy.answers.set()
        found = await asyncio.gather(*calls, return_exceptions=True)

    assert busy.came == CONNECTIONS
    held = [each for each in found if isinstance(each, Deferred)]
    assert len(held) == CONNECTIONS
    assert all(each.reason == "Busy" and not each.sent and (each.retry_after or 0) > 55 for each in held)


async def test_what_waits_for_a_connection_while_the_lease_ends_is_not_sent() -> None:
    lease = Lease()
    slow = Narrow(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    async with slow as carrier:
        others = [asyncio.create_task(carrier.send("GET", "job", headers={})) for _ in range(CONNECTIONS)]
        await slow.full.wait()

        async def submit() -> Answer:
            with meter.metered(may_leave=lease.fence):
                return await carrier.send("POST", "job", headers={}, body={})

        late = asyncio.create_task(submit())
        await asyncio.sleep(0.05)
        lease.ended = True
        slow.answers.set()
        with pytest.raises(Unavailable) as found:
            await late
        await asyncio.gather(*others)

    assert found.value is NOT_LEADING, "as it was raised"
    assert slow.came == CONNECTIONS


async def test_a_submit_that_looked_for_a_version_while_the_lease_ended_is_not_sent() -> None:
    lease, server = Lease(), Server()

    def answer(request: httpx.Request) -> httpx.Response:
        lease.ended = True
        return server(request)

    inside = client(server)
    inside._calls._carrier = Carrier("http://127.0.0.1:1", transport=httpx.MockTransport(answer))
    door = measured(inside, lambda _: None, asyncio.get_running_loop().time, lease.fence)
    with pytest.raises(Unavailable) as found:
        await door.submit(BATCH)

    assert (found.value.reason, found.value.sent) == ("NotLeading", False)
    assert server.asked == []


async def test_a_call_that_is_spared_before_a_submit_stays_one() -> None:
    """Else it would be the site's trouble, and every job's."""
    server = Server()
    inside = client(server)

    @contextmanager
    def spared() -> Iterator[None]:
        def stay() -> None:
            raise Deferred("It is left alone.", reason="Busy", retry_after=60)

        with meter.metered(may_leave=stay):
            yield

    with spared(), pytest.raises(Deferred):
        await inside.submit(BATCH)
    assert server.asked == []


async def test_the_fence_is_asked_again_as_an_act_leaves_and_never_for_a_look() -> None:
    lease = Lease()

    class Slow(Memory):
        def _called(self, call: str) -> None:
            lease.ended = True
            meter.leaving()
            super()._called(call)

    site = Slow(clock=asyncio.get_running_loop().time)
    door = measured(site, lambda _: None, asyncio.get_running_loop().time, lease.fence)
    await door.probe()
    lease.ended = False
    with pytest.raises(Unavailable, match="Another one acts"):
        await door.cancel("1")
    assert site.calls == ["probe"]


async def test_over_ssh_no_script_is_written_once_the_lease_has_ended(tmp_path: Path) -> None:
    lease = Lease()

    async def sbatch(call: Call) -> None:
        lease.ended = True
        await call.answer("1;site\n")

    async with login_node.running({"sbatch": sbatch}, files=tmp_path) as node:
        door = measured(node.door(), lambda _: None, asyncio.get_running_loop().time, lease.fence)
        try:
            with pytest.raises(Unavailable) as found:
                await door.submit(BATCH)
        finally:
            await door.close()

    assert (found.value.reason, found.value.sent) == ("NotLeading", False)
    assert not any(node.inputs)

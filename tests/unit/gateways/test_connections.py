"""How many connections and sessions a Site has at its gateway, whatever looks, submits and copies at one time; and that
each request and command counts, answered or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import asyncssh
import pytest

from passerelle.errors import PasserelleError
from passerelle.gateways.courtesy import Courtesy, courteous
from passerelle.gateways.http import CONNECTIONS, Carrier
from passerelle.gateways.meter import metered
from passerelle.gateways.purpose import Purpose
from passerelle.gateways.ssh import connection, sessions
from passerelle.gateways.ssh.files import LARGE
from unit.gateways import login_node
from unit.gateways.login_node import STRANGERS_KEY, Call, LoginNode

MAX_SESSIONS = 10
"""sshd's default, a connection."""


class Crowded:
    """Holds whoever comes until so many are there, and as long as more come."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self._here = 0
        self._come = asyncio.Event()

    async def hold(self) -> None:
        self._here += 1
        if self._here >= self._enough:
            self._come.set()
        await self._come.wait()
        for _ in range(100):
            await asyncio.sleep(0)


async def test_a_gateway_has_eight_connections_at_most_whatever_is_asked_at_once() -> None:
    crowd, here, most = Crowded(CONNECTIONS), 0, 0
    served = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal here, most
        served.append(asyncio.current_task())
        here += 1
        most = max(most, here)
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            await crowd.hold()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        here -= 1
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    carrier = Carrier(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        await asyncio.gather(*(carrier.send("GET", f"{number}", headers={}) for number in range(5 * CONNECTIONS)))
    finally:
        await carrier.close()
        server.close()
        await asyncio.gather(*filter(None, served))

    assert most == CONNECTIONS == 8


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[LoginNode]:
    """A login node on which nothing ends before all that may run at once does."""
    crowd = Crowded(sessions.CHANNELS + 1)

    async def late(call: Call) -> None:
        await crowd.hold()
        await call.answer(f"{'0' * 64}  -\n" if call.words[0] == "sha256sum" else "")

    async with login_node.running({"squeue": late, "sha256sum": late}, files=tmp_path) as running:
        yield running


async def test_looks_copies_and_digests_share_two_connections_and_leave_sessions_free(
    busy: LoginNode, tmp_path: Path
) -> None:
    (tmp_path / "log").write_bytes(b"x" * 100)
    large = b"x" * (LARGE + 1)
    door = busy.door()
    try:
        await asyncio.gather(
            *(door.find() for _ in range(12)),
            *(door.digest("/log") for _ in range(3)),
            *(door.read("/log", 0, 10) for _ in range(12)),
            *(door.append(f"/{number}", 0, large) for number in range(4)),
        )
    finally:
        await door.close()

    assert busy.connections == 2
    assert busy.most_sessions == sessions.CHANNELS + 1 + 1, "commands, a long one, and SFTP's"
    assert busy.most_sessions + sessions.HUNG_SESSIONS - 1 <= MAX_SESSIONS, "even where SFTP hangs"


@pytest.mark.parametrize("most", range(1, 11))
async def test_no_connection_has_more_sessions_than_the_site_lets_it_have(most: int, tmp_path: Path) -> None:
    bound = sessions.Sessions(most)
    crowd = Crowded(bound.commands + bound.long)

    async def late(call: Call) -> None:
        await crowd.hold()
        await call.answer(f"{'0' * 64}  -\n" if call.words[0] == "sha256sum" else "")

    (tmp_path / "log").write_bytes(b"x" * 100)
    async with login_node.running({"squeue": late, "sha256sum": late}, files=tmp_path) as node:
        door = node.door(sessions=bound)
        try:
            digests = [asyncio.create_task(door.digest("/log")) for _ in range(3)]
            await asyncio.gather(
                *digests,
                *(door.find() for _ in range(12)),
                *(door.read("/log", 0, 10) for _ in range(12)),
                door.append("/large", 0, b"x" * (LARGE + 1)),
            )
        finally:
            await door.close()

    assert node.connections == 2
    assert node.most_sessions <= most
    assert node.most_sessions + bound.hung - 1 <= most, "even where SFTP hangs"
    assert all(each.result() for each in digests) is (most > 2), "others don't wait behind a digest for half an hour"


async def test_a_session_that_is_refused_is_asked_for_ever_later_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    async def refuse(*_: object, **__: object) -> None:
        asked.append(asyncio.get_running_loop().time())
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")

    async def none(call: Call) -> None:
        await call.answer()

    monkeypatch.setattr(connection, "OPEN_SECONDS", 3.1)
    monkeypatch.setattr(connection, "REOPEN_MOST_SECONDS", 0.5)
    async with login_node.running({"squeue": none, "scancel": none}, files=tmp_path) as node:
        door = node.door()
        try:
            await door.probe()
            monkeypatch.setattr(asyncssh.SSHClientConnection, "create_process", refuse)
            with metered() as meter, pytest.raises(PasserelleError, match="did not answer in time"):
                await door.cancel("1")
        finally:
            await door.close()

    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses[:3] == pytest.approx([0.2, 0.4, 0.5], abs=0.1)
    assert meter.calls == len(asked) <= 8


async def test_logins_commands_and_files_count_each(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x")

    async def none(call: Call) -> None:
        await call.answer()

    async def lost(call: Call) -> None:
        call.cut()

    courtesy = Courtesy(asyncio.get_running_loop().time, calls_per_hour=1000)
    async with login_node.running({"squeue": none, "scancel": lost}, files=tmp_path) as node:
        inside = node.door()
        door = courteous(inside, courtesy)
        try:
            await door.probe()
            assert courtesy.budget.spent(Purpose.LOOK) == 2, "a login and scontrol"
            await door.find()
            assert courtesy.budget.spent(Purpose.LOOK) == 3
            await inside.read("/log", 0, 1)
            assert courtesy.budget.spent() == 3, "nobody counts what does not pass through"
            await door.read("/log", 0, 1)  # type: ignore[attr-defined]  # it has files, as the one inside
            assert courtesy.budget.spent(Purpose.FILES) == 1
            with pytest.raises(PasserelleError):
                await door.cancel("1")
            assert courtesy.budget.spent(Purpose.END) >= 1, "it was sent, and nobody answered"
        finally:
            await door.close()


async def test_a_login_that_is_refused_counts(tmp_path: Path) -> None:
    courtesy = Courtesy(asyncio.get_running_loop().time, calls_per_hour=1000)
    async with login_node.running(files=tmp_path) as node:
        stranger = node.credential(private_key=STRANGERS_KEY.export_private_key("openssh").decode())
        door = courteous(node.door(stranger), courtesy)
        for _ in range(3):
            with pytest.raises(PasserelleError):
                await door.probe()
        await door.close()

    assert courtesy.budget.spent() == 1, "and what is not sent does not: it is left alone for minutes"

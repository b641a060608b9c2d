"""Large files over SFTP, against a login node in this process that serves a directory of this machine."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from passerelle.errors import Missing, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import SIZE_DIFFERS, TOO_MANY_ENTRIES, Entry
from passerelle.gateways.ssh import commands, connection, driver, transfer
from passerelle.gateways.ssh.driver import Ssh
from unit.gateways import login_node
from unit.gateways.login_node import Call, LoginNode

CONTENT = bytes(range(256)) * 20_000
"""More than one request takes."""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[LoginNode]:
    async with login_node.running(files=tmp_path) as running:
        yield running


async def test_a_file_grows_where_its_size_is_as_told(door: Ssh, tmp_path: Path) -> None:
    await door.append("/a", 0, CONTENT)
    await door.append("/a", len(CONTENT), b"")
    await door.append("/a", len(CONTENT), CONTENT)

    assert (tmp_path / "a").read_bytes() == CONTENT * 2
    for wrong in (0, len(CONTENT), 3 * len(CONTENT)):
        with pytest.raises(Rejected, match=f"has {2 * len(CONTENT)} bytes") as caught:
            await door.append("/a", wrong, b"x")
        assert caught.value.reason == SIZE_DIFFERS
    assert (tmp_path / "a").read_bytes() == CONTENT * 2


async def test_a_part_behind_the_beginning_makes_no_file(door: Ssh, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        await door.append("/a", 5, b"x")

    assert caught.value.reason == SIZE_DIFFERS
    assert os.listdir(tmp_path) == []  # noqa: PTH208 -- a look at what is left
    with pytest.raises(Rejected, match="no directory"):
        await door.append("/nowhere/a", 0, b"x")


async def test_a_file_of_no_bytes_is_made(door: Ssh, tmp_path: Path) -> None:
    await door.append("/a", 0, b"")

    assert (tmp_path / "a").read_bytes() == b""


async def test_behind_a_request_that_is_refused_nothing_is_left(
    door: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a moment would leave a hole, in a file that looks as if it had been written."""
    real = asyncssh.SFTPServer.write
    calls = -1

    def full_once(self: asyncssh.SFTPServer, file: object, offset: int, data: bytes) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(28, "No space left on device")
        return real(self, file, offset, data)

    monkeypatch.setattr(asyncssh.SFTPServer, "write", full_once)
    await door.append("/a", 0, b"begun")
    calls = 0
    with pytest.raises(Rejected, match="quota may be full") as caught:
        await door.append("/a", 5, CONTENT)

    assert caught.value.transient
    assert calls == 2, "the other request was on its way, and was taken"
    assert (tmp_path / "a").read_bytes() == b"begun"


async def test_a_connection_that_breaks_leaves_a_beginning(
    node: LoginNode, door: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = asyncssh.SFTPServer.write
    broken = False

    def breaking(self: asyncssh.SFTPServer, file: object, offset: int, data: bytes) -> object:
        nonlocal broken
        if offset > len(CONTENT) // 2 and not broken:
            broken = True
            self.channel.get_connection().abort()
        return real(self, file, offset, data)

    monkeypatch.setattr(asyncssh.SFTPServer, "write", breaking)
    with pytest.raises(Unavailable):
        await door.append("/a", 0, CONTENT)
    monkeypatch.setattr("passerelle.gateways.ssh.pauses.FAILED_FIRST", 0.0)
    await asyncio.sleep(0.1)
    begun = (tmp_path / "a").read_bytes()
    assert begun
    assert CONTENT.startswith(begun)


async def test_parts_have_a_connection_for_themselves_while_there_are_any(
    node: LoginNode, door: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.2)
    await door.write("/small", b"x")
    assert node.connections == 1
    await asyncio.gather(door.append("/a", 0, CONTENT), door.read("/small", 0, 100), door.probe())
    assert await door.read("/a", 0, len(CONTENT)) == CONTENT
    assert node.connections == 2
    parts = door._bulk._link
    assert parts is not None
    assert parts.connection.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
    assert parts.connection.get_extra_info("send_compression") == "none"

    await asyncio.wait_for(parts.connection.wait_closed(), 10)
    await door.append("/a", len(CONTENT), CONTENT)
    assert node.connections == 3


async def test_a_credential_that_was_refused_is_not_shown_for_parts_either(tmp_path: Path) -> None:
    async with login_node.running(files=tmp_path) as node:
        door = node.door()
        node.trusted.clear()
        for call in (door.probe(), door.append("/a", 0, CONTENT), door.read("/a", 0, len(CONTENT))):
            with pytest.raises(Unauthorized, match="refused the key"):
                await call
        await door.close()

    assert node.refused == 1


async def test_a_directory_is_listed(door: Ssh, tmp_path: Path) -> None:
    place = tmp_path / "set é"
    (place / "sub").mkdir(parents=True)
    (place / "a b").write_bytes(b"123")
    (place / "to file").symlink_to("a b")
    (place / "to sub").symlink_to("sub")
    (place / "to nowhere").symlink_to("nothing")
    (place / "to itself").symlink_to("to itself")
    os.mkfifo(place / "pipe")

    assert await door.entries("/set é") == [
        Entry(name="a b", size=3, is_directory=False),
        Entry(name="sub", size=0, is_directory=True),
        Entry(name="to file", size=3, is_directory=False),
        Entry(name="to itself", size=0, is_directory=False, broken="a link that leads round in a circle"),
        Entry(name="to nowhere", size=0, is_directory=False, broken="a link that leads nowhere"),
        Entry(name="to sub", size=0, is_directory=True),
    ]
    assert await door.entries("/set é/sub/") == []
    assert await door.entries("/set é/a b") is None
    assert await door.entries("/nowhere") is None
    (place / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(Rejected, match=r"no UTF-8: \\xff; rename it"):
        await door.entries("/set é")


async def test_no_more_of_a_directory_is_read_than_is_told(
    door: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MOST_ENTRIES", 300)
    for number in range(300):
        (tmp_path / f"{number}").touch()
    assert len(await door.entries("/") or ()) == 300
    for number in range(300, 3000):
        (tmp_path / f"{number}").touch()
    read = 0
    real = asyncssh.SFTPClient.scandir

    async def counted(self: asyncssh.SFTPClient, place: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        nonlocal read
        async for each in real(self, place):
            read += 1
            yield each

    monkeypatch.setattr(asyncssh.SFTPClient, "scandir", counted)
    with pytest.raises(Rejected, match="more than 300 files; pack them") as told:
        await door.entries("/")
    assert (told.value.reason, read) == (TOO_MANY_ENTRIES, 303)
    assert await door.size("/0") == 0, "the session goes on"


async def test_a_file_gets_another_name_and_goes(door: Ssh, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "dir").mkdir()

    await door.rename("/new", "/old")
    assert (tmp_path / "old").read_bytes() == b"new"
    with pytest.raises(Missing, match="/new"):
        await door.rename("/new", "/old")
    for target in ("/dir", "/nowhere/old"):
        with pytest.raises(Rejected):
            await door.rename("/old", target)
    with pytest.raises(Rejected):
        await door.remove("/dir")
    await door.remove("/old")
    await door.remove("/old")
    await door.remove("/nowhere/old")
    assert os.listdir(tmp_path) == ["dir"]  # noqa: PTH208 -- a look at what is left


@pytest.mark.parametrize(
    "printed, status, outcome",
    [
        (f"{hashlib.sha256(b'').hexdigest()}  -\n", 0, hashlib.sha256(b"").hexdigest()),
        ("", commands.NOT_FOUND, None),
        ("", commands.TOO_LARGE, None),
        ("", commands.NO_FILE, Missing),
        ("", 1, Unavailable),
        ("0123  -\n", 0, Unavailable),
    ],
    ids=["digest", "no sha256sum", "too large", "no file", "unreadable", "garbage"],
)
async def test_the_login_node_makes_the_digest(
    node: LoginNode, door: Ssh, printed: str, status: int, outcome: str | type[Exception] | None
) -> None:
    async def sha256sum(call: Call) -> None:
        await call.answer(printed, status=status)

    node.commands["sha256sum"] = sha256sum
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            await door.digest("/it's a file")
    else:
        assert await door.digest("/it's a file") == outcome
    assert node.inputs == [b"/it's a file"]


def ending(call: Call, how: int | str) -> None:
    """As a login node's rules do it: by a signal, or by an exit code that a shell makes of one."""
    if isinstance(how, str):
        call.process.channel.exit_with_signal(how)
    else:
        call.end(status=how)


@pytest.mark.parametrize("how", ["KILL", "XCPU", 124, 137, 143, 152])
async def test_a_digest_that_the_site_ends_is_not_begun_again_for_a_day(
    node: LoginNode, door: Ssh, how: int | str, caplog: pytest.LogCaptureFixture
) -> None:
    begun = 0

    async def killed(call: Call) -> None:
        nonlocal begun
        begun += 1
        call.greet()
        await call.process.stdin.read()
        ending(call, how)

    node.commands["sha256sum"] = killed
    waiting = [asyncio.create_task(door.digest(f"/{number}")) for number in range(5)]

    assert await asyncio.gather(*waiting) == [None] * 5
    assert await door.digest("/again") is None
    assert begun == 1
    assert [each.getMessage() for each in caplog.records if each.name == "passerelle.ssh"] == [
        "the site ends sha256sum: files are compared without it for a day"
    ]
    assert driver.DIGESTS_AGAIN_SECONDS >= 3600
    door._digests_again -= driver.DIGESTS_AGAIN_SECONDS
    assert await door.digest("/a day later") is None
    assert begun == 2


async def test_a_digest_that_not_even_timeout_ends_counts_as_ended(
    node: LoginNode, door: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "DIGEST_SECONDS", 0.05)
    monkeypatch.setattr(driver, "MARGIN_SECONDS", 0.05)
    stuck, begun = asyncio.Event(), 0

    async def hangs(call: Call) -> None:
        nonlocal begun
        begun += 1
        call.greet()
        await stuck.wait()

    node.commands["sha256sum"] = hangs
    assert [await door.digest("/a"), await door.digest("/a")] == [None, None]
    assert begun == 1
    stuck.set()


async def test_a_connection_that_breaks_in_a_digest_says_nothing_of_the_site(node: LoginNode, door: Ssh) -> None:
    async def cut(call: Call) -> None:
        call.greet()
        call.cut()

    node.commands["sha256sum"] = cut
    for _ in range(2):
        with pytest.raises(Unavailable):  # and not None
            await door.digest("/a")


async def test_no_other_command_waits_behind_a_digest(node: LoginNode, door: Ssh) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        begun.set()
        await go_on.wait()
        await call.answer(f"{'0' * 64}  -\n")

    node.commands["sha256sum"] = slow
    digests = [asyncio.create_task(door.digest(f"/{number}")) for number in range(20)]
    await begun.wait()
    await door.probe()
    go_on.set()

    assert set(await asyncio.gather(*digests)) == {"0" * 64}

"""The driver against a login node that misbehaves: what is told of a submit, and how often the node is troubled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from passerelle.errors import Missing, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import DAY_SECONDS, Accounting, Files, Gateway, Signals, Transfer, Upload
from passerelle.gateways.meter import metered
from passerelle.gateways.ssh import commands, connection, files, login, sessions
from passerelle.gateways.ssh.driver import Ssh
from unit.gateways import login_node
from unit.gateways.login_node import AUTHORITY, STRANGERS_KEY, USER_KEY, Call, LoginNode
from unit.gateways.scripted_server import BATCH

REFUSAL = "sbatch: error: Batch job submission failed: Invalid qos specification\n"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[LoginNode]:
    async def nothing(call: Call) -> None:
        await call.answer()

    async def accept(call: Call) -> None:
        await call.answer("4711\n")

    async with login_node.running(
        {"sbatch": accept, "squeue": nothing, "sacct": nothing, "scancel": nothing}, files=tmp_path
    ) as running:
        yield running


@contextlib.asynccontextmanager
async def opened(made: Ssh) -> AsyncIterator[Ssh]:
    try:
        yield made
    finally:
        await made.close()


async def doubt(door: Ssh) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await door.submit(BATCH)
    return caught.value


def test_it_has_every_capability() -> None:
    made = Ssh("ssh://login.example.eu", lambda: LoginNode({}).credential())

    assert isinstance(made, Gateway)
    assert isinstance(made, Accounting)
    assert isinstance(made, Files)
    assert isinstance(made, Upload)
    assert isinstance(made, Transfer)
    assert isinstance(made, Signals)


async def test_one_connection_carries_everything(node: LoginNode, door: Ssh) -> None:
    asked = asyncio.gather(*(door.states(["1"]) for _ in range(20)), door.submit(BATCH))
    probe = await door.probe()
    await asked

    assert (probe.identity.cluster, probe.identity.user, probe.version) == ("site", "ada", "24.11.5")
    assert node.connections == 1


async def test_what_came_is_measured(node: LoginNode, door: Ssh) -> None:
    with metered() as meter:
        await door.probe()

    assert (meter.responses, meter.received) == (1, len(login_node.WHO))


async def test_a_login_shell_may_greet(node: LoginNode, door: Ssh) -> None:
    async def greet(call: Call) -> None:
        call.process.stdout.write(b"Welcome!\n4712\n\xff")
        await call.answer("4711\n")

    node.commands["sbatch"] = greet

    assert await door.submit(BATCH) == "4711"


async def test_a_command_may_end_before_it_is_given_its_input(node: LoginNode, door: Ssh) -> None:
    async def at_once(call: Call) -> None:
        call.greet()
        call.end(login_node.WHO)

    async def unread(call: Call) -> None:
        call.greet()
        call.end(stderr=REFUSAL, status=1)

    node.commands |= {"scontrol": at_once, "sbatch": unread}

    assert (await door.probe()).identity.user == "ada"
    with pytest.raises(Rejected):
        await door.submit(BATCH)


async def test_the_script_is_sent_once_and_whole(node: LoginNode, door: Ssh) -> None:
    await door.submit(BATCH)

    (given,) = node.inputs
    assert given.decode().startswith(commands.script(BATCH))
    assert node.called == [["sbatch", "--parsable", "--ignore-pbs", "--export=ALL", "--propagate=NONE"]]


async def test_a_connection_cut_after_the_script_leaves_doubt_and_is_not_tried_again(
    node: LoginNode, door: Ssh
) -> None:
    async def cut(call: Call) -> None:
        call.greet()
        await call.process.stdin.read()
        call.cut()

    node.commands["sbatch"] = cut

    assert (await doubt(door)).sent
    assert len(node.called) == 1


async def test_a_connection_cut_before_the_script_leaves_none(node: LoginNode, door: Ssh) -> None:
    async def cut(call: Call) -> None:
        call.cut()

    node.commands["sbatch"] = cut

    assert not (await doubt(door)).sent


async def test_a_shell_that_hangs_before_it_starts_us_leaves_none(
    node: LoginNode, door: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(call: Call) -> None:
        await call.process.stdin.read()

    node.commands["sbatch"] = hang
    monkeypatch.setattr(connection, "MARK_SECONDS", 0.3)

    error = await doubt(door)
    assert (error.sent, error.reason) == (False, "Unreachable")


async def test_a_submit_that_hangs_leaves_doubt(node: LoginNode, door: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()

    async def hang(call: Call) -> None:
        call.greet()
        await call.process.stdin.read()
        await over.wait()

    node.commands["sbatch"] = hang
    monkeypatch.setattr(commands, "SUBMIT_SECONDS", 0.3)
    monkeypatch.setattr("passerelle.gateways.ssh.driver.MARGIN_SECONDS", 0.0)

    assert (await doubt(door)).sent
    over.set()


@pytest.mark.parametrize("stdout", ["", "Submitted batch job 7\n", "7\n8\n", "0\n"])
async def test_a_good_end_without_an_id_leaves_doubt(node: LoginNode, door: Ssh, stdout: str) -> None:
    async def odd(call: Call) -> None:
        await call.answer(stdout)

    node.commands["sbatch"] = odd

    error = await doubt(door)
    assert (error.sent, error.reason) == (True, "UnexpectedAnswer")


async def test_a_refusal_is_one(node: LoginNode, door: Ssh) -> None:
    async def refuse(call: Call) -> None:
        await call.answer(stderr=REFUSAL, status=1)

    node.commands["sbatch"] = refuse

    with pytest.raises(Rejected) as caught:
        await door.submit(BATCH)
    assert caught.value.reason == "InvalidQos"


async def test_an_account_without_a_shell_is_told_in_its_own_words(node: LoginNode, door: Ssh) -> None:
    async def no_shell(call: Call) -> None:
        call.end("This account is currently not available.\n", status=1)

    node.commands["sbatch"] = no_shell

    error = await doubt(door)
    assert (error.sent, error.reason) == (False, "UnexpectedAnswer")
    assert "This account is currently not available." in error.message


async def test_how_a_login_shell_ended_may_be_told_late(node: LoginNode, door: Ssh) -> None:
    async def leaves(call: Call) -> None:
        call.process.channel.write_eof()
        await asyncio.sleep(0.2)
        call.process.exit(0)

    node.commands["sbatch"] = leaves

    error = await doubt(door)
    assert (error.sent, error.reason) == (False, "UnexpectedAnswer")


async def test_a_shell_that_never_stops_greeting(node: LoginNode, door: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(call: Call) -> None:
        call.process.stdout.write(b"x" * 5_000)
        await call.process.stdin.read()

    node.commands["sbatch"] = talk
    monkeypatch.setattr(connection, "GREETING_LIMIT", 1_000)

    error = await doubt(door)
    assert (error.sent, error.reason) == (False, "UnexpectedAnswer")


async def test_an_answer_has_an_end(node: LoginNode, door: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flood(call: Call) -> None:
        call.greet()
        with contextlib.suppress(OSError):
            for _ in range(100):
                call.process.stdout.write(b"x" * 10_000)
                await call.process.stdout.drain()

    node.commands["squeue"] = flood
    await door.probe()
    monkeypatch.setattr(connection, "STDOUT_LIMIT", 100_000)

    with pytest.raises(Unavailable) as caught:
        await door.find()
    assert caught.value.reason == "AnswerTooLarge"
    assert (await door.probe()).version, "the connection serves on"


async def test_a_read_is_tried_again_where_a_steady_connection_had_broken(
    node: LoginNode, door: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("passerelle.gateways.ssh.pauses.STEADY_SECONDS", 0.0)
    cuts = [True]

    async def cut_once(call: Call) -> None:
        if cuts:
            cuts.pop()
            call.cut()
        else:
            await call.answer(login_node.WHO)

    node.commands["scontrol"] = cut_once

    assert (await door.probe()).identity.user == "ada"
    assert node.connections == 2


async def test_a_node_that_cuts_every_connection_is_left_alone(node: LoginNode, door: Ssh) -> None:
    async def cut(call: Call) -> None:
        call.cut()

    node.commands["scontrol"] = cut

    for number in range(5):
        with pytest.raises(Unavailable) as caught:
            await door.probe()
        assert number == 0 or (caught.value.retry_after and not caught.value.sent)
    assert node.connections == 1


async def test_a_refused_key_is_shown_once(node: LoginNode) -> None:
    stranger = node.credential(private_key=STRANGERS_KEY.export_private_key("openssh").decode())
    async with opened(node.door(stranger)) as door:
        for ask in (door.probe, door.find, lambda: door.submit(BATCH), lambda: door.size("/x")):
            with pytest.raises(Unauthorized, match="refused the key of ada") as caught:
                await ask()
            assert caught.value.reason == "LoginRefused"
    assert (node.connections, node.refused) == (1, 1)


async def test_a_new_secret_is_tried_at_once(node: LoginNode) -> None:
    given = [node.credential(private_key=STRANGERS_KEY.export_private_key("openssh").decode())]
    async with opened(Ssh(f"ssh://127.0.0.1:{node.port}", lambda: given[0])) as door:
        with pytest.raises(Unauthorized):
            await door.probe()
        given[0] = node.credential()

        assert (await door.probe()).identity.user == "ada"


async def test_a_door_that_is_closed_while_it_opens_leaves_nothing_open(
    node: LoginNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, connections = node.door(), []

    async def slow(*arguments: Any, **more: Any) -> Any:
        made = await login.log_in(*arguments, **more)
        connections.append(made[0])
        await opening.close()
        return made

    monkeypatch.setattr(connection, "log_in", slow)

    assert not (await doubt(opening)).sent
    await connections[0].wait_closed()


async def test_a_renewed_credential_leaves_commands_in_hand_alone(node: LoginNode) -> None:
    started, over = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        call.greet()
        await call.process.stdin.read()
        started.set()
        await over.wait()
        call.end("4711\n")

    node.commands["sbatch"] = slow
    given = [node.credential()]
    async with opened(Ssh(f"ssh://127.0.0.1:{node.port}", lambda: given[0])) as door:
        submit = asyncio.create_task(door.submit(BATCH))
        await started.wait()
        given[0] = node.credential(passphrase="new")
        await door.probe()
        over.set()

        assert await submit == "4711"
    assert node.connections == 2


async def test_another_host_key_is_not_spoken_to(node: LoginNode) -> None:
    other = f"[127.0.0.1]:{node.port} {STRANGERS_KEY.export_public_key().decode()}"
    async with opened(node.door(node.credential(known_hosts=other))) as door:
        for _ in range(3):
            with pytest.raises(Unauthorized, match="another host key") as caught:
                await door.submit(BATCH)
            assert caught.value.reason == "HostKeyChanged"
    assert (node.connections, node.called) == (1, [])


async def test_an_expired_certificate_costs_no_connection(node: LoginNode) -> None:
    expired = node.credential(expires=time.time() - 1.0)
    async with opened(node.door(expired)) as door:
        with pytest.raises(Unauthorized) as caught:
            await door.probe()

    assert caught.value.reason == "CertificateExpired"
    assert node.connections == 0


async def test_a_standing_connection_ends_with_its_certificate(node: LoginNode) -> None:
    """A login that outlives its certificate would be one that the site no longer grants."""
    now = [1_000.0]
    async with opened(node.door(node.credential(expires=2_000.0), now=lambda: now[0])) as door:
        await door.probe()
        now[0] = 2_000.0

        with pytest.raises(Unauthorized):
            await door.submit(BATCH)
        assert not door._connection.stands
    assert node.called == [["scontrol", "show", "config"]]


async def test_a_certificate_lets_in_without_the_bare_key_being_shown(node: LoginNode) -> None:
    node.trusted.clear()
    made = AUTHORITY.generate_user_certificate(USER_KEY, "id", principals=["ada"])
    certified = node.credential(certificate=made.export_certificate().decode())
    async with opened(node.door(certified)) as door:
        assert (await door.probe()).identity.user == "ada"

    assert node.refused == 0


async def test_a_certificate_that_is_refused_costs_one_try(node: LoginNode) -> None:
    made = STRANGERS_KEY.generate_user_certificate(USER_KEY, "id", principals=["ada"])
    certified = node.credential(certificate=made.export_certificate().decode())
    async with opened(node.door(certified)) as door:
        with pytest.raises(Unauthorized, match="refused the certificate of ada"):
            await door.probe()

    assert node.refused == 0, "the bare key, which this node would take, was not shown"


async def test_a_host_on_the_way(node: LoginNode) -> None:
    """The scripted node forwards nothing: its refusal shows that the way leads through it."""
    async with opened(node.door(jump=f"ssh://127.0.0.1:{node.port}")) as door:
        with pytest.raises(Unavailable, match="the host on the way opens no connection") as caught:
            await door.submit(BATCH)

    assert not caught.value.sent


async def test_nobody_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    gone = LoginNode({}, port=port)
    async with opened(gone.door()) as door:
        for _ in range(2):
            error = await doubt(door)

            assert (error.sent, error.reason) == (False, "Unreachable")
            assert "the connection was refused" in error.message


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 10_000, b"", b"SSH-1.0-old\r\n"])
async def test_what_listens_speaks_no_ssh(said: bytes) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        wrong = LoginNode({}, port=server.sockets[0].getsockname()[1])
        async with opened(wrong.door()) as door:
            error = await doubt(door)

    assert (error.sent, error.reason) == (False, "Unreachable")


async def test_a_job_that_is_gone_is_no_error(node: LoginNode, door: Ssh) -> None:
    async def gone(call: Call) -> None:
        await call.answer(stderr="slurm_load_jobs error: Invalid job id specified\n", status=1)

    async def ended(call: Call) -> None:
        text = "scancel: error: Kill job error on job id 7: Job/step already completing or completed\n"
        await call.answer(stderr=text, status=1)

    node.commands |= {"squeue": gone, "scancel": ended}

    assert await door.get(["7"]) == []
    await door.cancel("7")
    assert await door.warn("7", "USR1")
    assert node.called[-1] == ["scancel", "--batch", "--signal=USR1", "7"]


@pytest.mark.parametrize(
    "ours, wanted, each", [(1000, 4, True), (1000, 9, False), (199, 4, False), (200, 4, True), (1000, 1, False)]
)
async def test_a_few_of_very_many_jobs_are_read_without_the_others(
    node: LoginNode, door: Ssh, ours: int, wanted: int, each: bool
) -> None:
    """Why four jobs wait is asked every 20 seconds: of four, squeue would have slurmctld send all of ours."""

    async def listing(call: Call) -> None:
        await call.answer("".join(f"{job_id}{call.mark}PENDING{call.mark}\n" for job_id in range(1, ours + 1)))

    async def nothing(call: Call) -> None:
        await call.answer()

    node.commands["squeue"] = listing
    await door.states(["1"])
    node.commands["squeue"] = nothing
    await door.probe()
    node.called.clear()
    assert await door.get([str(number) for number in range(1, wanted + 1)]) == []

    (called,) = node.called
    ids = ",".join(str(number) for number in range(1, wanted + 1))
    assert called[-1] == (f"--each={ids}" if each else f"--jobs={ids}")


async def test_many_jobs_are_read_with_one_squeue_which_names_none(node: LoginNode, door: Ssh) -> None:
    """Asked for several, it has all of ours sent anyway: pieces would have them sent again and again."""

    async def nothing(call: Call) -> None:
        await call.answer()

    node.commands["squeue"] = nothing
    await door.probe()
    node.called.clear()
    assert await door.get([str(number) for number in range(1, 1201)]) == []

    (called,) = node.called
    assert called[0] == "squeue"
    assert not any(word.startswith(("--jobs", "--each")) for word in called)


async def test_a_search_by_name_goes_back_as_far_as_asked_and_one_that_is_too_wide_is_made_of_narrower_ones(
    node: LoginNode, door: Ssh
) -> None:
    wide = "sacct: error: Problem with job query: Too wide of a date range in query\n"
    most = 3

    async def sacct(call: Call) -> None:
        told = {word.split("=")[0]: word.split("=")[1] for word in call.words if "=" in word}
        start, end = told.get("--starttime"), told.get("--endtime", "now")
        until = datetime.now(UTC).date() if end == "now" else date.fromisoformat(end)
        if start is not None and (until - date.fromisoformat(start)).days > most:
            await call.answer(stderr=wide, status=1)
        else:
            await call.answer()

    node.commands["sacct"] = sacct
    assert await door.accounted(names=["psr-a-1"], within=20 * DAY_SECONDS) == []
    starts = [word for call in node.called for word in call if word.startswith("--starttime")]
    assert starts[0] == f"--starttime={(datetime.now(UTC).date() - timedelta(days=20)).isoformat()}"
    node.called.clear()
    await door.accounted(names=["psr-a-1"], within=DAY_SECONDS)
    assert sum("--starttime" in " ".join(call) for call in node.called) == 2
    await door.accounted(job_ids=["7"])
    assert "--starttime" not in " ".join(node.called[-1])

    most = -1
    with pytest.raises(Unavailable, match="MaxQueryTimeRange") as caught:
        await door.accounted(names=["psr-a-1"], within=DAY_SECONDS)
    assert caught.value.reason == "QueryTooWide"


@pytest.mark.parametrize("word", ["x;id", "--me", "-uroot"])
async def test_an_id_that_is_no_slurm_id_is_never_asked_for(node: LoginNode, door: Ssh, word: str) -> None:
    await door.probe()

    assert await door.get([word]) == []
    assert await door.accounted(job_ids=[word]) == []
    await door.cancel(word)
    await door.warn(word, "USR1")
    assert node.called == [["scontrol", "show", "config"]]


async def test_a_login_shell_that_greets_sftp_is_named(tmp_path: Path) -> None:
    greeting = b"Welcome to the site!\n"
    async with login_node.running(files=tmp_path, greeting=greeting) as node, opened(node.door()) as door:
        with pytest.raises(Unavailable, match=r"\.bashrc print nothing") as caught:
            await door.size("/log")

    assert caught.value.reason == "FileFailed"


async def test_files(node: LoginNode, door: Ssh, tmp_path: Path) -> None:
    text = "Zeile eins: größer\n日本\n".encode()
    (tmp_path / "log").write_bytes(text)

    assert await door.size("/log") == len(text)
    assert await door.size("/none") is None
    assert await door.size("/") is None
    pieces = [await door.read("/log", start, 5) for start in range(0, len(text) + 5, 5)]
    assert b"".join(pieces) == text
    assert pieces[-1] == b""
    with pytest.raises(Missing, match="/none"):
        await door.read("/none", 0, 5)

    await door.write("/new", b"one", mode=0o640)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    await door.write("/new", b"two", mode=0o600)
    assert (tmp_path / "new").read_bytes() == b"two"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Rejected, match="no directory for /nowhere/new"):
        await door.write("/nowhere/new", b"one")
    await door.make_directory("/a b/é")
    await door.make_directory("/a b/é/")
    assert (tmp_path / "a b" / "é").stat().st_mode & 0o777 == 0o750
    with pytest.raises(Rejected):
        await door.make_directory("/new/below")
    assert set(os.listdir(tmp_path)) == {"log", "new", "a b"}  # noqa: PTH208 -- a look at what is left
    assert node.connections == 1


class Serial:
    """Has SFTP servers do one thing after the other, as OpenSSH's does; opening `/hung`, or a pipe, never ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rooms: dict[object, asyncio.Lock] = {}
        for name in ("open", "stat"):
            monkeypatch.setattr(asyncssh.SFTPServer, name, self._one_by_one(getattr(asyncssh.SFTPServer, name)))

    def _one_by_one(self, done: Callable[..., Any]) -> Callable[..., Any]:
        async def act(server: asyncssh.SFTPServer, path: bytes, *more: Any) -> Any:
            async with self.rooms.setdefault(server, asyncio.Lock()):
                found = Path(os.fsdecode(server.map_path(path)))
                if more and (found.name == "hung" or stat.S_ISFIFO(os.stat(found).st_mode)):  # noqa: PTH116 -- likewise
                    await asyncio.sleep(3600)
                return done(server, path, *more)

        return act


async def test_only_what_is_a_file_is_opened(door: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Serial(monkeypatch)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "pipe-link").symlink_to("pipe")

    async with asyncio.timeout(5):
        for name in ("/pipe", "/directory", "/pipe-link"):
            with pytest.raises(Missing, match="no regular file"):
                await door.read(name, 0, 9)
        assert await door.read("/file", 0, 9) == await door.read("/link", 0, 9) == b"text"


async def test_a_session_that_hangs_is_used_by_nobody_new(
    node: LoginNode, door: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = Serial(monkeypatch)
    (tmp_path / "hung").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"text")
    for given_up in range(1, sessions.HUNG_SESSIONS + 1):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await door.read("/hung", 0, 9)
        async with asyncio.timeout(5):
            assert await door.read("/file", 0, 9) == b"text"
        assert len(serial.rooms) == given_up + 1

    assert node.connections == 2, "sshd counts those that hang, so that no command would start any more"


async def test_where_few_sessions_may_be_open_one_that_hangs_ends_its_connection(
    node: LoginNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Serial(monkeypatch)
    (tmp_path / "hung").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"text")
    async with opened(node.door(sessions=sessions.Sessions(4))) as door:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await door.read("/hung", 0, 9)
        async with asyncio.timeout(5):
            assert await door.read("/file", 0, 9) == b"text"

    assert (node.connections, node.most_sessions) == (2, 1)


async def test_a_write_that_hangs_ends_all_the_same(door: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(files, "SFTP_SECONDS", 0.3)
    monkeypatch.setattr(files, "TIDY_SECONDS", 0.3)
    for name in ("setstat", "remove"):
        monkeypatch.setattr(asyncssh.SFTPServer, name, hang)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="did not answer in time"):
            await door.write("/new", b"one")
    assert not (tmp_path / "new").exists()

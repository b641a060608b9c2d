"""A login node in this process that speaks real SSH, and whose commands answer from a script."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from passerelle.gateways.ssh.credential import SshCredential
from passerelle.gateways.ssh.driver import Ssh

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
USER_KEY = asyncssh.generate_private_key("ssh-ed25519")
STRANGERS_KEY = asyncssh.generate_private_key("ssh-ed25519")
AUTHORITY = asyncssh.generate_private_key("ssh-ed25519")

WHO = "ada\n1000\nClusterName = site\nSLURM_VERSION = 24.11.5\n"

Process = asyncssh.SSHServerProcess[bytes]


@dataclass
class Call:
    """One command, as the login node sees it."""

    process: Process
    mark: str
    words: list[str]
    node: LoginNode

    async def answer(self, stdout: str = "", stderr: str = "", status: int = 0) -> None:
        """The mark; then, the input read to its end, what the command prints."""
        self.greet()
        self.node.inputs.append(await self.process.stdin.read())
        self.end(stdout, stderr, status)

    def greet(self) -> None:
        self.process.stdout.write(f"{self.mark}\n".encode())

    def end(self, stdout: str = "", stderr: str = "", status: int = 0) -> None:
        self.process.stdout.write(stdout.encode())
        self.process.stderr.write(stderr.encode())
        self.process.exit(status)

    def cut(self) -> None:
        """The connection is gone, in the middle of it."""
        self.process.channel.get_connection().abort()


Behaviour = Callable[[Call], Awaitable[None]]


@dataclass
class LoginNode:
    """`commands` maps a command's name to what it does; `trusted` are keys that may come in."""

    commands: dict[str, Behaviour]
    trusted: list[asyncssh.SSHKey] = field(default_factory=lambda: [USER_KEY])
    port: int = 0
    connections: int = 0
    refused: int = 0
    cuts: bool = False  # every login, once keys are exchanged, as pam_nologin does
    most_sessions: int = 0  # at one time, on one connection: sshd's MaxSessions
    called: list[list[str]] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    _sessions: Counter[object] = field(default_factory=Counter)  # by the client's port

    async def serve(self, process: Process) -> None:
        client = process.get_extra_info("peername")
        self.opened(client)
        try:
            await self._serve(process)
        finally:
            self._sessions[client] -= 1

    def opened(self, client: object) -> None:
        """A session is open. One of SFTP stays so."""
        self._sessions[client] += 1
        self.most_sessions = max(self.most_sessions, self._sessions[client])

    async def _serve(self, process: Process) -> None:
        words = shlex.split(process.command or "")
        mark = words[4]
        rest = words[6:] if words[5].startswith("end-") else words[5:]
        if rest[0].replace(",", "").isdigit():  # a command for each of these ids
            rest = [*rest[1:], f"--each={rest[0]}"]
        self.called.append(rest)
        await self.commands[rest[0]](Call(process, mark, rest, self))

    def credential(self, **changes: object) -> SshCredential:
        known = f"[127.0.0.1]:{self.port} {HOST_KEY.export_public_key().decode()}"
        given: dict[str, object] = {
            "user": "ada",
            "private_key": USER_KEY.export_private_key("openssh").decode(),
            "known_hosts": known,
        }
        return SshCredential(**{**given, **changes})  # type: ignore[arg-type]  # tests give the fields' own types

    def door(self, credential: SshCredential | None = None, **more: object) -> Ssh:
        given = credential or self.credential()
        return Ssh(f"ssh://127.0.0.1:{self.port}", lambda: given, **more)  # type: ignore[arg-type]  # likewise


class _Server(asyncssh.SSHServer):
    def __init__(self, node: LoginNode) -> None:
        self._node = node

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._node.connections += 1

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 -- its signature
        if self._node.cuts:
            self._connection.abort()
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        taken = username == "ada" and key.public_data in {each.public_data for each in self._node.trusted}
        self._node.refused += not taken
        return taken

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002 -- likewise
        return key.public_data == AUTHORITY.public_data


async def who(call: Call) -> None:
    await call.answer(WHO)


@contextlib.asynccontextmanager
async def running(
    commands: dict[str, Behaviour] | None = None, *, files: Path | None = None, greeting: bytes = b""
) -> AsyncIterator[LoginNode]:
    """A login node that listens on loopback; `files` is what SFTP shows as its root."""
    node = LoginNode({"scontrol": who, **(commands or {})})

    def sftp(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        node.opened(channel.get_extra_info("peername"))
        channel.write(greeting)
        return asyncssh.SFTPServer(channel, chroot=str(files).encode())

    async with asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: _Server(node),
        server_host_keys=[HOST_KEY],
        process_factory=node.serve,
        encoding=None,
        sftp_factory=sftp if files else None,
    ) as listener:
        node.port = listener.get_port()
        yield node
    await asyncio.sleep(0)

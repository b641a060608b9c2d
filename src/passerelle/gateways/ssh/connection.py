"""The one connection to a login node, and the one table from what SSH can suffer to our errors.

It carries commands and judges nothing but whether what was sent can have had an effect: our program prints a mark and
then waits for its input, so all that fails before the first byte of the input is written is `Unavailable(sent=False)`,
whatever comes after it `Unavailable(sent=True)`. Every try at a connection is one that the
`node` allows, and one at a time. A changed credential gets a new connection; commands in hand end on the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import asyncssh

from passerelle.errors import Unauthorized, Unavailable
from passerelle.gateways import meter
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.ssh.address import Address
from passerelle.gateways.ssh.commands import Command
from passerelle.gateways.ssh.credential import SshCredential
from passerelle.gateways.ssh.errors import Answer
from passerelle.gateways.ssh.login import log_in
from passerelle.gateways.ssh.node import UNREACHABLE, Nodes
from passerelle.gateways.ssh.sessions import Sessions
from passerelle.gateways.together import together

OPEN_SECONDS, MARK_SECONDS = 15.0, 30.0
"""Until a session is open, and until the login shell has started our program."""
IDLE_SECONDS = 120.0
"""After which a bulk connection is closed."""
REOPEN_SECONDS, REOPEN_MOST_SECONDS = 0.2, 3.0
"""Before a session is asked for again where sshd has too many, at first and at most: nothing was started, but sshd logs
each time.
"""
STDOUT_LIMIT, STDERR_LIMIT, GREETING_LIMIT = 128 * 1024 * 1024, 64 * 1024, 256 * 1024
"""Bytes: of a listing (5 KiB a job), of complaints, and of what a login shell says before our program starts."""
_PIECE = 64 * 1024


@dataclass(eq=False, slots=True)
class Session:
    """One of SFTP, for as long as somebody uses it. `given_up`: it hangs, or may, and nobody new gets it."""

    client: asyncssh.SFTPClient
    users: int = 0
    given_up: bool = False


@dataclass(eq=False, slots=True)
class Link:
    """A connection that stands, for as long as somebody uses it."""

    connection: asyncssh.SSHClientConnection
    jump: asyncssh.SSHClientConnection | None
    digest: str
    since: float
    sftp: Session | None = None
    hung: int = 0
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    retired: bool = False

    @property
    def usable(self) -> bool:
        return not self.retired and not self.connection.is_closed()

    def close(self) -> None:
        self.connection.close()
        if self.jump is not None:
            self.jump.close()


class Connection:
    """To one login node, as whoever `credentials` returns at that moment.

    A bulk one beside it carries large files, so that no command waits behind them. It is closed when nobody has used it
    for a while.
    """

    def __init__(
        self,
        address: Address,
        credentials: Callable[[], SshCredential],
        *,
        jump: Address | None = None,
        clock: Callable[[], float] | None = None,
        nodes: Nodes | None = None,
        bulk: bool = False,
        caller: Caller = NOBODY,
        sessions: Sessions = Sessions(),  # noqa: B008 -- it is frozen
    ) -> None:
        self._caller = caller
        self.sessions = sessions
        self._address = address
        self._jump = jump
        self._credentials = credentials
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._node = (nodes or Nodes()).at(jump or address)
        self._bulk = bulk
        self._idle: asyncio.TimerHandle | None = None
        self._room = asyncio.Semaphore(sessions.commands)
        self._long_room = asyncio.Semaphore(1)
        self._connecting = asyncio.Lock()
        self._link: Link | None = None
        self._closed = False

    @property
    def stands(self) -> bool:
        return self._link is not None and self._link.usable

    async def run(self, command: Command, seconds: float, *, long: bool = False) -> Answer:
        """Run a command to its end; a long one where no other waits behind it. Raises Unauthorized and Unavailable."""
        async with self._long_room if long else self._room, self.link() as link:
            return await _Run(link, command, str(self._address)).answer(seconds)

    @contextlib.asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """A connection that stands, made where there is none."""
        link = await self._standing()
        link.users += 1
        self._keep()
        try:
            yield link
        finally:
            link.users -= 1
            if self._bulk and link is self._link and not link.users:
                self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._retire)
            if link.retired and not link.users:
                link.close()
            self._notice_loss()

    def give_up(self, link: Link, session: Session) -> None:
        """The next one gets another SFTP session; and another connection, where this one has had too many that hang."""
        session.given_up = True
        if link.sftp is not session:
            return
        link.sftp = None
        link.hung += 1
        if link.hung >= self.sessions.hung and link is self._link:
            self._retire()

    async def close(self) -> None:
        self._closed = True
        self._keep()
        link, self._link = self._link, None
        if link is not None:
            link.close()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                async with asyncio.timeout(OPEN_SECONDS):
                    await link.connection.wait_closed()

    def _keep(self) -> None:
        """Not idle any more."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def _standing(self) -> Link:
        try:
            credential = self._credentials()
        except Unauthorized:
            self._retire()  # what the credential no longer grants is not used either
            raise
        digest = credential.digest
        async with self._connecting:
            self._notice_loss()
            if self._link is not None and self._link.digest == digest:
                return self._link
            self._retire()
            async with self._node.login(str(self._address), digest, credential.user):
                meter.called()
                connection, jump = await log_in(
                    self._address, self._jump, credential, bulk=self._bulk, caller=self._caller
                )
            link = Link(connection, jump, digest, self._clock())
            if self._closed:
                link.close()
                raise Unavailable("The Site's gateway was closed meanwhile.", reason=UNREACHABLE, sent=False)
            self._link = link
            return link

    def _retire(self) -> None:
        """Nobody new gets the connection; it ends with the last of those who use it."""
        link, self._link = self._link, None
        if link is not None:
            link.retired = True
            if not link.users:
                link.close()

    def _notice_loss(self) -> None:
        """Forget a connection that broke, and count how long it held."""
        link = self._link
        if link is not None and not link.usable:
            self._link = None
            error = Unavailable(f"The connection to {self._address} broke.", reason=UNREACHABLE, sent=False)
            pauses = self._node.pauses(str(self._address), link.digest)
            pauses.lost(error, link.digest, self._clock() - link.since)
            link.close()


class _Run:
    """One command on a connection."""

    def __init__(self, link: Link, command: Command, where: str) -> None:
        self._link = link
        self._command = command
        self._where = where
        self._sent = False

    async def answer(self, seconds: float) -> Answer:
        process: asyncssh.SSHClientProcess[bytes] | None = None
        meter.leaving()
        meter.called()
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                process = await self._opened()
            async with asyncio.timeout(MARK_SECONDS):
                rest = await self._greeted(process)
            async with asyncio.timeout(seconds):
                return await self._exchange(process, rest)
        except TimeoutError:
            raise self._lost("did not answer in time") from None
        except (asyncssh.Error, OSError):
            raise self._lost("broke the connection") from None
        finally:
            if process is not None:
                process.close()

    async def _opened(self) -> asyncssh.SSHClientProcess[bytes]:
        pause = REOPEN_SECONDS
        while True:
            try:
                return await self._link.connection.create_process(self._command.line, encoding=None)
            except asyncssh.ChannelOpenError:
                if self._link.connection.is_closed():
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, REOPEN_MOST_SECONDS)
            meter.called()

    async def _greeted(self, process: asyncssh.SSHClientProcess[bytes]) -> bytes:
        """Wait for the mark; what comes before it is the login shell's. Returns what came behind it."""
        mark = f"{self._command.mark}\n".encode()
        heard = b""
        while mark not in heard:
            piece = await process.stdout.read(_PIECE)
            heard += piece
            if not piece:
                said = heard + await process.stderr.read(STDERR_LIMIT)
                await process.wait_closed()  # how it ended comes behind its last word
                raise self._silent(process.exit_status, said)
            if len(heard) > GREETING_LIMIT:
                raise self._unusual("the login shell says more than a greeting")
        return heard.partition(mark)[2]

    async def _exchange(self, process: asyncssh.SSHClientProcess[bytes], rest: bytes) -> Answer:
        if self._command.content:  # else it has begun
            meter.leaving()
        self._sent = True
        with contextlib.suppress(OSError):  # it may have ended without waiting; how, its exit tells
            process.stdin.write(self._command.content)
            process.stdin.write_eof()
        streams = ((process.stdout, rest, STDOUT_LIMIT), (process.stderr, b"", STDERR_LIMIT))
        stdout, stderr = await together(self._bounded(*each) for each in streams)
        await process.wait_closed()
        if process.exit_status is None and process.exit_signal is None:
            raise self._lost("broke the connection")
        meter.answered(len(stdout) + len(stderr))
        status = process.exit_status if process.exit_signal is None else None
        return Answer(status, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))

    async def _bounded(self, stream: asyncssh.SSHReader[bytes], begun: bytes, limit: int) -> bytes:
        content = bytearray(begun)
        while piece := await stream.read(_PIECE):
            content += piece
            if len(content) > limit:
                text = f"The answer of {self._where} is larger than {limit} bytes."
                raise Unavailable(text, reason="AnswerTooLarge", sent=self._sent)
        return bytes(content)

    def _lost(self, what: str) -> Unavailable:
        return Unavailable(f"The login node {self._where} {what}.", reason=UNREACHABLE, sent=self._sent)

    def _silent(self, status: int | None, heard: bytes) -> Unavailable:
        if status is None:
            return self._lost("broke the connection")
        said = " ".join(heard.decode("utf-8", "replace").split())[:200]
        return self._unusual(f"it ran no command of ours{f', and said: {said}' if said else ''}")

    def _unusual(self, what: str) -> Unavailable:
        text = f"The answer of the login node {self._where} is not understood: {what}."
        return Unavailable(text, reason="UnexpectedAnswer", sent=self._sent)

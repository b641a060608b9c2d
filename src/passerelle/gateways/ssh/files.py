"""The site's files over SFTP, one session a connection. Whole or not at all: a file is written beside its place, and
renamed into it.

OpenSSH's server does one thing after the other, and opening a pipe that nobody writes to never ends. So only regular
files are opened, and links to such: the server runs as the site's user, who may read the same without us. A session
in which something was not answered is used by nobody new.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import stat
from collections.abc import AsyncIterator, Callable
from typing import cast

import asyncssh

from passerelle.errors import Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways import meter
from passerelle.gateways.ssh.connection import Connection, Session
from passerelle.gateways.ssh.node import UNREACHABLE

SFTP_SECONDS = 60.0
TIDY_SECONDS = 5.0
"""For removing what a broken write has left."""
DIRECTORY_MODE = 0o750
LARGE = 1024 * 1024
"""Bytes: more of them at once have a connection for themselves."""
SLOWEST = 64 * 1024
"""Bytes a second: what is slower counts as broken."""
NO_FILE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)


Meaning = Callable[[BaseException, str], PasserelleError]


class SshFiles:
    """Files and Upload, on a connection that others use, too."""

    def __init__(self, connection: Connection, bulk: Connection) -> None:
        self._connection = connection
        self._bulk = bulk

    async def size(self, path: str) -> int | None:
        async with self._session(path) as sftp:
            try:
                found = await sftp.stat(path)
            except (*NO_FILE, asyncssh.SFTPPermissionDenied):
                return None
            return found.size if _is_file(found) else None

    async def read(self, path: str, offset: int, length: int) -> bytes:
        async with self._session(path, size=length) as sftp:
            try:
                if not _is_file(await sftp.stat(path)):
                    raise Missing(f"The site's {path} is no regular file.")
                async with holding(await sftp.open(path, "rb")) as file:
                    content = cast("bytes", await file.read(length, offset)) if length else b""
            except asyncssh.SFTPPermissionDenied:
                raise Missing(f"The site has no file {path} that its user may read.") from None
            meter.answered(len(content))
            return content

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        beside = f"{path}.{secrets.token_hex(6)}.new"
        async with self._session(path, refusal) as sftp:
            try:
                opened = await sftp.open(beside, "xb", asyncssh.SFTPAttrs(permissions=0o600))
                async with holding(opened) as file:
                    await file.write(content)
                await sftp.chmod(beside, mode)
                await sftp.posix_rename(beside, path)
            except BaseException:
                with contextlib.suppress(asyncssh.Error, OSError):  # OSError holds TimeoutError
                    async with asyncio.timeout(TIDY_SECONDS):
                        await sftp.remove(beside)
                raise

    async def make_directory(self, path: str) -> None:
        async with self._session(path, refusal) as sftp:
            if not await sftp.isdir(path):
                await sftp.makedirs(path, asyncssh.SFTPAttrs(permissions=DIRECTORY_MODE), exist_ok=True)

    @contextlib.asynccontextmanager
    async def _session(
        self, path: str, meaning: Meaning | None = None, *, size: int = 0
    ) -> AsyncIterator[asyncssh.SFTPClient]:
        """SFTP on a connection that stands, for so many bytes. `meaning` tells its errors where they are not those of a
        read. Raises Missing, Rejected, Unavailable and Unauthorized.
        """
        connection = self._bulk if size > LARGE or not self._connection.sessions.files else self._connection
        try:
            async with connection.link() as link, asyncio.timeout(SFTP_SECONDS + size / SLOWEST):
                meter.called()
                async with link.opening:
                    if link.sftp is None:
                        link.sftp = Session(await link.connection.start_sftp_client())
                    session = link.sftp
                session.users += 1
                try:
                    yield session.client
                except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, TimeoutError, asyncio.CancelledError):
                    connection.give_up(link, session)
                    raise
                finally:
                    session.users -= 1
                    if session.given_up and not session.users:
                        session.client.exit()
        except (asyncssh.Error, OSError) as error:  # OSError holds TimeoutError
            raise (meaning or _meaning)(error, path) from None


@contextlib.asynccontextmanager
async def holding(file: asyncssh.SFTPClientFile) -> AsyncIterator[asyncssh.SFTPClientFile]:
    """An open file, closed in the end. Where an answer did not come it's the session that goes, and the file with it: a
    word more would be waited for without end.
    """
    try:
        yield file
    except (TimeoutError, asyncio.CancelledError):
        raise
    except BaseException:
        with contextlib.suppress(asyncssh.Error, OSError):
            await file.close()
        raise
    await file.close()


def _is_file(found: asyncssh.SFTPAttrs) -> bool:
    return found.permissions is None or stat.S_ISREG(found.permissions)


def refusal(error: BaseException, path: str) -> PasserelleError:
    """As _meaning, of what would change something. SFTP has one word for a full disk and all that has no own word."""
    match error:
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath() | asyncssh.SFTPNotADirectory():
            return Rejected(f"The site has no directory for {path}.", reason="FileRefused")
        case asyncssh.SFTPPermissionDenied():
            text = f"The site's user may not write {path}; make it writable for that user."
            return Rejected(text, reason="FileRefused")
        case asyncssh.SFTPFailure():
            text = f"The site does not let {path} be written: its disk or quota may be full, or a directory be there."
            return Rejected(text, reason="FileRefused", transient=True)
    return _meaning(error, path)


def _meaning(error: BaseException, path: str) -> PasserelleError:
    """Our error for one of SFTP's, by who must act."""
    match error:
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath() | asyncssh.SFTPNotADirectory():
            return Missing(f"The site has no file {path}.")
        case asyncssh.SFTPPermissionDenied():
            return Unavailable(f"The site's user may not read {path}.", reason="FileRefused")
        case asyncssh.SFTPBadMessage():
            text = (
                "The login shell speaks into the transfer of files; have the user's .bashrc print nothing where there "
                "is no terminal."
            )
            return Unavailable(text, reason="FileFailed")
        case asyncssh.SFTPConnectionLost() | asyncssh.SFTPNoConnection():
            return Unavailable("The login node broke the connection.", reason=UNREACHABLE)
        case asyncssh.SFTPError():
            return Unavailable(f"The site's file {path} can't be used: {error.reason}.", reason="FileFailed")
        case asyncssh.ChannelOpenError():
            text = "The login node opens no session for SFTP; ask the site for its subsystem sftp."
            return Unavailable(text, reason="FileFailed")
        case TimeoutError():
            return Unavailable("The login node did not answer in time.", reason=UNREACHABLE)
    return Unavailable("The login node broke the connection.", reason=UNREACHABLE)

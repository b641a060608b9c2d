"""Large files over SFTP: parts are written at their offset, many requests on the way at once.

A part that is written twice is the same part. So a connection that broke leaves a file that can be gone on with: the
server writes in the order of the requests, and what it has is a beginning. Where it refuses one of them, those behind
it are cut off again.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import AsyncGenerator, Sequence
from typing import cast

import asyncssh

from passerelle.errors import Missing, Rejected
from passerelle.gateways.base import MOST_ENTRIES, SIZE_DIFFERS, TOO_MANY_ENTRIES, Entry
from passerelle.gateways.ssh.files import NO_FILE, SshFiles, holding, refusal
from passerelle.gateways.together import in_turn

PART_BYTES = 16 * 1024 * 1024
_AT_ONCE = 64
"""Links that are followed at a time: each is a request."""


class SshTransfer(SshFiles):
    """Files, Upload and what of Transfer SFTP can do, on a connection that others use, too."""

    part_bytes = PART_BYTES

    async def append(self, path: str, offset: int, content: bytes) -> None:
        flags = asyncssh.FXF_WRITE | (0 if offset else asyncssh.FXF_CREAT)
        async with self._session(path, refusal, size=len(content)) as sftp:
            try:
                opened = await sftp.open(path, flags, encoding=None)
            except NO_FILE:
                if offset:
                    raise _differs(path, 0, offset) from None
                raise
            async with holding(opened) as file:
                size = (await file.stat()).size or 0
                if size != offset:
                    raise _differs(path, size, offset)
                try:
                    await file.write(content, offset)
                except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection):
                    raise
                except asyncssh.SFTPError:
                    with contextlib.suppress(asyncssh.Error, OSError):
                        await file.truncate(offset)
                    raise

    async def entries(self, path: str) -> Sequence[Entry] | None:
        async with self._session(path) as sftp:
            found: list[asyncssh.SFTPName] = []
            try:
                listing = cast("AsyncGenerator[asyncssh.SFTPName, None]", sftp.scandir(path.encode()))
                async with contextlib.aclosing(listing) as names:
                    async for each in names:
                        found.append(each)
                        if len(found) > MOST_ENTRIES + 2:  # itself and the one above are in it
                            text = f"{path} has more than {MOST_ENTRIES} files; pack them into fewer, larger files."
                            raise Rejected(text, reason=TOO_MANY_ENTRIES)
            except NO_FILE:
                return None
            told = await in_turn((_entry(sftp, path, each) for each in found), _AT_ONCE)
        return sorted((each for each in told if each is not None), key=lambda each: each.name)

    async def rename(self, old: str, new: str) -> None:
        async with self._session(new, refusal) as sftp:
            try:
                await sftp.posix_rename(old, new)
            except NO_FILE:
                if await sftp.lexists(old):
                    raise
                raise Missing(f"The site has no file {old}.") from None

    async def remove(self, path: str) -> None:
        async with self._session(path, refusal) as sftp:
            with contextlib.suppress(*NO_FILE):
                await sftp.remove(path)


async def _entry(sftp: asyncssh.SFTPClient, path: str, found: asyncssh.SFTPName) -> Entry | None:
    """What a name stands for; None where that is neither a file nor a directory."""
    raw = found.filename if isinstance(found.filename, bytes) else found.filename.encode()
    if raw in (b".", b".."):
        return None
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        text = f"{path} has a file whose name is no UTF-8: {raw.decode('utf-8', 'backslashreplace')}; rename it."
        raise Rejected(text, reason="InvalidPath") from None
    attributes = found.attrs
    if stat.S_ISLNK(attributes.permissions or 0):
        try:
            attributes = await sftp.stat(b"/".join([path.rstrip("/").encode(), raw]))
        except NO_FILE:
            return Entry(name=name, size=0, is_directory=False, broken="a link that leads nowhere")
        except asyncssh.SFTPPermissionDenied:
            return Entry(name=name, size=0, is_directory=False, broken="a link to what the site's user may not see")
        except asyncssh.SFTPFailure:
            return Entry(name=name, size=0, is_directory=False, broken="a link that leads round in a circle")
    kind = attributes.permissions or 0
    if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
        return None
    return Entry(name=name, size=(attributes.size or 0) if stat.S_ISREG(kind) else 0, is_directory=stat.S_ISDIR(kind))


def _differs(path: str, size: int, offset: int) -> Rejected:
    return Rejected(f"{path} has {size} bytes at the site, and not {offset}.", reason=SIZE_DIFFERS)

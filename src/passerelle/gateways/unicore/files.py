"""The site's files, through UNICORE's storages.

A storage is a part of the site's file system; its mount point says which. A path is asked of the storage whose mount
point is the longest beginning of it. Addresses of the server are never followed: only names of storages are read from
them.
"""

from __future__ import annotations

import re
import secrets
from pathlib import PurePosixPath
from urllib.parse import quote

from passerelle.errors import Missing, PasserelleError, Rejected
from passerelle.gateways.unicore import errors
from passerelle.gateways.unicore.calls import BYTES, JSON, Calls

_STORAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STORAGES_AT_MOST = 200
_UNSPEAKABLE = re.compile(r"['\\%\x00-\x1f]")
"""3.0.0 loses a file with a quote in its name, and takes no address with the others."""
DIRECTORY_MODE = 0o750
_NO_BYTES = 406
"""A directory's answer to who asks for bytes."""


class Storages:
    """Files and Upload."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._mounts: dict[str, str] = {}  # mount point without its last slash -> storage
        self._restless: set[str] = set()  # files to which more may be on its way

    async def size(self, path: str) -> int | None:
        storage, inside = await self._place(path)
        found = await self._calls.read(address(storage, inside))
        if found is None or found.get("isDirectory") or not isinstance(found.get("size"), int):
            return None
        return int(found["size"])

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """Never behind the end: 3.0.0 looks for such a place for ever, and has one thread less from then on."""
        size = await self.size(path)
        if size is None:
            raise _missing(path)
        if length <= 0 or offset >= size:
            return b""
        storage, inside = await self._place(path)
        ranged = {"range": f"bytes={offset}-{offset + length - 1}"}
        answer = await self._calls.ask("GET", address(storage, inside), accept=BYTES, more=ranged)
        if answer.status == errors.PARTIAL:
            return answer.body[:length]
        if answer.status == errors.OK:  # a proxy on the way may take the range away
            return answer.body[offset : offset + length]
        if answer.status in errors.NOT_OURS or answer.status == _NO_BYTES:  # it went meanwhile
            await self._calls.who()
            raise _missing(path)
        raise errors.failure(answer, self._calls.held)

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        """In a directory of its own, closed to others, and from there renamed into its place: UNICORE gives a file that
        it writes the permissions of the storage.
        """
        storage, inside = await self._place(path)
        folder = f"{inside.rpartition('/')[0]}/.psr-{secrets.token_hex(8)}"
        beside = f"{folder}/content"
        try:
            await self._make(storage, folder, path)
            await self._change("PUT", address(storage, folder), path, body={"permissions": _permissions(0o700)})
            await self._change("PUT", address(storage, beside), path, content=content)
            await self._change("PUT", address(storage, beside), path, body={"permissions": _permissions(mode)})
            names = {"from": beside, "to": inside}
            await self._change("POST", f"storages/{storage}/actions/rename", path, body=names)
        finally:
            await self._forget(address(storage, folder))

    async def make_directory(self, path: str) -> None:
        """UNICORE makes those above, too, for the user alone: so each gets its permissions by itself."""
        storage, inside = await self._place(path.rstrip("/"))
        steps = [str(each) for each in (*reversed(PurePosixPath(inside).parents), PurePosixPath(inside))][1:]
        missing = [step for step in steps if not await self._is_directory(storage, step, path)]
        for step in missing:
            await self._make(storage, step, path)
            await self._change("PUT", address(storage, step), path, body={"permissions": _permissions(DIRECTORY_MODE)})

    async def _make(self, storage: str, inside: str, path: str) -> None:
        """3.0.0 makes a directory with a blank in its path, and then fails to tell its address."""
        try:
            await self._change("POST", address(storage, inside), path)
        except Rejected:
            if not await self._is_directory(storage, inside, path):
                raise

    async def _is_directory(self, storage: str, inside: str, path: str) -> bool:
        found = await self._calls.read(address(storage, inside))
        if found is not None and not found.get("isDirectory"):
            raise Rejected(f"The site makes no directory {path}: a file is in its way.", reason="NotWritten")
        return found is not None

    async def _change(
        self, method: str, address: str, path: str, *, body: object | None = None, content: bytes | None = None
    ) -> None:
        """One step, not tried again."""
        more = {} if content is None else {"content-type": BYTES}
        accept = JSON if body is not None else "*/*"
        answer = await self._calls.send(method, address, body=body, content=content, more=more, accept=accept)
        told = answer.json() or {}
        done = answer.status in (errors.OK, errors.CREATED, errors.NO_CONTENT)
        if done and str(told.get("permissions", "OK")) == "OK":
            return
        if done or (answer.status == 500 and "errorMessage" in told):  # noqa: PLR2004
            said = errors.said(answer) if not done else str(told["permissions"])
            raise Rejected(f"The site does not let {path} be written: {said}.", reason="NotWritten")
        if answer.status in errors.NOT_OURS:
            await self._calls.who()
            raise Rejected(f"The site does not let {path} be written.", reason="NotWritten")
        raise errors.failure(answer, self._calls.held)

    async def _forget(self, address: str) -> None:
        try:
            await self._calls.send("DELETE", address, accept="*/*")
        except PasserelleError:
            return  # what is left has a name of its own

    async def _place(self, path: str) -> tuple[str, str]:
        """The storage of a path, and its name there. Storages are looked for once, and again for an unknown path."""
        if not path.startswith("/") or "/../" in f"{path}/":
            raise Rejected(f"{path} is no absolute path of the site.", reason="NoSuchStorage")
        if _UNSPEAKABLE.search(path):
            text = f"UNICORE takes no path with a quote, a backslash or a percent sign in it: {path}."
            raise Rejected(text, reason="NoSuchStorage")
        mount = self._mount(path)
        if mount is None:
            await self._look()
            mount = self._mount(path)
        if mount is None:
            known = ", ".join(sorted(each or "/" for each in self._mounts)) or "none"
            raise Rejected(
                f"No UNICORE storage of the site holds {path}: it has {known}. Choose a runRoot below one of them.",
                reason="NoSuchStorage",
            )
        return self._mounts[mount], path[len(mount) :]

    def _mount(self, path: str) -> str | None:
        found = [mount for mount in self._mounts if path.startswith(f"{mount}/")]
        return max(found, key=len, default=None)

    async def _look(self) -> None:
        listed = await self._calls.read("storages", [("offset", "0"), ("num", str(_STORAGES_AT_MOST))]) or {}
        hrefs = listed.get("storages")
        names = [str(href).rstrip("/").rpartition("/")[2] for href in hrefs] if isinstance(hrefs, list) else []
        if not names:
            await self._calls.who()
        found: dict[str, str] = {}
        for name in filter(_STORAGE.fullmatch, names):
            told = await self._calls.read(f"storages/{name}", [("fields", "mountPoint")]) or {}
            mount = told.get("mountPoint")
            if isinstance(mount, str) and mount.startswith("/"):
                found.setdefault(mount.rstrip("/"), name)
        self._mounts = found


def address(storage: str, inside: str) -> str:
    """Of a file, or a directory."""
    return f"storages/{storage}/files{quote(inside)}"


def _permissions(mode: int) -> str:
    return "".join(letter if mode & (0o400 >> place) else "-" for place, letter in enumerate("rwx" * 3))


def _missing(path: str) -> Missing:
    return Missing(f"The site has no file {path}.")

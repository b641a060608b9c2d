"""The files of the site in memory: Files, Upload and Transfer, on a dictionary.

A directory is there because it was made, or because a file's path goes through it: a site that is made up asks for no
mkdir before a write.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from passerelle.errors import Missing, Rejected, Unavailable
from passerelle.gateways.base import SIZE_DIFFERS, Entry

PART_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A file of the site."""

    content: bytes
    mode: int = 0o600


@dataclass(slots=True)
class MemoryFiles(ABC):
    """What the site keeps. `cut_appends`: so many appends are done by half, and their answer is lost; set by tests."""

    files: dict[str, File] = field(default_factory=dict, kw_only=True)
    directories: set[str] = field(default_factory=set, kw_only=True)
    part_bytes: int = field(default=PART_BYTES, kw_only=True)
    cut_appends: int = field(default=0, kw_only=True)

    @abstractmethod
    def _enter_files(self, call: str) -> None:
        """Note the call, and raise what stands in its way."""

    async def size(self, path: str) -> int | None:
        self._enter_files("size")
        found = self.files.get(path)
        return None if found is None else len(found.content)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        self._enter_files("read")
        return self._file(path).content[offset : offset + length]

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        self._enter_files("write")
        self._refuse_directory(path)
        self.files[path] = File(content, mode)

    async def make_directory(self, path: str) -> None:
        self._enter_files("make_directory")
        steps = path.rstrip("/").split("/")
        made = {"/".join(steps[: count + 1]) for count in range(1, len(steps))}
        if (taken := min(made & self.files.keys(), default=None)) is not None:
            raise Rejected(f"The site makes no directory {path}: {taken} is a file.", reason="NotWritten")
        self.directories |= made

    async def append(self, path: str, offset: int, content: bytes) -> None:
        self._enter_files("append")
        self._refuse_directory(path)
        old = self.files.get(path, File(b"", 0o644))
        if len(old.content) != offset:
            text = f"{path} has {len(old.content)} bytes at the site, and not {offset}."
            raise Rejected(text, reason=SIZE_DIFFERS)
        cut = self.cut_appends > 0
        self.files[path] = replace(old, content=old.content + (content[: len(content) // 2] if cut else content))
        if cut:
            self.cut_appends -= 1
            raise Unavailable("The answer was lost.", reason="Unreachable", sent=True)

    async def entries(self, path: str) -> Sequence[Entry] | None:
        self._enter_files("entries")
        above = path.rstrip("/") + "/"
        inside = {each[len(above) :] for each in (*self.files, *self.directories) if each.startswith(above)}
        if not inside and path.rstrip("/") not in self.directories:
            return None
        found = []
        for name in sorted({each.partition("/")[0] for each in inside}):
            file = self.files.get(above + name)
            size = 0 if file is None else len(file.content)
            found.append(Entry(name=name, size=size, is_directory=file is None))
        return found

    async def rename(self, old: str, new: str) -> None:
        self._enter_files("rename")
        self._file(old)
        self._refuse_directory(new)
        self.files[new] = self.files.pop(old)

    async def remove(self, path: str) -> None:
        self._enter_files("remove")
        self._refuse_directory(path)
        self.files.pop(path, None)

    async def digest(self, path: str) -> str | None:
        self._enter_files("digest")
        return hashlib.sha256(self._file(path).content).hexdigest()

    def _file(self, path: str) -> File:
        found = self.files.get(path)
        if found is None:
            raise Missing(f"The site has no file {path}.")
        return found

    def _refuse_directory(self, path: str) -> None:
        if path in self.directories or any(each.startswith(f"{path}/") for each in self.files):
            raise Rejected(f"{path} is a directory at the site.", reason="NotWritten")

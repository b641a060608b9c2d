"""An object store in memory, which can be cut and told to change."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from passerelle.errors import Missing, PasserelleError, Unavailable
from passerelle.staging.store import Changed, Part, Stored


@dataclass
class Upload:
    key: str
    sha256: str
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class MemoryStore:
    """One bucket. `cuts`: so many of the next reads and parts fail. `before` is called before each request."""

    objects: dict[str, bytes] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    cuts: int = 0
    refusal: PasserelleError | None = None
    read_bytes: int = 0
    sent_bytes: int = 0
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None
    open: int = 0
    checksums: bool = True

    async def list(self, prefix: str, limit: int) -> Sequence[Stored]:
        self._enter("list")
        return [self._stored(key) for key in sorted(self.objects) if key.startswith(prefix)][: limit + 1]

    async def head(self, key: str) -> Stored | None:
        self._enter("head")
        return self._stored(key) if key in self.objects else None

    async def read(self, stored: Stored, offset: int, length: int) -> bytes:
        self._enter("read")
        self._cut()
        if stored.key not in self.objects:
            raise Missing("It is gone.")
        if self._stored(stored.key).version != stored.version:
            raise Changed("It was replaced.")
        self.read_bytes += length
        return self.objects[stored.key][offset : offset + length]

    async def put(self, key: str, content: bytes, sha256: str) -> None:
        self._enter("put")
        self._cut()
        self.sent_bytes += len(content)
        self.objects[key], self.digests[key] = content, sha256

    async def begin(self, key: str, sha256: str) -> str:
        self._enter("begin")
        upload = f"upload-{len(self.calls)}"
        self.uploads[upload] = Upload(key, sha256)
        return upload

    async def parts(self, key: str, upload: str) -> Mapping[int, Part] | None:
        self._enter("parts")
        found = self.uploads.get(upload)
        if found is None:
            return None
        assert found.key == key
        return {number: self._part(number, content) for number, content in found.parts.items()}

    async def upload(self, key: str, upload: str, number: int, content: bytes) -> Part:
        self._enter("upload")
        self._cut()
        self.sent_bytes += len(content)
        assert self.uploads[upload].key == key
        self.uploads[upload].parts[number] = content
        return self._part(number, content)

    async def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        self._enter("complete")
        found = self.uploads.pop(upload)
        assert [self._part(each.number, found.parts[each.number]) for each in parts] == list(parts)
        self.objects[key] = b"".join(found.parts[each.number] for each in parts)
        self.digests[key] = found.sha256

    async def abort(self, key: str, upload: str) -> None:
        self._enter("abort")
        assert self.uploads.pop(upload, Upload(key, "")).key == key

    async def close(self) -> None:
        self.open -= 1

    def _enter(self, call: str) -> None:
        self.before(call)
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal

    def _cut(self) -> None:
        if self.cuts:
            self.cuts -= 1
            raise Unavailable("The connection broke.", reason="Unreachable")

    def _stored(self, key: str) -> Stored:
        content = self.objects[key]
        version = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
        return Stored(key=key, size=len(content), version=version, sha256=self.digests.get(key, ""))

    def _part(self, number: int, content: bytes) -> Part:
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode() if self.checksums else ""
        return Part(number=number, size=len(content), etag=etag, checksum=checksum)

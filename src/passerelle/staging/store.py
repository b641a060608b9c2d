"""What the engine needs of an object store. The S3 client has it; tests have one in memory.

An object is read by ranges of one version of it: `version` is what the store calls it, and a read of another one raises
Changed. Errors are those of `passerelle.errors`, by who must act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from passerelle.errors import Missing, Unavailable

MOST_PARTS = 10_000
"""Of one upload; S3's own limit."""
LEAST_PART_BYTES = 5 * 1024 * 1024
"""Of every part but the last; S3's own limit."""


class Changed(Unavailable):
    """The object is another one than it was when its copy began: it is copied anew."""

    reason = "ObjectChanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object. `sha256` is of its content, in hexadecimal digits, "" where the store doesn't tell."""

    key: str
    size: int
    version: str
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an upload, as the store has it. `checksum` is its word for the part's SHA-256, where it has one."""

    number: int
    size: int
    etag: str
    checksum: str = ""


class Objects(Protocol):
    """What a copy to the site needs of a bucket."""

    async def read(self, stored: Stored, offset: int, length: int) -> bytes:
        """Exactly these bytes of this version. Raises Changed where it is no more."""
        ...


class Store(Objects, Protocol):
    """One bucket, as whoever the credentials are."""

    async def list(self, prefix: str, limit: int) -> Sequence[Stored]:
        """Every object whose key begins so, in the order of keys. Raises Rejected where there are more than `limit`."""
        ...

    async def head(self, key: str) -> Stored | None:
        """One object; None where there is none."""
        ...

    async def put(self, key: str, content: bytes, sha256: str) -> None:
        """A whole object, small enough for one request."""
        ...

    async def begin(self, key: str, sha256: str) -> str:
        """Begin an upload in parts. Returns its id."""
        ...

    async def parts(self, key: str, upload: str) -> Mapping[int, Part] | None:
        """What the store has of an upload, by number; None where it knows no such upload."""
        ...

    async def upload(self, key: str, upload: str, number: int, content: bytes) -> Part:
        """Send one part, in the place of one that has this number."""
        ...

    async def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """Make an object of these parts, in the place of one that is there."""
        ...

    async def abort(self, key: str, upload: str) -> None:
        """Drop an upload and its parts. One that is unknown is no error."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class Closed:
    """A bucket that can't be asked, as where its Secret is gone."""

    async def read(self, stored: Stored, offset: int, length: int) -> bytes:  # noqa: ARG002 -- as Objects has it
        raise Missing(f"The bucket of {stored.key} can't be opened any more.")

"""What is left at the site of a copy that is whole: which object lies there, for the next TrainingJob that wants it.

A receipt is believed as long as its file has its size. It says nothing of a file that is not there, and nothing to who
wants another object, or another version. None stands while another content gets the name that it tells of. Notes tell
of what is not whole; one that is half written is none. Pure.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from passerelle.staging.store import Stored

_PART_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was copied: a key in a bucket, or the beginning of keys. `endpoint` is the store's, "" where that is AWS."""

    endpoint: str
    bucket: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Of one file; or of a directory, whose `etag` is the listing's digest, `size` the sum, and `sha256` "". `path` is
    kept, since the receipt's own name doesn't tell it.
    """

    path: str
    source: Source
    size: int
    etag: str
    sha256: str

    def written(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Of a copy that grows under the name that it is for: of what, how large that is, and its first bytes in base64:
    what lies there without them is somebody's; what has them may be.
    """

    path: str
    source: Source
    size: int
    etag: str
    head: str

    def written(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Of an upload that is not whole: what it is of, and how far apart its parts are. `upload` is "" until it has
    begun.
    """

    path: str
    upload: str
    sha256: str
    size: int
    part_bytes: int

    def written(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"


def receipt(content: bytes, path: str) -> Receipt | None:
    """What stands there; None where it is no receipt of this path."""
    match decoded(content):
        case {
            "path": str(there),
            "source": {"endpoint": str(endpoint), "bucket": str(bucket), "key": str(key)},
            "size": int(size),
            "etag": str(etag),
            "sha256": str(sha256),
        } if there == path:
            source = Source(endpoint=endpoint, bucket=bucket, key=key)
            return Receipt(path=path, source=source, size=size, etag=etag, sha256=sha256)
    return None


def begun(content: bytes, path: str) -> Begun | None:
    """What stands there; None where it is no note of a copy to this path, or not the whole of one."""
    match decoded(content):
        case {
            "path": str(there),
            "source": {"endpoint": str(endpoint), "bucket": str(bucket), "key": str(key)},
            "size": int(size),
            "etag": str(etag),
            "head": str(head),
        } if there == path:
            source = Source(endpoint=endpoint, bucket=bucket, key=key)
            return Begun(path=path, source=source, size=size, etag=etag, head=head)
    return None


def note(content: bytes, path: str) -> Note | None:
    """What stands there; None where it is no note of this path."""
    match decoded(content):
        case {
            "path": str(there),
            "upload": str(upload),
            "sha256": str(sha256),
            "size": int(size),
            "part_bytes": int(part_bytes),
        } if there == path:
            return Note(path=path, upload=upload, sha256=sha256, size=size, part_bytes=part_bytes)
    return None


def folder(run_root: str) -> str:
    return f"{run_root.rstrip('/')}/staged"


def receipt_place(run_root: str, path: str) -> str:
    return f"{folder(run_root)}/{_hash(path)}.json"


def directories(path: str) -> list[str]:
    """The directories that a path lies in, as their receipts have them: with a slash at the end."""
    return [path[: each.end()] for each in re.finditer("/", path)][1:]


def note_place(run_root: str, path: str, target: str) -> str:
    """Of the upload of this file to that object."""
    return f"{folder(run_root)}/{_hash(f'{path} {target}')}.upload.json"


def begun_place(run_root: str, path: str) -> str:
    """Of the copy that grows there."""
    return f"{folder(run_root)}/{_hash(path)}.begun.json"


def part_place(path: str, version: str) -> str:
    """Where a file grows until it is whole: beside its place, in the same file system, a name for each version."""
    return f"{path}.{_hash(version)[:_PART_DIGITS]}.part"


def listing_digest(objects: Sequence[Stored]) -> str:
    """Of a directory: which objects in which versions are in it."""
    lines = "".join(f"{each.key}\0{each.size}\0{each.version}\n" for each in sorted(objects, key=lambda each: each.key))
    return _hash(lines)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def decoded(content: bytes) -> object:
    """JSON that somebody may have spoilt; None where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return None

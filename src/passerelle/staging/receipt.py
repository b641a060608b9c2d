"""What is left at the site of a copy that is whole: which object lies there, for the next TrainingJob that wants it.

A receipt is believed as long as its file has its size, or each file of its directory has, whatever else lies there by
then. It says nothing of a file that is not there, and nothing to who wants another object, or another version. None
stands while another content gets the name that it tells of. Notes tell of what is not whole; one that is half written
is none. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from passerelle.staging.store import Stored

BY_HASH, BY_END, BY_SEAMS = "sha256", "size and last bytes", "size and seams"
"""How a copy was compared: by the SHA-256 of all that lies at the site, or by less."""

_PART_DIGITS = 12
_MARK_BYTES = 4
"""Of a file in its directory's receipt: ten thousand are read at once, and none passes for another by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was copied: a key in a bucket, or the beginning of keys. `endpoint` is the store's, "" where that is AWS."""

    endpoint: str
    bucket: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Of one file; or of a directory, whose `etag` is the listing's digest, `size` the sum, and `sha256` "". `path` is
    kept, since the receipt's own name doesn't tell it. `files` are a directory's marks; they follow from the listing.
    `compared` says by what a file was found to be what was sent, whose hash `sha256` is; "" where that is not known.
    """

    path: str
    source: Source
    size: int
    etag: str
    sha256: str
    files: str = field(default="", compare=False)
    compared: str = field(default="", compare=False)

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
            **more,
        } if there == path:
            source = Source(endpoint=endpoint, bucket=bucket, key=key)
            told = {name: str(more.get(name, "")) for name in ("files", "compared")}
            return Receipt(path=path, source=source, size=size, etag=etag, sha256=sha256, **told)
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


def marks(files: Iterable[tuple[str, int]]) -> str:
    """Of a directory's files, by their paths in it and their sizes."""
    return base64.b64encode(b"".join(sorted(_mark(*each) for each in files))).decode("ascii")


def lying(kept: Receipt, files: Sequence[tuple[str, int]]) -> int | None:
    """How many files a directory's receipt tells of, where these are all that lie there; None where one of them is
    missing, or has another size. A receipt without marks, as operators once wrote them, tells of all that lie there.
    """
    if not kept.files:
        return len(files) if sum(size for _, size in files) == kept.size else None
    try:
        packed = base64.b64decode(kept.files, validate=True)
    except (ValueError, binascii.Error):
        return None
    ours = [packed[start : start + _MARK_BYTES] for start in range(0, len(packed), _MARK_BYTES)]
    return len(ours) if {_mark(*each) for each in files}.issuperset(ours) else None


def _mark(name: str, size: int) -> bytes:
    return hashlib.sha256(f"{name}\0{size}".encode(errors="surrogatepass")).digest()[:_MARK_BYTES]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def decoded(content: bytes) -> object:
    """JSON that somebody may have spoilt; None where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return None

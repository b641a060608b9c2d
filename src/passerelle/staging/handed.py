"""What is noted at the site of a file that is under way by a gateway's object store, for the operator that goes on.

A note stands before its job is asked for: so an answer that is lost is known of, and where none can be written there is
no job. Then it holds the pre-signed URLs, in a file that nobody else may read. Beside it stands how far the parts are:
the store tells nobody who has only its URLs. Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, field

from passerelle.staging import receipt

MOST_BYTES = 32 * 1024 * 1024
"""Of a note, unpacked: 10,000 URLs of 3,300 bytes each, since a token may stand in each."""

END = b"}\n"
"""Of what is written here, and nowhere before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Of one file. `job` is "" until an answer told it, and `urls` are those of the parts and last the completion; or
    of a file that comes from the site the one of its GET. `stamp` is what that file was.

    `cluster` and `user` are whose job it is. `refused` is why the last of `failed` jobs in a row came to nothing;
    nothing is sent again for a while after `when` in epoch seconds, 0 where it may be at once.
    """

    path: str
    size: int
    cluster: str = ""
    user: str = ""
    job: str = ""
    urls: tuple[str, ...] = field(default=(), repr=False)
    part_bytes: int = 0
    piece_bytes: int = 0
    error_log: str = ""
    stamp: str = ""
    refused: tuple[str, str] = ("", "")
    when: float = 0.0
    failed: int = 0

    def written(self) -> bytes:
        packed = zlib.compress(json.dumps(self.urls).encode(), 9)
        told = {
            "path": self.path,
            "size": self.size,
            "cluster": self.cluster,
            "user": self.user,
            "job": self.job,
            "urls": base64.b64encode(packed).decode("ascii"),
            "part_bytes": self.part_bytes,
            "piece_bytes": self.piece_bytes,
            "error_log": self.error_log,
            "stamp": self.stamp,
            "refused": self.refused,
            "when": self.when,
            "failed": self.failed,
        }
        return json.dumps(told, indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How far an upload is: the ETags of its first parts. `sha256` is of the whole, as soon as all are sent."""

    job: str
    etags: tuple[str, ...] = ()
    sha256: str = ""

    def written(self) -> bytes:
        told = {"job": self.job, "etags": self.etags, "sha256": self.sha256}
        return json.dumps(told).encode() + b"\n"


def note(content: bytes, path: str) -> Note | None:
    """What stands there; None where it is no note of this path."""
    match receipt.decoded(content):
        case {
            "path": str(there),
            "size": int(size),
            "cluster": str(cluster),
            "user": str(user),
            "job": str(job),
            "urls": str(packed),
            "part_bytes": int(part_bytes),
            "piece_bytes": int(piece_bytes),
            "error_log": str(error_log),
            "stamp": str(stamp),
            "refused": [str(reason), str(message)],
            "when": int() | float() as when,
            "failed": int(failed),
        } if there == path:
            urls = _urls(packed)
            if urls is not None:
                return Note(
                    path=path,
                    size=size,
                    cluster=cluster,
                    user=user,
                    job=job,
                    urls=urls,
                    part_bytes=part_bytes,
                    piece_bytes=piece_bytes,
                    error_log=error_log,
                    stamp=stamp,
                    refused=(reason, message),
                    when=when,
                    failed=failed,
                )
    return None


def sent(content: bytes, job: str) -> Sent:
    """What stands there; nothing was sent where it is of another job."""
    match receipt.decoded(content):
        case {"job": str(there), "etags": [*etags], "sha256": str(sha256)} if there == job:
            return Sent(job=job, etags=tuple(map(str, etags)), sha256=sha256)
    return Sent(job=job)


def note_place(run_root: str, path: str, direction: str) -> str:
    return receipt.note_place(run_root, path, f"handed {direction}")


def sent_place(run_root: str, path: str) -> str:
    return receipt.note_place(run_root, path, "sent")


def _urls(packed: str) -> tuple[str, ...] | None:
    try:
        unpacker = zlib.decompressobj()
        found = json.loads(unpacker.decompress(base64.b64decode(packed, validate=True), MOST_BYTES))
    except (ValueError, binascii.Error, zlib.error):
        return None
    return tuple(found) if isinstance(found, list) and all(isinstance(each, str) for each in found) else None

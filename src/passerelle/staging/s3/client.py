"""One bucket over HTTP: the Store of store.py. It tries once; the step is the retry.

Every request is signed with its payload's hash, every part carries its SHA-256 for the server to compare, and every
range names the version that it is of. An answer is read up to what was asked for, and no redirect is followed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence

import httpx

from passerelle.errors import Rejected, Unavailable
from passerelle.gateways.http import Answer, Carrier, Server
from passerelle.staging.place import Place
from passerelle.staging.s3 import decode, errors
from passerelle.staging.s3.address import Query, address
from passerelle.staging.s3.credential import ENDPOINT, Access
from passerelle.staging.s3.sign import EMPTY, signed
from passerelle.staging.store import Changed, Part, Stored

STORE = Server(
    "object store", f"{ENDPOINT} of the Secret", "put the authority's certificate into the Secret under ca.crt"
)
ANSWER_LIMIT = 16 * 1024 * 1024
"""Bytes of a listing: 1,000 keys of 1 KiB, each of their bytes percent-encoded, and as much again."""
_PAGE = "1000"
_NOT_FOUND, _PARTIAL = 404, 206
_IN_THREAD_BYTES = 256 * 1024
"""More than this is hashed beside the event loop."""


class S3:
    """The bucket of `where`, as `access`. `now` is the wall clock, in epoch seconds."""

    def __init__(
        self,
        bucket: str,
        access: Access,
        *,
        now: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._bucket = bucket
        self._access = access
        self._now = now
        self._address = address(bucket, endpoint=access.endpoint, region=access.region)
        base = httpx.URL(self._address.base)
        self._host = base.netloc.decode("ascii")
        self._before = base.raw_path.decode("ascii").rstrip("/")
        self._carrier = Carrier(self._address.base, ca=access.authority, public=True, server=STORE, transport=transport)

    async def list(self, prefix: str, limit: int) -> Sequence[Stored]:
        found: list[Stored] = []
        more = ""
        while True:
            query = [("list-type", "2"), ("prefix", prefix), ("max-keys", _PAGE), ("encoding-type", "url")]
            query += [("continuation-token", more)] if more else []
            answer = await self._ask("GET", prefix, query=query, of_bucket=True)
            page = decode.page(answer.body)
            found += page.found
            if len(found) > limit:
                text = (
                    f"{Place(self._bucket, prefix)} has more than {limit} objects; pack them into fewer, larger files."
                )
                raise Rejected(text, reason="TooManyObjects")
            if not page.more:
                return found
            more = page.more

    async def head(self, key: str) -> Stored | None:
        answer = await self._send("HEAD", key)
        if errors.failed(answer):
            told = await self._send("GET", key, headers={"range": "bytes=0-0"})  # a HEAD has no body that says why
            if told.status == _NOT_FOUND and decode.fault(told.body)[0] in ("NoSuchKey", ""):
                return None
            self._check(told if errors.failed(told) else answer, key)
        return decode.stored(key, answer.headers)

    async def read(self, stored: Stored, offset: int, length: int) -> bytes:
        if not length:
            return b""
        headers = {"range": f"bytes={offset}-{offset + length - 1}", "if-match": stored.version}
        answer = await self._ask("GET", stored.key, headers=headers, limit=length + ANSWER_LIMIT)
        if answer.headers.get("etag", stored.version) != stored.version:
            raise Changed(f"{self._place(stored.key)} was replaced while it was copied; it is copied anew.")
        content = answer.body
        if answer.status != _PARTIAL and offset == 0 and len(content) == stored.size:
            content = content[:length]  # it was small, and came whole
        elif answer.status != _PARTIAL:
            raise Rejected(f"The object store {self._host} sends no ranges of objects.", reason="NotImplemented")
        if len(content) != length:
            raise Unavailable(f"The object store {self._host} sent {len(content)} of {length} bytes.", reason="Cut")
        return content

    async def put(self, key: str, content: bytes, sha256: str) -> None:
        await self._ask("PUT", key, headers={decode.SHA256: sha256}, payload=content, checked=True)

    async def begin(self, key: str, sha256: str) -> str:
        headers = {decode.SHA256: sha256, "x-amz-checksum-algorithm": "SHA256"}
        answer = await self._ask("POST", key, query=[("uploads", "")], headers=headers)
        return decode.upload_id(answer.body)

    async def parts(self, key: str, upload: str) -> Mapping[int, Part] | None:
        found: dict[int, Part] = {}
        after = 0
        while True:
            query = [("uploadId", upload), ("max-parts", _PAGE), ("part-number-marker", str(after))]
            answer = await self._send("GET", key, query=query)
            if answer.status == _NOT_FOUND and decode.fault(answer.body)[0] == "NoSuchUpload":
                return None
            self._check(answer, key)
            page = decode.parts(answer.body)
            found |= page.found
            if page.more is None or page.more <= after:
                return found
            after = page.more

    async def upload(self, key: str, upload: str, number: int, content: bytes) -> Part:
        query = [("partNumber", str(number)), ("uploadId", upload)]
        answer = await self._ask("PUT", key, query=query, payload=content, checked=True)
        etag = answer.headers.get("etag", "")
        if not etag:
            raise Unavailable(
                f"The object store {self._host} took a part and named no ETag.", reason="UnexpectedAnswer"
            )
        checksum = answer.headers.get("x-amz-checksum-sha256", "")
        return Part(number=number, size=len(content), etag=etag, checksum=checksum)

    async def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        body = decode.completion(tuple(parts))
        answer = await self._ask("POST", key, query=[("uploadId", upload)], payload=body)
        if errors.failed_late(answer):
            raise errors.meaning(answer, self._place(key), self._host)

    async def abort(self, key: str, upload: str) -> None:
        answer = await self._send("DELETE", key, query=[("uploadId", upload)])
        if answer.status != _NOT_FOUND:
            self._check(answer, key)

    async def close(self) -> None:
        await self._carrier.close()

    async def _ask(
        self,
        method: str,
        key: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        payload: bytes = b"",
        checked: bool = False,
        of_bucket: bool = False,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """An answer that is no error. `checked`: the server shall compare the payload with its checksum."""
        answer = await self._send(
            method,
            "" if of_bucket else key,
            query=query,
            headers=headers,
            payload=payload,
            checked=checked,
            limit=limit,
        )
        self._check(answer, key)
        return answer

    async def _send(
        self,
        method: str,
        key: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        payload: bytes = b"",
        checked: bool = False,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        path = self._address.path(key, query)
        digest = await _sha256(payload)
        told = dict(headers or {})
        if checked:
            told["x-amz-checksum-sha256"] = base64.b64encode(digest).decode("ascii")
        ready = signed(
            self._access,
            method,
            host=self._host,
            path=f"{self._before}/{path}",
            headers=told,
            payload_sha256=digest.hex() if payload else EMPTY,
            now=self._now(),
        )
        # What an object's content is encoded in is the object's own business.
        ready["accept-encoding"] = "identity"
        return await self._carrier.send(method, path, headers=ready, payload=payload or None, limit=limit, raw=True)

    def _check(self, answer: Answer, key: str) -> None:
        if errors.failed(answer):
            raise errors.meaning(answer, self._place(key), self._host)

    def _place(self, key: str) -> Place:
        return Place(self._bucket, key)


async def _sha256(content: bytes) -> bytes:
    if len(content) < _IN_THREAD_BYTES:
        return hashlib.sha256(content).digest()
    return (await asyncio.to_thread(hashlib.sha256, content)).digest()

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
from functools import partial
from typing import TypeVar

import httpx

from passerelle.errors import Invalid, Rejected, Unavailable
from passerelle.gateways.http import TOO_LARGE, UNREACHABLE, Answer, Carrier, Server
from passerelle.gateways.unreached import Ca
from passerelle.staging.place import Place
from passerelle.staging.s3 import decode, errors
from passerelle.staging.s3.address import Query, address
from passerelle.staging.s3.credential import AUTHORITY, ENDPOINT, Access
from passerelle.staging.s3.sign import EMPTY, signed
from passerelle.staging.store import MOST_PARTS, Changed, Part, Stored

T = TypeVar("T")

LISTING_LIMIT = 4 * 1024 * 1024
"""Bytes of a listing: 1,000 keys of 1 KiB, each of their bytes percent-encoded, and 1 KiB for what stands beside."""
ANSWER_SECONDS = 60.0
COMPLETE_SECONDS = 600.0
"""A store may put a large object together for minutes, and sends white space meanwhile; no turn is held by then."""
SLOWEST = 64 * 1024
"""Bytes a second: what is slower counts as broken, or a store that drips would hold a turn for ever."""
_PAGE = "1000"
_MOST_PAGES = 1000
"""Of a listing: a store may send pages that are not full, and some that are empty."""
_NOT_FOUND, _PARTIAL = 404, 206
_IN_THREAD_BYTES = 256 * 1024
"""More than this is hashed and read beside the event loop."""


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
        try:
            base = httpx.URL(self._address.base)
            _ = base.host  # a name that is no IDNA is found here
        except (httpx.InvalidURL, ValueError):
            text = f"The {ENDPOINT} in {access.place} can't be used; write https://HOST[:PORT], without a bucket."
            raise Invalid(text, reason="InvalidEndpoint") from None
        self._host = base.netloc.decode("ascii")
        self._before = base.raw_path.decode("ascii").rstrip("/")
        place = access.place
        store = Server(
            "object store", f"{ENDPOINT} of {place}", f"put the authority's certificate into {place} under {AUTHORITY}"
        )
        ca = None if access.authority is None else Ca(access.authority, f"{AUTHORITY} of {place}")
        self._carrier = Carrier(self._address.base, ca=ca, public=True, server=store, transport=transport)

    async def list(self, prefix: str, limit: int) -> Sequence[Stored]:
        found: list[Stored] = []
        more, before = "", set[str]()
        while True:
            query = [("list-type", "2"), ("prefix", prefix), ("max-keys", _PAGE), ("encoding-type", "url")]
            query += [("continuation-token", more)] if more else []
            answer = await self._ask("GET", prefix, query=query, of_bucket=True, limit=LISTING_LIMIT)
            page = await _read(partial(decode.page, bucket=self._bucket), answer.body)
            found += page.found
            if len(found) > limit:
                text = (
                    f"{Place(self._bucket, prefix)} has more than {limit} objects; pack them into fewer, larger files."
                )
                raise Rejected(text, reason="TooManyObjects")
            if not page.more:
                return found
            more = page.more
            if more in before or len(before) >= _MOST_PAGES:
                text = f"The object store {self._host} sends a listing that has no end."
                raise Unavailable(text, reason="UnexpectedAnswer")
            before.add(more)

    async def head(self, key: str) -> Stored | None:
        answer = await self._send("HEAD", key)
        if errors.failed(answer):
            told = await self._send("GET", key, headers={"range": "bytes=0-0"})  # a HEAD has no body that says why
            if told.status == _NOT_FOUND and decode.fault(told.body)[0] in ("NoSuchKey", ""):
                return None
            self._check(told if errors.failed(told) else answer, key)
        return decode.stored(self._place(key), answer.headers)

    async def read(self, stored: Stored, offset: int, length: int) -> bytes:
        if not length:
            return b""
        last = offset + length - 1
        headers = {"range": f"bytes={offset}-{last}", "if-match": stored.version}
        try:
            answer = await self._ask("GET", stored.key, headers=headers, limit=length + decode.FAULT_LIMIT)
        except Unavailable as error:
            if error.reason != TOO_LARGE:
                raise
            raise self._no_ranges() from None
        place = self._place(stored.key)
        if decode.version(answer.headers.get("etag") or stored.version, place) != stored.version:
            raise Changed(f"{place} was replaced while it was copied; it is copied anew.")
        content = answer.body
        if answer.status != _PARTIAL and offset == 0 and len(content) == stored.size:
            content = content[:length]  # it was small, and came whole
        elif answer.status != _PARTIAL:
            raise self._no_ranges()
        elif answer.headers.get("content-range", "").strip() != f"bytes {offset}-{last}/{stored.size}":
            # Bytes of another place would be taken for those of this one.
            text = f"The object store {self._host} sent another range of {self._place(stored.key)} than was asked for."
            raise Unavailable(text, reason="UnexpectedAnswer")
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
            answer = await self._send("GET", key, query=query, limit=LISTING_LIMIT)
            if answer.status == _NOT_FOUND and decode.fault(answer.body)[0] == "NoSuchUpload":
                return None
            self._check(answer, key)
            page = await _read(decode.parts, answer.body)
            found |= page.found
            if page.more is None or not after < page.more < MOST_PARTS:
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
        answer = await self._send("POST", key, query=[("uploadId", upload)], payload=body, seconds=COMPLETE_SECONDS)
        self._check(answer, key)
        if errors.failed_late(answer):
            raise errors.meaning(answer, self._place(key), self._host, self._access.place)

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
        limit: int = decode.FAULT_LIMIT,
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
        limit: int = decode.FAULT_LIMIT,
        seconds: float | None = None,
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
        try:
            async with asyncio.timeout((seconds or ANSWER_SECONDS) + (limit + len(payload)) / SLOWEST):
                return await self._carrier.send(
                    method, path, headers=ready, payload=payload or None, limit=limit, raw=True
                )
        except TimeoutError:
            text = f"The object store {self._host} did not answer in time."
            raise Unavailable(text, reason=UNREACHABLE, sent=True) from None

    def _check(self, answer: Answer, key: str) -> None:
        if errors.failed(answer):
            raise errors.meaning(answer, self._place(key), self._host, self._access.place)

    def _no_ranges(self) -> Rejected:
        return Rejected(f"The object store {self._host} sends no ranges of objects.", reason="NotImplemented")

    def _place(self, key: str) -> Place:
        return Place(self._bucket, key)


async def _read(decoded: Callable[[bytes], T], body: bytes) -> T:
    """A large answer is read beside the event loop."""
    return decoded(body) if len(body) < _IN_THREAD_BYTES else await asyncio.to_thread(decoded, body)


async def _sha256(content: bytes) -> bytes:
    if len(content) < _IN_THREAD_BYTES:
        return hashlib.sha256(content).digest()
    return (await asyncio.to_thread(hashlib.sha256, content)).digest()

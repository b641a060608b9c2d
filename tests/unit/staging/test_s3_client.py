"""A store that answers wrong, slowly or without end is told so, and holds up nobody."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from passerelle.errors import Invalid, Rejected, Unauthorized, Unavailable
from passerelle.staging.s3 import client, decode
from passerelle.staging.s3.client import S3
from passerelle.staging.s3.credential import Access
from passerelle.staging.store import Changed, Stored

ACCESS = Access(access_key_id="a", secret_access_key="b", endpoint="https://s3.example")
OBJECT = Stored(key="k", size=100, version='"v"')
LISTED = (
    "<ListBucketResult><IsTruncated>{more}</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    "<Contents><Key>a/x</Key><Size>5</Size><ETag>{etag}</ETag></Contents></ListBucketResult>"
)


class Body(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


def bucket(answer: Callable[[httpx.Request], tuple[int, bytes, dict[str, str]]]) -> S3:
    def handle(request: httpx.Request) -> httpx.Response:
        status, content, headers = answer(request)
        return httpx.Response(status, headers=headers, stream=Body(content))

    return S3("bucket", ACCESS, transport=httpx.MockTransport(handle))


def ranged(content: bytes, words: str | None, etag: str = '"v"') -> S3:
    headers = {"etag": etag} | ({} if words is None else {"content-range": words})
    return bucket(lambda _: (206, content, headers))


async def test_a_range_is_taken_where_it_is_the_one_that_was_asked_for() -> None:
    assert await ranged(b"right", "bytes 50-54/100").read(OBJECT, 50, 5) == b"right"


@pytest.mark.parametrize("words", ["bytes 0-4/100", "bytes 50-55/100", "bytes 50-54/99", "bytes 50-54", None])
async def test_another_range_is_not_taken(words: str | None) -> None:
    with pytest.raises(Unavailable, match="sent another range of s3://bucket/k"):
        await ranged(b"wrong", words).read(OBJECT, 50, 5)


async def test_a_large_object_that_comes_whole_tells_that_there_are_no_ranges() -> None:
    with pytest.raises(Rejected, match="sends no ranges"):
        await bucket(lambda _: (200, bytes(10**6), {"etag": '"v"'})).read(OBJECT, 0, 5)


@pytest.mark.parametrize("etag", ["v", "&quot;v&quot;", "W/&quot;v&quot;"])
async def test_a_version_is_the_same_however_it_is_quoted(etag: str) -> None:
    def answer(request: httpx.Request) -> tuple[int, bytes, dict[str, str]]:
        if "list-type" in request.url.params:
            return 200, LISTED.format(more="false", token="", etag=etag).encode(), {}
        if request.headers["if-match"] != '"v"':
            return 412, b"", {}
        return 206, b"hello", {"etag": 'W/"v"', "content-range": "bytes 0-4/5"}

    store = bucket(answer)
    [found] = await store.list("a/", 10)
    assert await store.read(found, 0, 5) == b"hello"


async def test_another_version_is_no_more_the_object() -> None:
    with pytest.raises(Changed):
        await ranged(b"other", "bytes 0-4/100", '"w"').read(OBJECT, 0, 5)


@pytest.mark.parametrize("tokens", ["the same", "others"])
async def test_a_listing_that_has_no_end_is_ended(tokens: str) -> None:
    pages = 0

    def answer(_: httpx.Request) -> tuple[int, bytes, dict[str, str]]:
        nonlocal pages
        pages += 1
        assert pages < 5000
        token = "t" if tokens == "the same" else f"t{pages}"
        body = f"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>{token}"
        return 200, f"{body}</NextContinuationToken></ListBucketResult>".encode(), {}

    with pytest.raises(Unavailable, match="has no end"):
        await bucket(answer).list("a/", 10)


async def test_an_error_is_not_read_beyond_what_an_error_takes() -> None:
    with pytest.raises(Unavailable, match=f"larger than {decode.FAULT_LIMIT} bytes"):
        await bucket(lambda _: (403, bytes(decode.FAULT_LIMIT + 1), {})).put("k", b"", "")


async def test_a_refused_key_is_told_with_its_secret() -> None:
    said = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
    own = dataclasses.replace(ACCESS, kept="team/s3")
    refusing = httpx.MockTransport(lambda _: httpx.Response(403, stream=Body(said)))

    with pytest.raises(Unauthorized, match=r"correct it in the Secret team/s3\.$"):
        await S3("bucket", own, transport=refusing).list("", 1)


async def test_an_endpoint_that_is_none_is_no_defect() -> None:
    with pytest.raises(Invalid, match="AWS_ENDPOINT_URL"):
        S3("bucket", Access(access_key_id="a", secret_access_key="b", endpoint="https://xn--a"))


async def test_a_store_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps every other clock from running out."""
    monkeypatch.setattr(client, "SLOWEST", 1024 * 1024)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b'HTTP/1.1 206 P\r\netag: "v"\r\ncontent-range: bytes 0-99/100\r\ncontent-length: 100\r\n\r\n'
        writer.write(head)
        with contextlib.suppress(OSError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        ended.set()

    ended = asyncio.Event()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        own = Access(access_key_id="a", secret_access_key="b", endpoint=f"http://127.0.0.1:{port}")
        store = S3("bucket", own)
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable, match="did not answer in time"):
                await store.read(OBJECT, 0, 100)
        await store.close()
        await ended.wait()

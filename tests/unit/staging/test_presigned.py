"""What is opened to us by pre-signed URLs: used as they are, for their host alone, and told to nobody."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable
from html import escape

import httpx
import pytest

from passerelle.errors import Invalid, PasserelleError, Rejected, Unavailable
from passerelle.gateways.http import Carrier
from passerelle.staging.s3 import presigned
from passerelle.staging.s3.allowed import Allowed
from passerelle.staging.s3.presigned import EXPIRED, Presigned, origin

URL = "https://store.example/ada/7f%20a/x.bin?partNumber=1&X-Amz-Credential=KEY%2F20260101&X-Amz-Signature=5ec2e7"
Handle = Callable[[httpx.Request], httpx.Response]


def opened(handle: Handle, monkeypatch: pytest.MonkeyPatch, url: str = URL) -> Presigned:
    def carrier(base: str, **words: object) -> Carrier:
        assert words.pop("public")
        return Carrier(base, transport=httpx.MockTransport(handle))

    monkeypatch.setattr(presigned, "Carrier", carrier)
    return Allowed().presigned(url, None)


def answered(status: int, content: bytes, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


async def test_a_part_is_sent_as_it_was_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answered(200, b"", etag='"e1"')

    store = opened(handle, monkeypatch)
    assert await store.put(URL, b"content") == '"e1"'
    await store.close()
    (request,) = seen
    assert (request.method, str(request.url), request.content) == ("PUT", URL, b"content")
    md5 = hashlib.md5(b"content", usedforsecurity=False).digest()
    assert request.headers["content-md5"] == base64.b64encode(md5).decode()
    assert "authorization" not in request.headers


async def test_a_completion_names_the_parts_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[bytes] = []

    def handle(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return answered(200, b"<CompleteMultipartUploadResult/>")

    store = opened(handle, monkeypatch)
    assert await store.complete(URL, ['"a"', '"b"'])
    await store.close()
    text = bodies[0].decode()
    assert text.index("<PartNumber>1<") < text.index('"a"') < text.index("<PartNumber>2<") < text.index('"b"')


def _fault(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{escape(URL)}</Message></Error>".encode()


@pytest.mark.parametrize(
    "status, code, kind, reason",
    [
        (403, "AccessDenied", Unavailable, EXPIRED),
        (404, "NoSuchBucket", Unavailable, EXPIRED),
        (400, "EntityTooLarge", Rejected, "EntityTooLarge"),
        (400, "BadDigest", Rejected, "Refused"),
        (503, "SlowDown", Unavailable, "StoreBusy"),
        (302, "", Rejected, "Refused"),
        (200, "InternalError", Unavailable, "StoreBusy"),
    ],
)
async def test_a_refusal_is_told_without_the_url(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str,
    kind: type[PasserelleError],
    reason: str,
) -> None:
    caplog.set_level(logging.DEBUG, "passerelle")
    store = opened(lambda _: answered(status, _fault(code)), monkeypatch)
    with pytest.raises(kind) as told:
        await store.complete(URL, ['"a"'])
    await store.close()
    assert told.value.reason == reason
    assert "5ec2e7" not in told.value.message + repr(told.value) + caplog.text


async def test_an_upload_that_is_unknown_may_have_been_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(lambda _: answered(404, _fault("NoSuchUpload")), monkeypatch)
    assert not await store.complete(URL, ['"a"'])
    with pytest.raises(Unavailable) as told:
        await store.put(URL, b"x")
    await store.close()
    assert told.value.reason == EXPIRED


async def test_a_range_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"content-range": "bytes 2-4/10"}
    store = opened(lambda _: answered(206, b"abc", **told), monkeypatch)
    assert await store.read(URL, 2, 3) == (b"abc", 10)
    with pytest.raises(Unavailable, match="another range"):
        await store.read(URL, 3, 3)
    await store.close()


async def test_no_url_leads_to_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing is sent")

    store = opened(handle, monkeypatch)
    for url in (
        "https://10.0.0.1/x",
        "http://store.example/x",
        "https://store.example.evil/x",
        "https://store.example:8/",
    ):
        with pytest.raises(Invalid) as told:
            await store.put(url, b"x")
        assert told.value.reason == "EndpointNotAllowed"
    await store.close()


@pytest.mark.parametrize("url", ["ftp://a/x", "https://user:word@a/x", "https:///x", "/x", "https://a:b/x", ""])
def test_what_is_no_url_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as told:
        origin(url)
    assert "word" not in told.value.message


def test_the_administrator_says_which_hosts() -> None:
    only = Allowed(("lumidata.eu", "*.cscs.ch"))
    assert only.presigned("https://rgw.cscs.ch/x?s=5ec2e7", None).host == "rgw.cscs.ch"
    with pytest.raises(Invalid, match=r"chart's value objectStoreHosts") as told:
        only.presigned("https://169.254.169.254/x?s=5ec2e7", None)
    assert (told.value.reason, "5ec2e7" in told.value.message) == ("EndpointNotAllowed", False)
    with pytest.raises(Invalid, match="without TLS"):
        Allowed().presigned("http://127.0.0.1/x", None)
    assert Allowed(loopback=True).presigned("http://127.0.0.1/x", None).host == "127.0.0.1"

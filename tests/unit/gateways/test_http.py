"""The carrier, against httpx's own exceptions and its mock transport."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable

import httpx
import pytest

from passerelle.errors import Invalid, Unavailable
from passerelle.gateways import http
from passerelle.gateways.http import EXCEPTIONS, PIECE_BYTES, Carrier, Server, Upload, checked, unavailable
from passerelle.gateways.patience import retry_after
from passerelle.gateways.unreached import Ca

NEVER_SENT = {
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
}
NOT_OF_A_REQUEST = {
    httpx.HTTPStatusError,  # only raise_for_status, which is never called
    httpx.CookieConflict,  # only a look into a cookie jar by name
}


def leaves() -> set[type[Exception]]:
    kinds = {
        kind for _, kind in inspect.getmembers(httpx, inspect.isclass) if issubclass(kind, httpx.HTTPError | Exception)
    }
    return {kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds)}


def test_every_exception_of_httpx_is_mapped() -> None:
    stream_misuse = {kind for kind in leaves() if issubclass(kind, httpx.StreamError)}  # a RuntimeError: our own defect

    assert leaves() - stream_misuse - NOT_OF_A_REQUEST == set(EXCEPTIONS)


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_only_failures_before_the_first_byte_are_unsent(kind: type[Exception]) -> None:
    assert unavailable(kind(""), "gateway.example:443").sent is (kind not in NEVER_SENT)


def carrier(handler: Callable[[httpx.Request], httpx.Response], url: str = "https://gateway.example/api") -> Carrier:
    return Carrier(url, transport=httpx.MockTransport(handler))


async def test_a_payload_travels_as_it_is() -> None:
    seen: list[tuple[bytes, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.content, request.headers["content-type"]))
        return httpx.Response(204)

    headers = {"content-type": "application/octet-stream"}
    await carrier(handler).send("PUT", "file", headers=headers, payload=b"\x00\xff{}")

    assert seen == [(b"\x00\xff{}", "application/octet-stream")]


async def test_path_of_the_address_is_kept() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"a": 1})

    answer = await carrier(handler).send("GET", "/slurm/v0.0.45/jobs", headers={}, query=[("job_name", "a,b")])

    assert seen == ["https://gateway.example/api/slurm/v0.0.45/jobs?job_name=a%2Cb"]
    assert answer.json() == {"a": 1}


@pytest.mark.parametrize("path", ["http://127.0.0.1:8/x", "/https://other.example/x", "//http://other.example/x"])
async def test_an_address_in_the_place_of_a_path_is_not_asked(path: str) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200)

    with pytest.raises(Unavailable) as caught:
        await carrier(handler).send("PUT", path, headers={}, payload=b"a tenant's")

    assert (asked, caught.value.sent) == ([], False)


async def test_form_and_file_travel_as_such() -> None:
    seen: list[tuple[str, bytes]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers["content-type"], request.content))
        return httpx.Response(204)

    await carrier(handler).send("POST", "token", headers={}, form={"client_secret": "a&b=c"})
    await carrier(handler).send("POST", "upload", headers={}, upload=Upload("file", "déjà", b"\x00\xff"))
    (form, told), (multipart, parts) = seen

    assert (form, told) == ("application/x-www-form-urlencoded", b"client_secret=a%26b%3Dc")
    assert multipart.startswith("multipart/form-data; boundary=")
    assert 'name="file"; filename="déjà"'.encode() in parts
    assert b"\r\n\r\n\x00\xff\r\n" in parts


def test_content_of_a_file_is_not_shown() -> None:
    assert "hush" not in repr(Upload("file", "spec", b"hush"))


async def test_other_server_is_named_where_its_address_is_written() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request) from ConnectionRefusedError()

    server = Server("token's server", "token-url of the Site's Secret")
    door = Carrier("https://auth.example", server=server, transport=httpx.MockTransport(handler))
    with pytest.raises(Unavailable) as caught:
        await door.send("POST", "token", headers={})

    assert caught.value.message == (
        "The token's server can't be reached at auth.example:443: the connection was refused; check the port in "
        "token-url of the Site's Secret, and that the token's server runs."
    )


async def test_redirect_is_not_followed() -> None:
    answer = await carrier(lambda _: httpx.Response(302, headers={"location": "https://evil.example"})).send(
        "GET", "x", headers={"X-SLURM-USER-TOKEN": "t"}
    )

    assert answer.status == 302


async def test_body_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_LIMIT", 10)

    with pytest.raises(Unavailable, match="larger") as caught:
        await carrier(lambda _: httpx.Response(200, content=b"x" * 11)).send("GET", "x", headers={})

    assert caught.value.sent


async def test_secret_is_in_no_message() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError(f"broken: {request.headers['x-slurm-user-token']}", request=request)

    with pytest.raises(Unavailable) as caught:
        await carrier(handler).send("GET", "x", headers={"X-SLURM-USER-TOKEN": "hush"})

    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url, reason",
    [
        ("http://gateway.example", "InsecureUrl"),
        ("http://127.0.0.1.example", "InsecureUrl"),
        ("http://localhost.example", "InsecureUrl"),
        ("ftp://gateway.example", "InvalidUrl"),
        ("gateway.example", "InvalidUrl"),
        ("https://user:pw@gateway.example", "InvalidUrl"),
        ("https://gateway.example/?a=b", "InvalidUrl"),
        ("https://gateway.example:port", "InvalidUrl"),
        ("https://xn--", "InvalidUrl"),
        ("https://xn--a.example", "InvalidUrl"),
    ],
)
def test_address_that_is_refused(url: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        checked(url)

    assert caught.value.reason == reason


def test_password_in_an_address_is_shown_to_nobody() -> None:
    with pytest.raises(Invalid, match="Leave user and password out") as caught:
        checked("https://user:hush@gateway.example")

    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["https://gateway.example", "http://127.0.0.1:6820", "http://[::1]:1", "http://localhost"]
)
def test_address_that_is_taken(url: str) -> None:
    assert checked(url).host


def test_ca_that_is_no_certificate() -> None:
    with pytest.raises(Invalid, match="PEM"):
        Carrier("https://gateway.example", ca=Ca(b"nonsense"))


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Wed, 01 Jul 2026 10:00:30 GMT", "date": "Wed, 01 Jul 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 01 Jul 2026 10:00:00 GMT", "date": "Wed, 01 Jul 2026 10:00:30 GMT"}, 0.0),
        ({"retry-after": "Wed, 01 Jul 2026 10:00:00 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"ratelimit-reset": "3"}, 3.0),
        ({"ratelimit-reset": "1793588400"}, None),
        ({"retry-after": "7", "ratelimit-reset": "3"}, 7.0),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


async def test_whoever_holds_on_to_a_connection_that_was_closed_is_told_so() -> None:
    door = carrier(lambda _: httpx.Response(200))
    await door.close()
    with pytest.raises(Unavailable) as caught:
        await door.send("GET", "x", headers={})
    assert (caught.value.reason, caught.value.sent) == ("Unreachable", False)


async def test_what_is_large_goes_in_pieces_and_says_how_long_it_is() -> None:
    told: list[tuple[str | None, list[int]]] = []

    class Counts(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.AsyncByteStream)
            assert "transfer-encoding" not in request.headers
            told.append((request.headers.get("content-length"), [len(piece) async for piece in request.stream]))
            return httpx.Response(200)

    door = Carrier("https://gateway.example", transport=Counts())
    for size in (PIECE_BYTES, 2 * PIECE_BYTES + 1):
        await door.send("PUT", "x", headers={}, payload=bytes(size))
    assert told == [
        (str(PIECE_BYTES), [PIECE_BYTES]),
        (str(2 * PIECE_BYTES + 1), [PIECE_BYTES, PIECE_BYTES, 1]),
    ]


async def test_a_request_searches_the_disk_for_no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpcore did, five times a request: that was a quarter of its cost."""
    searched: list[str] = []

    class Finder:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            searched.append(name)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = Carrier(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        await client.send("GET", "warm", headers={})  # all that it needs is loaded by now
        monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
        assert (await client.send("GET", "x", headers={})).json() == {}
    finally:
        await client.close()
        server.close()
    assert searched == []

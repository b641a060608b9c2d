"""An object that its owner has opened to us by pre-signed URLs: parts of an upload, its completion, ranges of a GET.

A URL is the right to use it, so it is a secret like a key: it stands in no message. All of one store lead to the host
that was checked, and none is followed elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from passerelle.errors import Invalid, PasserelleError, Rejected, Unavailable
from passerelle.gateways.http import UNREACHABLE, Answer, Carrier, Server
from passerelle.gateways.unreached import Ca
from passerelle.staging.s3 import decode, errors
from passerelle.staging.s3.client import ANSWER_SECONDS, COMPLETE_SECONDS, SLOWEST
from passerelle.staging.store import Part

STORE = Server("gateway's object store", "the URLs that the gateway gives")
FOREIGN = "EndpointNotAllowed"
EXPIRED = "HandoverExpired"
"""The reason of an error where what the URLs are for is over, and has to be asked for again."""

_PARTIAL, _FORBIDDEN, _NOT_FOUND = 206, 403, 404
_NO_ROOM = frozenset({"QuotaExceeded", "EntityTooLarge"})

OpenPresigned = Callable[[str, bytes | None], "Presigned"]
"""A URL, and PEM of its host's authority -> the store. Raises Invalid where its host is not allowed."""


class Presigned:
    """The store at the host of `url`. `authority` is PEM, beside the public authorities."""

    def __init__(self, url: str, authority: bytes | None) -> None:
        self._origin = origin(url)
        self.host = urlsplit(url).netloc
        ca = None if authority is None else Ca(authority)
        self._carrier = Carrier(self._origin, ca=ca, public=True, server=STORE)

    async def put(self, url: str, content: bytes) -> str:
        """Send one part, in the place of one that is there. Returns its ETag. The server compares the content."""
        digest = await asyncio.to_thread(hashlib.md5, content, usedforsecurity=False)
        headers = {"content-md5": base64.b64encode(digest.digest()).decode("ascii")}
        answer = await self._send("PUT", url, headers=headers, payload=content)
        etag = answer.headers.get("etag", "")
        if errors.failed(answer) or not etag:
            raise self._meaning(answer)
        return etag

    async def complete(self, url: str, etags: Sequence[str]) -> bool:
        """Make an object of these parts. False where no such upload is known: it was completed, or dropped."""
        parts = tuple(Part(number=number, size=0, etag=etag) for number, etag in enumerate(etags, 1))
        answer = await self._send("POST", url, payload=decode.completion(parts), seconds=COMPLETE_SECONDS)
        if answer.status == _NOT_FOUND and decode.fault(answer.body)[0] == "NoSuchUpload":
            return False
        if errors.failed(answer) or errors.failed_late(answer):
            raise self._meaning(answer)
        return True

    async def read(self, url: str, offset: int, length: int) -> tuple[bytes, int]:
        """These bytes of an object, and how many it has. Raises Unavailable(EXPIRED) where it is no more."""
        last = offset + length - 1
        answer = await self._send("GET", url, headers={"range": f"bytes={offset}-{last}"}, limit=length)
        if errors.failed(answer):
            raise self._meaning(answer)
        place, _, total = answer.headers.get("content-range", "").strip().partition("/")
        if (
            answer.status != _PARTIAL
            or not total.isdigit()
            or place != f"bytes {offset}-{offset + len(answer.body) - 1}"
        ):
            raise Unavailable(f"The object store {self.host} sent another range than was asked for.", reason="Cut")
        return answer.body, int(total)

    async def close(self) -> None:
        await self._carrier.close()

    async def _send(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        payload: bytes | None = None,
        limit: int = 0,
        seconds: float = ANSWER_SECONDS,
    ) -> Answer:
        if origin(url) != self._origin:
            raise _several_hosts()
        ready = {"accept-encoding": "identity", **(headers or {})}
        try:
            async with asyncio.timeout(seconds + (limit + len(payload or b"")) / SLOWEST):
                return await self._carrier.send(
                    method,
                    url.removeprefix(self._origin),
                    headers=ready,
                    payload=payload,
                    limit=limit + decode.FAULT_LIMIT,
                    raw=True,
                )
        except TimeoutError:
            text = f"The object store {self.host} did not answer in time."
            raise Unavailable(text, reason=UNREACHABLE, sent=True) from None

    def _meaning(self, answer: Answer) -> PasserelleError:
        """Our error. The store's own sentence is not kept: some repeat the URL."""
        code, _ = decode.fault(answer.body)
        if answer.status in (_FORBIDDEN, _NOT_FOUND):
            text = f"The object store {self.host} no longer takes what the gateway has opened; it is asked for again."
            return Unavailable(text, reason=EXPIRED)
        if code in _NO_ROOM:
            return Rejected(f"The gateway's object store {self.host} has no room left; tell the site.", reason=code)
        told = f"HTTP {answer.status}{f', {code}' if code else ''}"
        if errors.failed(answer) and answer.status < 500 and answer.status != 429:  # noqa: PLR2004 -- not the server's
            return Rejected(f"The gateway's object store {self.host} refused a request ({told}).", reason="Refused")
        return Unavailable(
            f"The object store {self.host} can't answer now ({told}).",
            reason="StoreBusy",
            retry_after=answer.retry_after,
        )


def origin(url: str) -> str:
    """Scheme and host of a URL that a server gave. Raises Invalid for what is none of an object store."""
    try:
        split = urlsplit(url)
        _ = split.port
    except ValueError:
        split = urlsplit("")
    if split.scheme not in ("http", "https") or not split.hostname or split.username is not None:
        raise Invalid("The gateway gave a URL that is none of an object store; tell the site.", reason=FOREIGN)
    return f"{split.scheme}://{split.netloc}"


def one_host(urls: Sequence[str]) -> str:
    """One of these URLs, which lead to the same host. Raises Invalid where they don't, or one is none."""
    if len({origin(url) for url in urls}) > 1:
        raise _several_hosts()
    return urls[-1]


def _several_hosts() -> Invalid:
    text = "The gateway gives URLs of several hosts for one file, which is not believed; tell the site."
    return Invalid(text, reason=FOREIGN)

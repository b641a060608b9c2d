"""Where an object is: s3://bucket/key as people write it, and the address of a request. Pure.

Each byte of a key that is not unreserved is percent-encoded here, once: what is signed is what is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from passerelle.errors import Invalid

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_LABEL = re.compile(r"[a-z0-9-]+")
"""A bucket of such a name may stand before the host: a dot would not fit the host's certificate."""

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and a key in it, or the beginning of keys where it ends with a slash or is empty."""

    bucket: str
    key: str

    @property
    def is_prefix(self) -> bool:
        return not self.key or self.key.endswith("/")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def place(url: str) -> Place:
    """The place that somebody wrote. Raises Invalid with what to write instead."""
    scheme, _, rest = url.partition("://")
    bucket, slash, key = rest.partition("/")
    if scheme != "s3" or not slash or not _BUCKET.fullmatch(bucket) or key.startswith("/"):
        text = "Write an object as s3://BUCKET/KEY, and all that begin alike with a slash at the end: s3://BUCKET/KEY/."
        raise Invalid(text, reason="InvalidUrl")
    return Place(bucket, key)


@dataclass(frozen=True, slots=True)
class Address:
    """Of one bucket: the base of its requests, and what stands before a key in their path."""

    base: str
    before: str

    def path(self, key: str, query: Query = ()) -> str:
        """The path of a request with its query, as it is signed and sent, without the slash at its beginning."""
        asked = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(query))
        return f"{self.before}{quote(key, safe='/~')}{f'?{asked}' if asked else ''}"


def address(bucket: str, *, endpoint: str, region: str) -> Address:
    """An endpoint of one's own has the bucket in the path; AWS has it before the host, where its name allows that."""
    if endpoint:
        return Address(endpoint.rstrip("/"), f"{bucket}/")
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    host = f"s3.{region}.{domain}"
    if _LABEL.fullmatch(bucket):
        return Address(f"https://{bucket}.{host}", "")
    return Address(f"https://{host}", f"{bucket}/")


def _quoted(text: str) -> str:
    return quote(text, safe="~")

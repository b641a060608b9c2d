"""The address of a request: AWS's own hosts, or an endpoint of one's own.

Each byte of a key that is not unreserved is percent-encoded here, once: what is signed is what is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

_LABEL = re.compile(r"[a-z0-9-]+")
"""A bucket of such a name may stand before the host: a dot would not fit the host's certificate."""

Query = Sequence[tuple[str, str]]


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

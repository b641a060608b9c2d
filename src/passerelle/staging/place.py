"""Where an object is, as people write it: s3://bucket/key. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from passerelle.errors import Invalid
from passerelle.v1alpha1.staging import URL_HELP

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


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
        raise Invalid(f"The url {url[:200]!a} is none of an object; {URL_HELP}.", reason="InvalidUrl")
    if not {".", ".."}.isdisjoint(key.split("/")):  # a client on the way would resolve them, and leave the bucket
        text = f"The url {url[:200]!a} has . or .. between slashes; write the key itself, without them."
        raise Invalid(text, reason="InvalidUrl")
    return Place(bucket, key)

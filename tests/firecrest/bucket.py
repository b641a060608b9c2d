"""The object store that a FirecREST has for large files: URLs of it, signed as S3 wants them, by nobody's library."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from passerelle_sandbox.object_store.serve import REGION, ObjectStore


@dataclass
class Bucket:
    """`public` is the address that clients are given; jobs of the site go to the store itself."""

    store: ObjectStore
    public: str = ""
    seconds: int = 3600
    given: list[str] = field(default_factory=list)
    """Every URL that was handed out, to look whether one of them is told to somebody."""

    @property
    def authority(self) -> str:
        return self.store.authority.read_text(encoding="utf-8")

    def begin(self, bucket: str, key: str) -> str:
        """Begin an upload in parts. Returns its id."""
        if not (self.store.objects / bucket).exists():
            self._send("PUT", f"/{bucket}")
        body = self._send("POST", f"/{bucket}/{quote(key)}", {"uploads": ""})
        found = re.search(r"<UploadId>([^<]+)</UploadId>", body)
        assert found, body
        return found[1]

    def url(self, method: str, bucket: str, key: str, query: dict[str, str] | None = None, *, inside: bool) -> str:
        """A URL for one request, for the site's own jobs or for clients."""
        base = self.store.url if inside else self.public or self.store.url
        made = self._signed(method, base, f"/{bucket}/{quote(key)}", query or {})
        self.given.append(made)
        return made

    def _send(self, method: str, path: str, query: dict[str, str] | None = None) -> str:
        context = ssl.create_default_context(cafile=str(self.store.authority))
        request = urllib.request.Request(  # noqa: S310 -- our own store
            self._signed(method, self.store.url, path, query or {}), method=method, data=b""
        )
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310 -- as above
            return str(answer.read().decode())

    def _signed(self, method: str, base: str, path: str, query: dict[str, str]) -> str:
        now = datetime.now(UTC)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        scope = f"{day}/{REGION}/s3/aws4_request"
        told = query | {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.store.access_key_id}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(self.seconds),
            "X-Amz-SignedHeaders": "host",
        }
        asked = "&".join(f"{quote(name, safe='~')}={quote(told[name], safe='~')}" for name in sorted(told))
        canonical = f"{method}\n{path}\n{asked}\nhost:{urlsplit(base).netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.store.secret_access_key}".encode()
        for word in (day, REGION, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()
        return f"{base}{path}?{asked}&X-Amz-Signature={signature}"

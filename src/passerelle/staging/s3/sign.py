"""AWS Signature Version 4, as S3 wants it: a request's headers with its Authorization. Pure; the time is told.

The whole of it is four hashes. botocore would bring it, and with it a python-dateutil that the Kubernetes client can't
use; what is signed here is compared with what botocore signs in tests/unit/staging.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from passerelle.staging.s3.credential import Access

EMPTY = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "s3"


def signed(
    access: Access,
    method: str,
    *,
    host: str,
    path: str,
    headers: Mapping[str, str],
    payload_sha256: str,
    now: float,
) -> dict[str, str]:
    """The headers to send. `path` has its query, both percent-encoded, the query in the order of its names."""
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    covered = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    covered |= {"host": host, "x-amz-content-sha256": payload_sha256, "x-amz-date": moment}
    if access.session_token:
        covered["x-amz-security-token"] = access.session_token
    names = ";".join(sorted(covered))
    bare, _, query = path.partition("?")
    lines = [f"{name}:{covered[name]}" for name in sorted(covered)]
    canonical = "\n".join([method, bare, query, *lines, "", names, payload_sha256])
    scope = f"{moment[:8]}/{access.region}/{_SERVICE}/aws4_request"
    told = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{access.secret_access_key}".encode()
    for word in scope.split("/"):
        key = _mac(key, word)
    signature = _mac(key, told).hex()
    proof = f"{_ALGORITHM} Credential={access.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**covered, "authorization": proof}


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

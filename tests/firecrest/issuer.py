"""Who gives tokens to one client, and what is wrong with one that somebody shows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

CLIENT, SECRET = "contract", "s3cr3t,with:odd%chars"


class Refused(Exception):
    """Why a token is not taken, in FirecREST's words."""


@dataclass
class Issuer:
    """Tokens of `user`, that live for `seconds`. `least_seconds` must be left of one that is shown."""

    user: str
    seconds: int = 300
    least_seconds: float = 30.0
    key: bytes = b"the issuer's key"

    def token(self, seconds: float) -> str:
        """A token that ends in so many seconds."""
        now = int(time.time())
        claims = {"preferred_username": self.user, "exp": int(now + seconds), "iat": now}
        told = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return f"{told}.{self._signature(told)}"

    def holder(self, header: str) -> str:
        """Whose token this is, of an Authorization header; raises Refused."""
        told, _, signature = header.removeprefix("Bearer ").rpartition(".")
        if not told or not hmac.compare_digest(signature, self._signature(told)):
            raise Refused("Access token is invalid.")
        claims = json.loads(base64.urlsafe_b64decode(told.split(".")[1] + "=="))
        left = claims["exp"] - time.time()
        if left <= 0:
            raise Refused("Access token expired")
        if left < self.least_seconds:
            raise Refused("Access token expires too soon (less than 30s remaining).")
        return str(claims["preferred_username"])

    def issue(self, authorization: str, form: bytes) -> tuple[int, dict[str, object]]:
        """The answer to a client, who shows its secret in either way."""
        told = dict(parse_qsl(form.decode()))
        given = told.get("client_id", ""), told.get("client_secret", "")
        if authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            given = unquote(name), unquote(secret)
        if given != (CLIENT, SECRET):
            return 401, {"error": "invalid_client", "error_description": f"not {given}"}
        if told.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        return 200, {"access_token": self.token(self.seconds), "token_type": "Bearer", "expires_in": self.seconds}

    def _signature(self, told: str) -> str:
        return _base64(hmac.digest(self.key, told.encode(), hashlib.sha256))


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

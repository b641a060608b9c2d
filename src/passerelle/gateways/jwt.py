"""A JSON Web Token's claims, read without its key: what is wrong with a token is said in words before it is sent."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any

_PARTS = 3
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def claims_of(token: str) -> dict[str, Any]:
    """A token's claims, unverified. Slurm's own have `sun` (the user), `exp` and `iat` (epoch seconds).

    Empty where the text is no such token: a site may hand out others, and only the site can judge them.
    """
    parts = token.split(".")
    if len(parts) != _PARTS:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def moment(claim: object) -> float | None:
    """A time among the claims, in epoch seconds; None where it is none, or one of a token that never ends: 0, or beyond
    what a calendar has.
    """
    return float(claim) if isinstance(claim, int | float) and 0 < claim <= _LATEST else None

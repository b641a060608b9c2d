"""What an answer of HTTP asks us to wait, by its headers or by its status alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_RESET_SECONDS = 86_400
"""A larger RateLimit-Reset is a moment and no number of seconds, as some proxies send it."""

PATIENCE_STATUS = frozenset({429, 503})
"""With these a Retry-After speaks of all that we may send."""

ASSUMED_PATIENCE = 30.0
"""Seconds: what they ask for where they name no time. Asked again within a second, a site counts it as an attack."""


def patience(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks us to wait, in words or by its status alone."""
    told = retry_after(headers)
    return ASSUMED_PATIENCE if told is None and status in PATIENCE_STATUS else told


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a Retry-After header, in either of its forms, else from RateLimit-Reset, which proxies send; None
    where both are absent or not understood.
    """
    wanted = headers.get("retry-after", "").strip()
    if wanted.isascii() and wanted.isdigit():
        return float(wanted)
    reset = headers.get("ratelimit-reset", "").strip()
    if not wanted and reset.isascii() and reset.isdigit() and int(reset) <= LONGEST_RESET_SECONDS:
        return float(reset)
    try:
        now = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (parsedate_to_datetime(wanted) - now).total_seconds())
    except (ValueError, TypeError):
        return None

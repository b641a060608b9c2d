"""When what came to nothing is tried again: as the site asks, or ever later."""

from __future__ import annotations

import random

from passerelle.errors import PasserelleError, Rejected, Unavailable
from passerelle.gateways.courtesy import LONGEST_PATIENCE
from passerelle.passes import Memory

REJECTED_AGAIN_SECONDS, REJECTED_LONGEST_SECONDS = 600.0, 21_600.0
"""How long a refused submit waits at first, twice as long each time, and at most: an administrator may have mended the
site meanwhile. A change of the Site, or an asked retry, ends the wait.
"""

TRANSIENT_AGAIN_SECONDS, TRANSIENT_LONGEST_SECONDS = 30.0, 600.0
"""Likewise, where it was refused by a limit of the moment."""

REJECTED_SPREAD = 0.1
"""Of either: those that were refused together do not come back together."""


def after(error: PasserelleError, least: float) -> float:
    """Seconds until it is tried again: what was asked for, within reason."""
    asked = error.retry_after if isinstance(error, Unavailable) else None
    return max(least, min(asked or 0.0, LONGEST_PATIENCE))


def refuse(memory: Memory, error: Rejected, now: float, generation: int) -> None:
    """Take in a refusal: it is tried again, ever later."""
    first, longest = REJECTED_AGAIN_SECONDS, REJECTED_LONGEST_SECONDS
    if error.transient:
        first, longest = TRANSIENT_AGAIN_SECONDS, TRANSIENT_LONGEST_SECONDS
    spread = random.uniform(1 - REJECTED_SPREAD, 1 + REJECTED_SPREAD)  # noqa: S311 -- jitter, no secret
    memory.refused_until = now + min(first * 2.0 ** min(memory.refusals, 10), longest) * spread
    memory.refused, memory.refused_under = error, generation
    memory.refusals += 1

"""When a run whose outcome is lost is looked for again. Pure.

Accounting may hear of an end hours later, and a scheduler may come back with what it had: so the site is asked again,
each time after twice as long, for a day. A runaway row costs a dozen look-ups then, and no more.
"""

from __future__ import annotations

import math

FIRST_SECONDS = 120.0
LONGEST_SECONDS = 86_400.0


def next_look(since: float, now: float) -> float | None:
    """Seconds until the next look-up of what is lost since `since`; None where none follows. Both are epoch seconds."""
    age = max(now - since, 0.0)
    doublings = math.floor(math.log2(max(age, FIRST_SECONDS / 2) / FIRST_SECONDS)) + 1
    after = FIRST_SECONDS * 2.0**doublings
    return after - age if after <= LONGEST_SECONDS else None

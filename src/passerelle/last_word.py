"""What was heard of the last word on a run: that no job of it lives. Pure."""

from __future__ import annotations

from dataclasses import dataclass

NEVER = float("-inf")


@dataclass(slots=True)
class LastWord:
    """It is asked for `since`; accounting has said so since `ended_at`. `to_listing`: accounting can't, and a full live
    listing must.
    """

    since: float | None = None
    ended_at: float | None = None
    to_listing: bool = False

    def heard(self, sent_at: float) -> float:
        """When something of it was heard: nothing new is before the settle time has passed since."""
        later = None if self.to_listing else self.ended_at or self.since
        return max(sent_at, NEVER if later is None else later)

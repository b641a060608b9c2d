"""Looks that fail, one after the other: what they tell of who must act, and when the next one comes. Pure; the clock is
the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

from passerelle.errors import Invalid, Misaddressed, PasserelleError

LONGEST_BACKOFF_SECONDS = 60.0
"""Between two looks; or a period, where that is longer."""

MISADDRESSED_SECONDS = 180.0
"""How long another server answers at the address before that is the administrator's to mend."""


class Setbacks:
    """Of one site. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._since = 0.0  # for the reason of the trouble

    def failed(self, error: PasserelleError, before: PasserelleError | None) -> PasserelleError:
        """A look failed, and `before` was the trouble until then; what is from now on."""
        if before is None or before.reason != error.reason:
            self._since = self._clock()
        if isinstance(error, Misaddressed) and self._clock() - self._since >= MISADDRESSED_SECONDS:
            error = Invalid(error.message, reason=error.reason)
        self._failures += 1
        return error

    def answered(self) -> None:
        """A look went well."""
        self._failures = 0

    def backoff(self, period: float) -> float:
        """Seconds until the next look."""
        return min(period * 2.0 ** min(self._failures, 10), max(period, LONGEST_BACKOFF_SECONDS))

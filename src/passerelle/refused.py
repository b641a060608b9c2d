"""A credential that the site has refused, and how seldom it is shown there again. Pure; the clock is the caller's.

Who shows a wrong password once a minute may have the account locked, and its people called. So what was refused is
shown again ever later, while the Secret is read as often as before: another credential is shown at once. Meanwhile the
refusal stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from passerelle.errors import Unauthorized
from passerelle.gateways.meter import metered

FIRST_SECONDS, LONGEST_SECONDS = 120.0, 900.0
"""Until a refused credential is shown once more: at first, and at most; each time twice as long."""

TOKEN_REFUSED = "TokenRefused"  # noqa: S105 -- a reason
"""The reason where a token's server refused us, whose requests nobody counts here."""


class Refused:
    """At one site. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._why: Unauthorized | None = None
        self._shown: object = None
        self._times = 0  # in a row
        self._again = 0.0

    @contextlib.contextmanager
    def showing(self, credential: object) -> Iterator[None]:
        """It is shown inside. Raises Unauthorized, as the site did, while it is spared that. What was refused before
        anything was sent, since it has expired, say, is no matter of the site's.
        """
        if self._why is not None and credential != self._shown:
            self.forget()
        if self._why is not None and self._clock() < self._again:
            raise Unauthorized(self._why.message, reason=self._why.reason)
        with metered() as meter:
            try:
                yield
            except Unauthorized as error:
                if meter.calls or error.reason == TOKEN_REFUSED:
                    self._again = self._clock() + min(FIRST_SECONDS * 2.0 ** min(self._times, 10), LONGEST_SECONDS)
                    self._why, self._shown, self._times = error, credential, self._times + 1
                raise
        self.forget()

    def forget(self) -> None:
        """It was taken, or another door is asked."""
        self._why, self._shown, self._times = None, None, 0

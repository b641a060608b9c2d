"""A watch that has missed something lists anew, and a listing tells of no deletion: whoever it does not name is
doubted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from passerelle.objects import Key

OVER_SECONDS = 30.0
"""So long after its last word a listing is over: nobody tells when it is."""


class Relisting:
    """`over` is given all that were heard of since a listing began. One that is empty is not noticed."""

    def __init__(self, over: Callable[[set[Key]], None]) -> None:
        self._over = over
        self._heard: set[Key] = set()
        self._timer: asyncio.TimerHandle | None = None

    def heard(self, key: Key, *, listed: bool) -> None:
        """What is created while a listing is told of stands in none."""
        if self._timer is None and not listed:
            return
        self._heard.add(key)
        if listed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(OVER_SECONDS, self._end)

    def _end(self) -> None:
        heard, self._heard, self._timer = self._heard, set(), None
        self._over(heard)

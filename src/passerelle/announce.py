"""Events: told in the order in which things happened, behind the acts that they tell of.

No pass waits for an event, and none is lost or delayed for one: what counts stands in the conditions. So events are
written one at a time, beside the passes, and one that kube-apiserver does not take is dropped. A crowd's events come
slowly while passes wait, and are thinned out: one that another one of the same object will soon say better isn't told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from passerelle.errors import Unavailable
from passerelle.kube import Conflict, Gone, Kube

log = logging.getLogger("passerelle.announce")

LIMIT = 10_000
"""Events that wait at most, some 10 MB: while kube-apiserver is away the oldest are dropped, as it drops them itself
after an hour.
"""

CROWD = 100
"""So many that wait are a crowd's."""

PACE_SECONDS = 0.05
"""Between two events while passes wait: an event takes kube-apiserver as long as a patch of theirs."""

FAREWELL_SECONDS = 5.0
"""How long the end of the process waits for the events that are still to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `at` is when it happened, in epoch seconds; `involved` refers to the object that it tells of. `minor`:
    if all goes well, the next one of the object says the same and more.
    """

    at: float
    involved: Mapping[str, Any]
    namespace: str
    kind: Literal["Normal", "Warning"]
    reason: str
    message: str
    minor: bool = False


class Announcer:
    """Writes events, one at a time. `busy` tells whether passes wait."""

    def __init__(self, kube: Kube, busy: Callable[[], bool] = lambda: False) -> None:
        self._kube = kube
        self._busy = busy
        self._leaving = False
        self._waiting: deque[Event] = deque(maxlen=LIMIT)
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    def tell(self, event: Event) -> None:
        """Have this written soon."""
        if event.minor and len(self._waiting) >= CROWD:
            return
        self._waiting.append(event)
        self._none.clear()
        self._some.set()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                await self._write(self._waiting.popleft())
                if len(self._waiting) >= CROWD and self._busy() and not self._leaving:
                    await asyncio.sleep(PACE_SECONDS)
            self._none.set()

    async def farewell(self) -> None:
        """Wait, but not long, until all is written; run() must still be at work."""
        self._leaving = True
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._none.wait()
        except TimeoutError:
            log.warning("events dropped", extra={"events": len(self._waiting)})

    async def _write(self, event: Event) -> None:
        try:
            await self._kube.event(
                at=event.at,
                involved=event.involved,
                namespace=event.namespace,
                kind=event.kind,
                reason=event.reason,
                message=event.message,
            )
        except (Unavailable, Gone, Conflict) as error:
            about = f"{event.namespace}/{event.involved.get('name')}"
            log.warning("event not written", extra={"trainingjob": about, "error": str(error)})

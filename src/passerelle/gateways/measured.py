"""A gateway around a gateway that tells what each call took and how it ended. It changes nothing that passes through,
and lets no act through where another operator may act by now: neither the call nor, later, one of its requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from passerelle.gateways.around import LOOKS, READS, around
from passerelle.gateways.base import Gateway
from passerelle.gateways.meter import metered

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a gateway's operation, which may have taken several requests or commands: `calls` were sent, and
    `responses` came. `error` is None where it went well.
    """

    operation: str
    seconds: float
    error: Exception | None
    calls: int
    responses: int
    received: int


Tell = Callable[[Request], None]
Fence = Callable[[], None]


def measured(gateway: Gateway, tell: Tell, clock: Callable[[], float], fence: Fence = lambda: None) -> Gateway:
    """The same gateway, measured. `clock` is monotonic, in seconds; `fence` raises Unavailable where nothing may be
    done any more but looking.
    """
    return around(gateway, _Measuring(tell, clock, fence))


class _Measuring:
    """What each call passes through."""

    def __init__(self, tell: Tell, clock: Callable[[], float], fence: Fence) -> None:
        self._tell = tell
        self._clock = clock
        self._fence = fence

    async def __call__(self, operation: str, call: Callable[[], Awaitable[_T]], _: str | None = None, /) -> _T:
        """A call that is cancelled together with the operator is not told: it has no outcome."""
        fence = self._fence if operation not in LOOKS | READS else _open
        fence()
        began = self._clock()

        def tell(error: Exception | None) -> None:
            took = self._clock() - began
            self._tell(
                Request(
                    operation=operation,
                    seconds=took,
                    error=error,
                    calls=meter.calls,
                    responses=meter.responses,
                    received=meter.received,
                )
            )

        with metered(may_leave=fence) as meter:
            try:
                answer = await call()
            except Exception as error:
                tell(error)
                raise
        tell(None)
        return answer


def _open() -> None:
    """The fence of what may always be asked."""

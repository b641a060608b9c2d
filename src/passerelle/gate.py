"""The gate before a site: whoever submits, cancels or writes there passes it, towards who was proven to answer and
nobody else. Before that may change, it is waited for until nobody is within.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from passerelle.errors import Deferred, PasserelleError, Unauthorized, Unavailable
from passerelle.gateways.base import Identity

WAITING = "Waiting"
"""The reason why nobody may act while it isn't known who answers."""


class Gate:
    """`answering` tells who was proven to answer, None while nobody was; `shut_out` is told of an act whose
    credential was refused.
    """

    def __init__(self, answering: Callable[[], Identity | None], shut_out: Callable[[], None]) -> None:
        self._answering = answering
        self._shut_out = shut_out
        self._within = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @contextmanager
    def passing(self, identity: Identity) -> Iterator[None]:
        """An act towards this cluster and user. Raises Unavailable, with nothing sent, where another answers."""
        if self._answering() != identity:
            raise Unavailable("The site is asked first who answers there.", reason=WAITING, sent=False)
        self._within += 1
        self._empty.clear()
        try:
            yield
        except Unauthorized:
            self._shut_out()
            raise
        finally:
            self._within -= 1
            if not self._within:
                self._empty.set()

    async def empty(self) -> None:
        """Until no act is in hand."""
        await self._empty.wait()


def waiting() -> Unavailable:
    """The trouble of a site before its first answer."""
    return Unavailable("The site has not answered yet.", reason=WAITING, sent=False)


def kind_of(trouble: PasserelleError | None) -> tuple[type[PasserelleError], str] | None:
    """What is wrong and who must act: a change of either is news."""
    if trouble is None:
        return None
    return (Unavailable if isinstance(trouble, Deferred) else type(trouble)), trouble.reason

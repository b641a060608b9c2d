"""A login node as all Sites see it that lead there: who may try to log in, so that none has the others banned.

Each credential keeps to its own pauses, whichever Site shows it and however often that is edited. But the node counts
what fails by our one address: fail2ban bans it after five in ten minutes, by default. So of ten minutes no more than
four refusals are all of ours, tries under way included. One wrong key alone comes to three, by its own pauses.

Where two users are refused, and nobody gets in between, it is the node that refuses, as in a maintenance. Then
one of all tries at a time, whoever was refused least, and the pause between two tries grows up to a quarter of an hour.
Who gets in ends that for all: those that were refused meanwhile need not wait any longer. One wrong key makes nobody
else wait, and several are tried after all others.

The node is the first host on the way: `gateway.jump`, where there is one, knows our address. A login that it cuts off
counts as refused, since pam_nologin may look like that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from weakref import WeakValueDictionary

from passerelle.errors import PasserelleError, Unavailable
from passerelle.gateways.ssh.address import Address
from passerelle.gateways.ssh.pauses import REFUSED_FIRST, REFUSED_MOST, Pauses

WINDOW_SECONDS, MOST_REFUSALS = 600.0, 4
"""How many there may be in how long."""
SPELL_MOST_SECONDS = 900.0
"""From one try to the next, where the node refuses everybody, at most; REFUSED_FIRST is the first such pause."""
ASKED_SECONDS = 600.0
"""How long somebody who asked goes before those that were refused more often."""
IN_LINE_SECONDS = 60.0
"""How long somebody waits for others whose tries are under way: longer than one takes."""
AFTER_OTHERS_SECONDS = 30.0
"""When somebody may ask again before whom others go."""
_KEPT = 64
"""Credentials whose pauses are remembered before those that have long ended are dropped: certificates are renewed."""

LOGIN_REFUSED, UNREACHABLE = "LoginRefused", "Unreachable"


class LoginCut(Unavailable):
    """The node broke the connection after keys were exchanged, and before the login ended."""

    reason = UNREACHABLE


class Node:
    """`clock` is monotonic, in seconds."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._own: dict[tuple[str, str], Pauses] = {}
        self._refusals: deque[float] = deque()
        """When, in the last ten minutes."""
        self._spell: dict[str, str] = {}
        """Credentials that were refused since anybody got in, and whose they are."""
        self._asked: dict[str, tuple[float, int]] = {}
        """When each who is not in asked last, and how often he was refused."""
        self._rounds = 0
        self._until = float("-inf")
        self._trying = 0
        self._ended = asyncio.Event()

    def pauses(self, way: str, digest: str) -> Pauses:
        """A credential's own, on this way through the node."""
        if len(self._own) >= _KEPT:
            self._own = {key: each for key, each in self._own.items() if not each.over(REFUSED_MOST)}
            known = {of for _, of in self._own}
            self._asked = {each: told for each, told in self._asked.items() if each in known}
        return self._own.setdefault((way, digest), Pauses(self._clock, _jitter))

    @contextlib.asynccontextmanager
    async def login(self, way: str, digest: str, user: str) -> AsyncIterator[None]:
        """One is tried inside, as soon as it may be. Raises what was wrong at the last try where it may not be now."""
        pauses = self.pauses(way, digest)
        await self._in_turn(pauses, digest)
        self._trying += 1
        try:
            yield
        except PasserelleError as error:
            pauses.failed(error, digest)
            if error.reason == LOGIN_REFUSED or isinstance(error, LoginCut):
                self._refused(digest, user)
            else:
                self._spell.pop(digest, None)  # what it says of the node is no longer so
            raise
        else:
            self._let_in(digest)
        finally:
            self._trying -= 1
            self._ended.set()
            self._ended = asyncio.Event()

    async def _in_turn(self, pauses: Pauses, digest: str) -> None:
        until = self._clock() + IN_LINE_SECONDS
        self._asked[digest] = self._clock(), pauses.failures
        while True:
            closed = self._closed
            if not closed or digest not in self._spell:
                pauses.hold(digest)
            wait = max(self._wait(), AFTER_OTHERS_SECONDS if closed and self._others_first(digest) else 0.0)
            if wait > 0:
                pauses.repeat(digest)
                text = f"The login node {self._name} refuses logins; one is tried now and then, until it takes one."
                raise Unavailable(text, reason=UNREACHABLE, sent=False, retry_after=wait)
            if not self._trying or (not closed and len(self._refusals) + self._trying < MOST_REFUSALS):
                return
            try:
                async with asyncio.timeout(until - self._clock()):
                    await self._ended.wait()
            except TimeoutError:
                text = f"Other logins to {self._name} are under way."
                raise Unavailable(text, reason=UNREACHABLE, sent=False) from None

    @property
    def _closed(self) -> bool:
        """Whether it is the node that refuses."""
        return len(set(self._spell.values())) > 1

    def _others_first(self, digest: str) -> bool:
        """Whether somebody waits who was refused less often."""
        since, mine = self._clock() - ASKED_SECONDS, self._asked[digest][1]
        return any(at >= since and refused < mine for at, refused in self._asked.values())

    def _wait(self) -> float:
        """Seconds until anybody may try."""
        now = self._clock()
        while self._refusals and self._refusals[0] <= now - WINDOW_SECONDS:
            self._refusals.popleft()
        room = self._refusals[-MOST_REFUSALS] + WINDOW_SECONDS - now if len(self._refusals) >= MOST_REFUSALS else 0.0
        return max(room, self._until - now)

    def _refused(self, digest: str, user: str) -> None:
        self._refusals.append(self._clock())
        self._spell[digest] = user
        if self._closed:
            pause = min(REFUSED_FIRST * 2.0 ** min(self._rounds, 10), SPELL_MOST_SECONDS)
            self._rounds, self._until = self._rounds + 1, self._clock() + pause

    def _let_in(self, digest: str) -> None:
        self._asked.pop(digest, None)
        if self._closed:
            for (_, other), pauses in self._own.items():
                if other in self._spell:
                    pauses.lift()
        self._spell.clear()
        self._rounds, self._until = 0, float("-inf")


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311 -- no secret


class Nodes:
    """Those of one operator: Sites that lead to one share it, and so do the doors that a Site has one after another."""

    def __init__(self) -> None:
        self._nodes: WeakValueDictionary[Address, Node] = WeakValueDictionary()

    def at(self, address: Address) -> Node:
        lower = Address(address.host.lower(), address.port)
        return self._nodes.setdefault(lower, Node(str(lower)))

"""Two operators, of which one leads: it is killed, stopped or asked to end, and whoever ended is started again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

from passerelle_sandbox.deploy import OperatorProcess
from passerelle_sandbox.errors import SandboxError

SLOTS = 2
KILLED, LOST, ASKED = -9, 75, 0
"""How an operator may end: killed; another one leads; asked to. Any other way is a defect of it."""


class Operators:
    """`start` starts the one of a slot, and does not wait for it."""

    def __init__(self, start: Callable[[int], OperatorProcess]) -> None:
        self._start = start
        self._slots: list[OperatorProcess] = []
        self._leader = 0
        self._led: OperatorProcess | None = None
        self._led_since = time.monotonic()
        self.ended: Counter[int] = Counter()
        self.wrongly: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Two of them, from both being ready on; at the end none."""
        self._slots = [self._start(slot) for slot in range(SLOTS)]
        keeper = None
        try:
            for each in self._slots:
                await asyncio.to_thread(each.wait_until_ready)
            keeper = asyncio.create_task(self._keep())
            yield
            if keeper.done():
                keeper.result()  # why no operator was started any more
        finally:
            if keeper is not None:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
            for each in self._slots:
                if each.process.poll() is None:
                    await asyncio.to_thread(each.kill)  # how it ends when it is asked to, is told of those before

    def leads(self, slot: int) -> None:
        """It has renewed its Lease."""
        if self._slots[slot] is not self._led:
            self._led, self._led_since = self._slots[slot], time.monotonic()
        self._leader = slot

    @property
    def led_seconds(self) -> float:
        """Since the one that leads took over."""
        return time.monotonic() - self._led_since

    def kill(self) -> None:
        """The one that leads, by SIGKILL."""
        self._slots[self._leader].process.kill()

    def sleep(self, seconds: float) -> None:
        """Stop the one that leads by SIGSTOP, and let it go on later, whatever has come meanwhile."""
        sleeper = self._slots[self._leader].process
        if sleeper.poll() is None:
            sleeper.send_signal(signal.SIGSTOP)
            # To one that has ended by then, Popen sends nothing.
            asyncio.get_running_loop().call_later(seconds, sleeper.send_signal, signal.SIGCONT)

    def upgrade(self) -> None:
        """Ask the one that leads to end, as a rollout does."""
        leader = self._slots[self._leader].process
        if leader.poll() is None:
            leader.send_signal(signal.SIGTERM)

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """None of them does anything meanwhile."""
        sleeping = [each.process for each in self._slots if each.process.poll() is None]
        for each in sleeping:
            each.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for each in sleeping:
                each.send_signal(signal.SIGCONT)

    async def replace(self) -> None:
        """All of them by new ones, which are ready."""
        old = list(self._slots)
        for each in old:
            if each.process.poll() is None:
                each.process.kill()
        while any(each in old for each in self._slots):  # noqa: ASYNC110 -- their keeper starts others
            await asyncio.sleep(0.1)
        for each in list(self._slots):
            await asyncio.to_thread(each.wait_until_ready)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for slot, each in enumerate(self._slots):
                code = each.process.poll()
                if code is None:
                    continue
                self.ended[code] += 1
                if code not in (KILLED, LOST, ASKED):
                    self.wrongly.append(f"an operator ended with {code}:\n{each.tail()}")
                    if len(self.wrongly) > SLOTS:
                        raise SandboxError(self.wrongly[0])
                self._slots[slot] = self._start(slot)

"""Secrets that lie at the site of attempts that have ended: a job that never began has not taken them.

A loss is no end. A scheduler that comes back with a job that waits begins it later, and then it needs them: so Secrets
of a lost attempt are left, and told of, as long as it is looked for and no later attempt has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from passerelle import brought
from passerelle.again import after
from passerelle.attempts import is_final
from passerelle.current import OUTCOME_LOST
from passerelle.delivery import discard
from passerelle.errors import Deferred
from passerelle.gateways.base import Identity
from passerelle.lost import next_look
from passerelle.objects import TrainingJob
from passerelle.passes import Pass
from passerelle.plan import sealed_path
from passerelle.run_directory import run_directory
from passerelle.ttl import finished_at
from passerelle.v1alpha1.trainingjob_status import Attempt

CLEAR_AGAIN_SECONDS, CLEAR_LONGEST_SECONDS, CLEAR_TRIES = 5.0, 3600.0, 20
"""When Secrets that could not be removed are tried again, twice as long each time, and how often in a row; an operator
that starts anew begins anew.
"""
RELEASE_TRIES = 5
"""How often of these while a deletion waits for it."""


class Leftovers:
    """Removes them. `clock` is monotonic, in seconds, and `now` the wall clock, in epoch seconds."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self._clock = clock
        self._now = now

    async def clear(self, now: Pass) -> Pass:
        """Leave no Secrets at the site of attempts that have ended, and mark those that are left in the status that is
        written after this: what could not be removed is tried again.
        """
        told, patient = ends_told(now.job), self._clock() < now.memory.left_until
        ended = [each for each in now.attempts if is_final(each)]
        new = {each.number for each in ended if each.number not in told}
        if not new and not any(each.secrets_left for each in now.attempts):
            return now
        awaited = self._awaited(now)
        left = {each.number for each in ended if each.secrets_left}
        if _sealed(now.job):
            left |= new & awaited
        tried = new if patient or now.memory.left >= CLEAR_TRIES else new | left
        due = [each for each in ended if each.number in tried - awaited]
        failed = await self.remove(now, due) if due else set()
        return replace(now, secrets_left=frozenset(left - {each.number for each in due} | failed))

    def due(self, now: Pass) -> float | None:
        """In how many seconds those that are left are tried again; None where none are."""
        left = {each.number for each in now.attempts if each.secrets_left} - self._awaited(now)
        return max(now.memory.left_until - self._clock(), 1.0) if left and now.memory.left < CLEAR_TRIES else None

    def _awaited(self, now: Pass) -> set[int]:
        """Lost attempts whose job may still begin: a later one that has begun keeps it from that (law 7)."""
        begun = max((each.number for each in now.attempts if each.start_time is not None), default=0)
        since = finished_at(now.job)
        if since is not None and next_look(since, self._now()) is None:
            return set()
        return {each.number for each in now.attempts if each.reason == OUTCOME_LOST and each.number > begun}

    async def remove(self, now: Pass, due: Sequence[Attempt]) -> set[int]:
        """Returns those of which Secrets are left."""
        job, memory = now.job, now.memory
        watch = now.service.watch if now.service is not None else None
        sealed = _sealed(job)
        left: set[int] = set()
        spared: Deferred | None = None
        for each in due:
            if not sealed and not each.secrets_left:
                continue
            path = sealed_path(run_directory(job, now.service, each.number), job.run.marker(each.number))
            try:
                if watch is None or not await discard(watch, path, Identity(each.cluster, each.user)):
                    left.add(each.number)
            except Deferred as error:
                spared = error
                left.add(each.number)
        if spared is not None:  # that was no try
            memory.left_until = self._clock() + after(spared, CLEAR_AGAIN_SECONDS)
        elif left:
            wait = min(CLEAR_AGAIN_SECONDS * 2.0**memory.left, CLEAR_LONGEST_SECONDS)
            memory.left, memory.left_until = memory.left + 1, self._clock() + wait
        else:
            memory.left = 0
        return left


def _sealed(job: TrainingJob) -> bool:
    return job.spec is not None and bool(brought.secrets(job.spec))


def ends_told(job: TrainingJob) -> set[int]:
    """The attempts whose end was written down before this pass."""
    return {each.number for each in job.status.attempts if is_final(each)}

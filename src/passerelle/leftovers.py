"""Secrets that lie at the site of attempts that have ended: a job that never began has not taken them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from passerelle import brought
from passerelle.again import after
from passerelle.attempts import is_final
from passerelle.delivery import discard
from passerelle.errors import Deferred
from passerelle.gateways.base import Identity
from passerelle.objects import TrainingJob
from passerelle.passes import Pass
from passerelle.plan import sealed_path
from passerelle.run_directory import run_directory
from passerelle.v1alpha1.trainingjob_status import Attempt

CLEAR_AGAIN_SECONDS, CLEAR_LONGEST_SECONDS, CLEAR_TRIES = 5.0, 3600.0, 20
"""When Secrets that could not be removed are tried again, twice as long each time, and how often in a row; an operator
that starts anew begins anew.
"""
RELEASE_TRIES = 5
"""How often of these while a deletion waits for it."""


class Leftovers:
    """Removes them. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    async def clear(self, now: Pass) -> Pass:
        """Leave no Secrets at the site of attempts that have ended: a job that never began has not taken them. What
        could not be removed is marked in the status that is written after this, and tried again.
        """
        ended, attempts, patient = ends_told(now.job), now.attempts, self._clock() < now.memory.left_until
        left = {each.number for each in attempts if each.secrets_left}
        due = [each for each in attempts if is_final(each) and each.number not in ended]
        if not patient and now.memory.left < CLEAR_TRIES:
            due += [each for each in attempts if each.number in left and each not in due]
        if not due:
            return now
        failed = await self.remove(now, due)
        return replace(now, secrets_left=frozenset(left - {each.number for each in due} | failed))

    async def remove(self, now: Pass, due: Sequence[Attempt]) -> set[int]:
        """Returns those of which Secrets are left."""
        job, memory = now.job, now.memory
        watch = now.service.watch if now.service is not None else None
        sealed = job.spec is not None and bool(brought.secrets(job.spec))
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


def ends_told(job: TrainingJob) -> set[int]:
    """The attempts whose end was written down before this pass."""
    return {each.number for each in job.status.attempts if is_final(each)}

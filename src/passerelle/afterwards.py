"""What becomes of a TrainingJob whose run has ended: it is no longer looked at, a lost one is looked for again, and it
goes by its ttl.

A lost one is looked for once more just before it goes: a job that lives is adopted then, and told of. Once it is being
deleted, a job of it can only be cancelled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from passerelle import ttl
from passerelle.current import OUTCOME_LOST, lives
from passerelle.kube import Kube
from passerelle.lost import next_look
from passerelle.objects import TrainingJob
from passerelle.passes import Pass, recorded
from passerelle.store import Store
from passerelle.v1alpha1.trainingjob_status import Attempt
from passerelle.watch import SiteWatch

log = logging.getLogger("passerelle.afterwards")


class Afterwards:
    """`look_up` asks for a run's jobs; `clock` is monotonic, in seconds, and `now` the wall clock, in epoch seconds."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        look_up: Callable[[TrainingJob, SiteWatch], None],
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._kube = kube
        self._store = store
        self._look_up = look_up
        self._clock = clock
        self._now = now

    def leave(self, now: Pass, last: Attempt) -> float | None:
        """Let the site forget a run that has ended. One whose outcome is lost is looked for again, ever later: returns
        in how many seconds, None while that is under way, or where it is over.
        """
        job, memory, watch = now.job, now.memory, now.service.watch if now.service is not None else None
        if now.action.reason == OUTCOME_LOST:
            return 0.0  # that was written a moment ago: a retry may wait for it
        if watch is None or lives(recorded(job), now.seen):
            return None  # whatever lives of it is followed to its end
        if now.owes:  # what is known of its jobs is of use when its turn comes; of a lost one it must be new
            again = memory.look_again(self._clock()) if last.reason == OUTCOME_LOST else None
            if again == 0:
                watch.forget(job.run)
            return again
        kept = self._store.get(job.key) if last.reason == OUTCOME_LOST and not job.deleting else None
        wait = self._next_look(kept) if kept is not None else None
        if wait is None:
            watch.ended(job.run)
            return None
        if wait <= 0 and now.seen.complete:
            return None  # that was the last look
        clock = self._clock()
        if memory.ask_again_at is None or (memory.ask_again_at <= clock and now.seen.complete):
            memory.ask_again_at = clock + wait
        memory.ask_again_at = min(memory.ask_again_at, clock + wait)  # its ttl may be another by now
        if memory.ask_again_at > clock:
            watch.forget(job.run)  # the next answer is to be a fresh one
            return memory.ask_again_at - clock
        self._look_up(job, watch)
        return None

    def _next_look(self, job: TrainingJob) -> float | None:
        """Seconds until a lost run is looked for again: for the last time when its ttl is over, 0 from then on. None
        where no look follows.
        """
        since, now = ttl.finished_at(job), self._now()
        wait = next_look(since, now) if since is not None else None
        left = ttl.left(job, now) if wait is None else None
        return wait if left is None else max(left, 0.0)

    async def outlived(self, now: Pass) -> float | None:
        """Delete a finished TrainingJob whose ttl has passed; else tell in how many seconds it will have, None where
        the answer of the last look brings the next pass, or the end of a job that began again.
        """
        before = now.job
        if lives(recorded(before), now.seen):
            return None
        has_one = before.spec is not None and before.spec.ttl_seconds_after_finished is not None
        job = self._store.get(before.key) if has_one else None  # as this pass has written it
        left = ttl.left(job, self._now()) if job is not None else None
        if job is None or left is None:
            return None
        if left <= 0:
            if not ttl.may_go(job, now.seen):
                return None
            log.info("deleted after its ttl", extra={"trainingjob": str(job.key), "uid": job.uid})
            await self._kube.delete_trainingjob(job.key, job.uid, job.resource_version)
        return max(left, 1.0)

"""The pass over one TrainingJob: read, decide, act at most once, report once.

The order of the writes is the law here: the finalizer, then the intent, then the POST, then the answer. Whatever is
lost between two of them is found again by the marker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from passerelle import decide
from passerelle.decide import Cancel, Intend, LookUp, Release, Rest, Seen, Submit
from passerelle.errors import PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Identity
from passerelle.holds import BACK_OFF, MAX_JOBS, Holds, back_off
from passerelle.kube import UNAVAILABLE, Conflict, Gone, Kube
from passerelle.marker import Run
from passerelle.objects import Key, TrainingJob, trainingjob
from passerelle.passes import Memory, Pass, accepted_job, wanted
from passerelle.planning import Planned, Planner
from passerelle.reporting import SILENT_PERIODS, Reporter
from passerelle.sites import Service, Sites
from passerelle.slurm import RemoteJob, Stage
from passerelle.status import SUSPENDED, epoch, intended, is_final, with_job
from passerelle.store import Store
from passerelle.v1alpha1.trainingjob import FINALIZER, Attempt
from passerelle.witness import Nobody, Witness
from passerelle.work import WorkQueue

log = logging.getLogger("passerelle.reconcile")

CANCEL_AGAIN_SECONDS = 30.0
"""How long an asked cancel may take before it is asked again: Slurm's KillWait and an epilogue."""

REJECTED_AGAIN_SECONDS = 600.0
"""How long a refused submit waits: an administrator may have mended the site meanwhile."""

TRANSIENT_AGAIN_SECONDS = 30.0
"""How long a submit waits that was refused by a limit of the moment."""

ASK_AGAIN_SECONDS = 1.0
"""How soon a submit that got no answer is looked into: the look-up that follows is batched and polite."""

PLAN_AGAIN_SECONDS = 30.0
"""How long a TrainingJob waits that can't be planned: ConfigMaps and namespaces are read, not watched."""

TURN_AGAIN_SECONDS = 300.0
"""How long a TrainingJob waits for its turn without being woken: in case a wake was missed."""

NO_SITE = ""
"""The queue of TrainingJobs whose Site does not exist."""


class Reconciler:
    """All TrainingJobs in view. `clock` is monotonic, in seconds; `now` is the wall clock, in epoch seconds."""

    def __init__(
        self,
        kube: Kube,
        planner: Planner,
        *,
        clock: Callable[[], float],
        now: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
        witness: Witness | None = None,
    ) -> None:
        self._kube = kube
        self._planner = planner
        self._clock = clock
        self._witness: Witness = witness or Nobody()
        self._now = now
        self._reporter = Reporter(kube, self._keep, now)
        self._store = Store()
        self._holds = Holds(self._wake)
        self._memory: dict[str, Memory] = {}
        self._began = now()
        self.homeless: WorkQueue[Key] = WorkQueue(NO_SITE, self.work, workers=2)
        self.sites: Sites

    # What the watches tell

    def observe(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """A TrainingJob was seen, changed or deleted."""
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        if deleted:
            self._forget(key, body["metadata"]["uid"])
            return
        if not self._store.is_news(key, body):
            return
        self._keep(key, body)
        self._queue(key).add(key)

    def changed(self, run: Run) -> None:
        """The picture of a run's jobs changed."""
        key = self._store.of_run(run)
        if key is not None:
            self._wake(key)

    def turned(self, site: str) -> None:
        """A Site appeared, changed, went away or came back."""
        for key in self._store.of_site(site):
            self._queue(key).add(key)

    # The pass

    async def work(self, key: Key) -> float | None:
        """One pass. Returns after how many seconds the key is due again."""
        job = self._store.get(key)
        if job is None:
            return None
        with self._witness.one_pass():
            return await self._work(job)

    async def _work(self, job: TrainingJob) -> float | None:
        try:
            return await self._pass(job)
        except Conflict:
            return await self._read_again(job.key)
        except Gone:
            self._forget(job.key, job.uid)
            return None
        except Unavailable as error:
            if error.reason != UNAVAILABLE:
                raise  # the queue tries again, ever later
            log.warning("status not written", extra={"trainingjob": str(job.key), "error": str(error)})
            return 1.0

    async def _read_again(self, key: Key) -> float | None:
        uid = self._store.uid(key)
        try:
            self._keep(key, await self._kube.trainingjob(key))
        except Gone:
            self._forget(key, uid)
            return None
        return 0.0

    async def _pass(self, job: TrainingJob) -> float | None:
        service = self.sites.get(job.site)
        memory = self._memory.setdefault(job.uid, Memory())
        seen = self._seen(job, service, memory)
        action = decide.decide(wanted(job), seen)
        planned, hold = Planned(), None
        previewed = not job.status.attempts and not job.deleting
        if previewed or isinstance(action, Intend | Submit):
            attempt = action.attempt if isinstance(action, Intend | Submit) else 1
            hold = self._holds.reason(job, service, memory, action, self._clock())
            if hold is not None and _is_planned(job):
                planned = Planned(held=True)  # it says so already, and nothing is sent
            elif isinstance(action, Submit) and memory.fresh == attempt and memory.refused is None:
                planned = Planned(batch=memory.batch)  # the intent was written for it a moment ago
            else:
                planned = await self._planner.plan(job, service, attempt)
            plannable = planned.batch is not None or planned.held
            action = decide.decide(wanted(job, plannable=plannable, hold=hold is not None), seen)
        self._holds.decided(job, action, hold, _limit(service))
        if service is not None:
            _note_stranger(service, job.key, strange=action.reason == "IdentityChanged")
        return await self._act(Pass(job, service, memory, seen, action, planned, hold))

    async def _act(self, now: Pass) -> float | None:
        action = now.action
        if isinstance(action, Release):
            await self._release(now.job)
            return None
        if isinstance(action, Intend):
            return await self._intend(now, action)
        if isinstance(action, Submit):
            return await self._submit(now, action)
        if isinstance(action, Cancel):
            return await self._cancel(now, action)
        if isinstance(action, LookUp) and now.service is not None and now.service.watch is not None:
            highest = max([attempt.number for attempt in now.job.status.attempts], default=0)
            now.service.watch.look_up(
                now.job.run,
                highest=highest,
                thorough=self._may_have_run(now.job),
                wary=now.job.held_finalizer and not now.job.status.attempts,
                doubtful=action.attempt,
            )
        if _says_nothing_yet(now):
            return None  # the look-up brings the next pass in a moment; a write would only say "waiting"
        kept = await self._reporter.report(now)
        if isinstance(action, Rest) and kept and all(is_final(attempt) for attempt in kept):
            self._holds.forget(now.job, _limit(now.service))
            if now.service is not None and now.service.watch is not None:
                now.service.watch.forget(now.job.run)
        return await self._outlived(now.job.key) or self._due(now)

    async def _outlived(self, key: Key) -> float | None:
        """Delete a finished TrainingJob whose ttl has passed; else tell in how many seconds it will have."""
        job = self._store.get(key)
        if job is None:
            return None
        ttl = job.spec.ttl_seconds_after_finished if job.spec is not None else None
        ends = (each for each in job.status.conditions if each.type == "Finished" and each.status == "True")
        ended = next((epoch(each.last_transition_time) for each in ends), None)
        if ttl is None or ended is None or job.deleting:
            return None
        left = ended + ttl - self._now()
        if left <= 0:
            log.info("deleted after its ttl", extra={"trainingjob": str(key), "uid": job.uid})
            await self._kube.delete_trainingjob(key, job.uid)
        return max(left, 1.0)

    async def _release(self, job: TrainingJob) -> None:
        kept = [name for name in job.finalizers if name != FINALIZER]
        await self._kube.patch_trainingjob(job.key, job.resource_version, {"metadata": {"finalizers": kept}})
        log.info("released", extra={"trainingjob": str(job.key), "uid": job.uid})

    async def _intend(self, now: Pass, action: Intend) -> float | None:
        """Write the intent: the finalizer first, so that no deletion overtakes it."""
        job, plan, batch, service = now.job, now.planned.plan, now.planned.batch, now.service
        if plan is None or batch is None or service is None or now.seen.identity is None:
            raise AssertionError("an intent needs a plan and a site")  # decide() gave no Intend without them
        if not job.held_finalizer:
            held = {"metadata": {"finalizers": [*job.finalizers, FINALIZER]}}
            body = await self._kube.patch_trainingjob(job.key, job.resource_version, held)
            self._keep(job.key, body)
            job = trainingjob(body)
        attempt = intended(plan, now.seen.identity.cluster, now.seen.identity.user, batch.digest)
        attempts = (*(old for old in now.attempts if old.number != attempt.number), attempt)
        await self._reporter.report(
            Pass(job, service, now.memory, now.seen, action, now.planned, None),
            attempts=attempts,
            retry_handled=job.retry_requested_at,
            attempts_suspended=job.status.attempts_suspended + int(_ended_suspended(now.attempts)),
        )
        now.memory.fresh, now.memory.batch, now.memory.ended_at = attempt.number, batch, None
        return 0.0

    async def _submit(self, now: Pass, action: Submit) -> float | None:
        job, memory, service = now.job, now.memory, now.service
        attempt = job.status.attempts[-1]
        batch = memory.batch if memory.fresh == attempt.number else now.planned.batch
        if batch is None or service is None or service.watch is None:
            raise AssertionError("a submit needs a batch and a site")  # decide() gave no Submit without them
        if batch.digest != attempt.script_digest:
            return await self._intend(now, Intend(action.reason, action.attempt))  # the intent says what is sent
        memory.fresh, memory.batch = 0, None
        trouble: PasserelleError | None = None
        attempts = tuple(job.status.attempts)
        accepted: RemoteJob | None = None
        try:
            job_id = await service.watch.submit(job.run, attempt.number, batch, Identity(attempt.cluster, attempt.user))
        except Rejected as error:
            trouble = memory.refused = error
            wait = TRANSIENT_AGAIN_SECONDS if error.transient else REJECTED_AGAIN_SECONDS
            memory.refused_until = self._clock() + wait
            memory.fresh, memory.batch = attempt.number, batch  # a refusal is evidence: nothing was sent that runs
        except PasserelleError as error:
            trouble = error
            if isinstance(error, Unavailable) and not error.sent:
                memory.fresh, memory.batch = attempt.number, batch
        else:
            accepted = accepted_job(attempt, batch, job_id)
            service.watch.submitted(job.run, attempt.number, accepted)
            attempts = (*attempts[:-1], with_job(attempt, accepted).model_copy(update={"submit_time": None}))
        log.info(
            "submitted" if accepted else "not submitted",
            extra={
                "trainingjob": str(job.key),
                "uid": job.uid,
                "site": job.site,
                "marker": attempt.marker,
                "account": attempt.account,
                "job_id": accepted.job_id if accepted else None,
                "reason": trouble.reason if trouble else None,
            },
        )
        await self._reporter.report(now, attempts=attempts, accepted=accepted, trouble=trouble)
        return ASK_AGAIN_SECONDS if isinstance(trouble, Unavailable | Unauthorized) else self._due(now)

    async def _cancel(self, now: Pass, action: Cancel) -> float | None:
        job, service, target, current = now.job, now.service, action.job, now.current
        if service is None or service.watch is None or target is None or current is None:
            raise AssertionError("a cancel needs a site and a job")  # decide() gave no Cancel without them
        if action.reason == "Suspended":
            attempts = now.attempts
            if not attempts[-1].suspended:
                attempts = (*attempts[:-1], attempts[-1].model_copy(update={"suspended": True}))
                await self._reporter.report(now, attempts=attempts)  # why it ends is written before it ends
                return 0.0
        trouble: PasserelleError | None = None
        asked = now.memory.cancelled.get(target.job_id)
        if asked is None or self._clock() - asked >= CANCEL_AGAIN_SECONDS:
            now.memory.cancelled[target.job_id] = self._clock()
            try:
                await service.watch.cancel(job.run, current.number, target)
            except PasserelleError as error:
                trouble = error
                del now.memory.cancelled[target.job_id]
            log.info(
                "cancel asked",
                extra={
                    "trainingjob": str(job.key),
                    "job_id": target.job_id,
                    "marker": target.name,
                    "reason": action.reason,
                    "error": str(trouble) if trouble else None,
                },
            )
        await self._reporter.report(now, trouble=trouble)
        return CANCEL_AGAIN_SECONDS if trouble is None else 5.0

    def _wake(self, key: Key) -> None:
        """It is this TrainingJob's turn."""
        if key in self._store:
            self._queue(key).add(key)

    # What stands in the way

    def _may_have_run(self, job: TrainingJob) -> bool:
        """Whether the site may have a job that the status does not tell of: then the live listing is read, too."""
        older = (epoch(job.created or None) or 0) < self._began
        return job.held_finalizer or job.run_id is not None or older

    def _seen(self, job: TrainingJob, service: Service | None, memory: Memory) -> Seen:
        if service is None or service.watch is None or service.refused is not None:
            return Seen()
        return service.watch.seen(job.run, fresh=[memory.fresh] if memory.fresh else [])

    def _due(self, now: Pass) -> float | None:
        """When this TrainingJob needs a pass without anything changing."""
        waits: list[float] = []
        if now.planned.invalid is not None:
            waits.append(PLAN_AGAIN_SECONDS)
        if now.memory.refused is not None and now.memory.refused_until > self._clock():
            waits.append(now.memory.refused_until - self._clock())
        if now.hold is not None and now.hold.reason == MAX_JOBS:
            waits.append(TURN_AGAIN_SECONDS)
        if now.hold is not None and now.hold.reason == BACK_OFF:
            waits.append(back_off(now.job, now.memory, self._clock()))
        current, watch = now.current, now.service.watch if now.service is not None else None
        if watch is not None and current is not None and current.job is not None and current.job.stage is Stage.RUNNING:
            waits.append((SILENT_PERIODS + 1) * watch.progress_period)  # is its relay ever heard of?
        return min(waits, default=None)

    # Objects

    def _keep(self, key: Key, body: Mapping[str, Any]) -> None:
        if body["metadata"]["uid"] != self._store.uid(key):
            self._forget(key, self._store.uid(key))  # its deletion was missed
        job = self._store.keep(key, body)
        self._holds.kept(job)
        self._witness.kept(job)

    def _forget(self, key: Key, uid: str) -> None:
        """This object is no more."""
        job = self._store.forget(key, uid)
        if job is None:
            return
        self._holds.forget(job, _limit(self.sites.get(job.site)))
        self._memory.pop(job.uid, None)
        self._witness.forgotten(key)
        service = self.sites.get(job.site)
        if service is not None:
            _note_stranger(service, key, strange=False)
            service.queue.drop(key)
            if service.watch is not None:
                service.watch.forget(job.run)

    def _queue(self, key: Key) -> WorkQueue[Key]:
        service = self.sites.get(self._store.site(key))
        return service.queue if service is not None else self.homeless


def _note_stranger(service: Service, key: Key, *, strange: bool) -> None:
    """Keep the Site's list of TrainingJobs that it leads away from, and have its status written when that changes."""
    if strange == (key in service.strangers):
        return
    if strange:
        service.strangers.add(key)
    else:
        service.strangers.discard(key)
    service.to_write.set()


def _limit(service: Service | None) -> int | None:
    return service.site.spec.max_jobs if service is not None and service.site.spec is not None else None


def _is_planned(job: TrainingJob) -> bool:
    return any(each.type == "Accepted" and each.status == "True" for each in job.status.conditions)


def _ended_suspended(attempts: tuple[Attempt, ...]) -> bool:
    return bool(attempts) and attempts[-1].reason == SUSPENDED


def _says_nothing_yet(now: Pass) -> bool:
    """Whether a new TrainingJob only waits for its first look-up at a site that answers."""
    new = not now.job.status.attempts and not now.job.status.conditions and not now.job.deleting
    return new and isinstance(now.action, LookUp) and now.planned.invalid is None and now.job.invalid is None

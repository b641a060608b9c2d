"""The acts of a pass, one each: adopt, write an intent, submit, cancel, release; and the report that follows.

The order of the writes is the law here: the finalizer, then the intent, then the parcels, then the POST, then the
answer. Whatever is lost between two of them is found again by the marker. At the end the Secrets that nobody took are
removed before the end is written, so that whoever dies between does it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from passerelle import claims
from passerelle.actions import Cancel
from passerelle.again import after, refuse
from passerelle.attempts import SUSPENDED, epoch, intended, rfc3339, with_job
from passerelle.decide import ABANDONED, DUPLICATE
from passerelle.delivery import deliver
from passerelle.errors import Deferred, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Identity
from passerelle.kube import Kube
from passerelle.leftovers import CLEAR_AGAIN_SECONDS, RELEASE_TRIES, Leftovers, ends_told
from passerelle.objects import Key, TrainingJob, trainingjob
from passerelle.passes import Pass, accepted_job
from passerelle.reporting import Reporter
from passerelle.slurm import RemoteJob, Stage
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.trainingjob import FINALIZER
from passerelle.v1alpha1.trainingjob_status import Attempt
from passerelle.views import Inquiry

log = logging.getLogger("passerelle.acts")

CANCEL_AGAIN_SECONDS = 30.0
"""How long an asked cancel may take before it is asked again: Slurm's KillWait and an epilogue."""

RETRY_SECONDS = 5.0
"""How soon a cancel, or a word to stop, is tried again that got no answer and that nobody asked us to hold back."""

STOP_SECONDS = 60.0
"""What the batch script may take beside the trainer's grace: half a minute to see a stop request where no signal tells
it, and then to end the steps and to write how they ended.
"""

DELIVER_AGAIN_SECONDS = 5.0
"""How soon a delivery is tried again that got no answer, or no credential was taken for."""

FORGOTTEN_SECONDS = 3600.0
"""How old a TrainingJob without an attempt is at least, so that one may have been made before a backup of it."""

ASK_AGAIN_SECONDS = 1.0
"""How soon a submit that got no answer is looked into: the look-up that follows is batched and polite."""


class Acts:
    """`keep` takes in every answer of kube-apiserver; `clock` is monotonic, in seconds. Each returns when the
    TrainingJob is due again, in seconds, or None. Errors are Conflict, Gone and Unavailable of kube-apiserver.
    """

    def __init__(
        self,
        kube: Kube,
        reporter: Reporter,
        keep: Callable[[Key, Mapping[str, Any]], None],
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._kube = kube
        self._reporter = reporter
        self._keep = keep
        self._clock = clock
        self._now = now
        self.leftovers = Leftovers(clock, now)

    async def release(self, now: Pass) -> float | None:
        """Let the TrainingJob go. An abandoned job may still begin: nothing of it is removed."""
        job, memory = now.job, now.memory
        if now.action.reason != ABANDONED:
            ended = ends_told(job)
            due = [each for each in now.attempts if each.secrets_left or each.number not in ended]
            if await self.leftovers.remove(now, due) and memory.left < RELEASE_TRIES:
                return CLEAR_AGAIN_SECONDS if memory.left else max(memory.left_until - self._clock(), 1.0)
        kept = [name for name in job.finalizers if name != FINALIZER]
        await self._kube.patch_trainingjob(job.key, job.resource_version, {"metadata": {"finalizers": kept}})
        log.info("released", extra={"trainingjob": str(job.key), "uid": job.uid})
        return None

    async def adopt(self, now: Pass) -> float | None:
        """Take the finalizer of a TrainingJob whose jobs were found; what became of them is the next pass's to tell."""
        await self._with_finalizer(now.job)
        log.info("adopted", extra={"trainingjob": str(now.job.key), "uid": now.job.uid})
        return 0.0

    async def _with_finalizer(self, job: TrainingJob) -> TrainingJob:
        if job.held_finalizer:
            return job
        held = {"metadata": {"finalizers": [*job.finalizers, FINALIZER]}}
        body = await self._kube.patch_trainingjob(job.key, job.resource_version, held)
        self._keep(job.key, body)
        return trainingjob(body)

    async def intend(self, now: Pass) -> float | None:
        """Write the intent: the finalizer first, so that no deletion overtakes it."""
        plan, batch, service = now.planned.plan, now.planned.batch, now.service
        if plan is None or batch is None or service is None or now.seen.identity is None:
            raise AssertionError("an intent needs a plan and a site")  # decide() gave no Intend without them
        if (again := await self._former(now, plan.run_directory)) is not None:
            return again
        job = await self._with_finalizer(now.job)
        attempt = intended(plan, now.seen.identity.cluster, now.seen.identity.user, batch.digest)
        attempts = (*(old for old in now.attempts if old.number != attempt.number), attempt)
        await self._reporter.report(
            replace(now, job=job, hold=None),
            attempts=attempts,
            retry_handled=job.retry_requested_at,
            attempts_suspended=job.status.attempts_suspended + int(_ended_suspended(now.attempts)),
        )
        now.memory.fresh, now.memory.batch, now.memory.ended_at = attempt.number, None, None
        if not now.planned.parcels:  # else a Secret may have changed by then, and it is held by nobody
            now.memory.keep(batch, service.site.generation, self._clock())
        return 0.0

    async def _former(self, now: Pass, run_directory: str) -> float | None:
        """Look, once, whether attempts were made of which site and status know nothing any more; then the last of them
        is lost. Returns when to pass again, None where the first intent may stand.
        """
        job, memory, service = now.job, now.memory, now.service
        if job.status.attempts or memory.no_claims or not may_be_forgotten(job, self._now()):
            return None
        if service is None or service.watch is None or now.seen.identity is None:
            raise AssertionError("an intent needs a site")
        try:
            found = await claims.highest(service.watch, run_directory, now.seen.identity)
        except PasserelleError as error:
            await self._reporter.report(now, trouble=error)
            return after(error, DELIVER_AGAIN_SECONDS)
        if not found:
            memory.no_claims = True
            return None
        told = {"trainingjob": str(job.key), "uid": job.uid, "attempt": found}
        log.warning("an attempt is known by its claim alone", extra=told)
        service.watch.look_up(job.run, Inquiry(highest=found, thorough=True, lost=[found]))
        return 0.0

    async def submit(self, now: Pass) -> float | None:
        """POST once. Returns when to look into it where no answer came; the rest is the reconciler's to time."""
        job, memory, service = now.job, now.memory, now.service
        attempt = job.status.attempts[-1]
        batch = now.planned.batch
        if batch is None or service is None or service.watch is None:
            raise AssertionError("a submit needs a batch and a site")  # decide() gave no Submit without them
        if batch.digest != attempt.script_digest:
            return await self.intend(now)  # a ConfigMap or the Site has changed: the intent says what is sent
        trouble: PasserelleError | None = None
        attempts = tuple(job.status.attempts)
        accepted: RemoteJob | None = None
        if now.planned.parcels:
            try:
                await deliver(service.watch, now.planned.parcels, Identity(attempt.cluster, attempt.user))
            except PasserelleError as error:
                return await self._undelivered(now, error)
        memory.fresh, memory.batch, widened = 0, None, False
        try:
            job_id = await service.watch.submit(job.run, attempt.number, batch, Identity(attempt.cluster, attempt.user))
        except Rejected as error:
            trouble = error
            # For a moment it is evidence: nothing runs. A site may refuse thousands: no batch waits.
            memory.fresh, memory.posted, memory.posted_at = attempt.number, attempt.number, self._clock()
            if batch.options.exclude and not error.transient:
                # Slurm may no longer know a node, or have too few others: better a bad node than none.
                memory.anywhere, widened = True, True
            else:
                refuse(memory, error, self._clock(), service.site.generation)
        except PasserelleError as error:
            trouble = error
            if isinstance(error, Unavailable) and not error.sent:
                memory.fresh = attempt.number  # and no batch: when it can be sent, the Site may no longer admit it
        else:
            memory.refused, memory.refusals, memory.anywhere = None, 0, False
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
        await self._reporter.report(
            now, attempts=attempts, accepted=accepted, trouble=trouble, retry_handled=job.retry_requested_at
        )
        return ASK_AGAIN_SECONDS if widened else _again(trouble)

    async def _undelivered(self, now: Pass, error: PasserelleError) -> float | None:
        """Nothing was submitted. Returns when to try again, None where that is the back-off's to say."""
        told = {"trainingjob": str(now.job.key), "uid": now.job.uid, "reason": error.reason, "error": str(error)}
        log.info("not delivered", extra=told)
        if isinstance(error, Rejected) and now.service is not None:
            refuse(now.memory, error, self._clock(), now.service.site.generation)
        await self._reporter.report(now, trouble=error)
        if isinstance(error, Rejected):
            return None
        return after(error, DELIVER_AGAIN_SECONDS)

    async def cancel(self, now: Pass, action: Cancel) -> float | None:
        job, service, target, current = now.job, now.service, action.job, now.current
        if service is None or service.watch is None or target is None or current is None:
            raise AssertionError("a cancel needs a site and a job")  # decide() gave no Cancel without them
        if action.reason == "Suspended":
            attempts = now.attempts
            if not attempts[-1].suspended:
                marked = {"suspended": True, "suspend_time": rfc3339(self._now())}
                attempts = (*attempts[:-1], attempts[-1].model_copy(update=marked))
                await self._reporter.report(now, attempts=attempts)  # why it ends is written before it ends
                return 0.0
            left = grace_left(job, attempts[-1], target, self._now(), now.memory.spared_at)
            if left > 0 and (again := await self._warn(now, target)) is not None:
                return min(left, again)
        trouble: PasserelleError | None = None
        asked = now.memory.cancelled.get(target.job_id)
        if asked is None or self._clock() - asked >= CANCEL_AGAIN_SECONDS:
            now.memory.cancelled[target.job_id] = self._clock()
            sent = True
            try:
                sent = await service.watch.cancel(job.run, current.number, target, surplus=action.reason == DUPLICATE)
            except PasserelleError as error:
                trouble = error
            if trouble is not None or not sent:
                del now.memory.cancelled[target.job_id]
            log.info(
                "cancel asked" if sent else "not cancelled, for it has begun",
                extra={
                    "trainingjob": str(job.key),
                    "job_id": target.job_id,
                    "marker": target.name,
                    "reason": action.reason,
                    "error": str(trouble) if trouble else None,
                },
            )
        if action.reason != DUPLICATE or current.number not in ends_told(job):  # else its end stands as it was told
            await self._reporter.report(now, trouble=trouble)
        return CANCEL_AGAIN_SECONDS if trouble is None else after(trouble, RETRY_SECONDS)

    async def _warn(self, now: Pass, target: RemoteJob) -> float | None:
        """Have the trainer save and stop. Returns when to look again, None where the site can't be asked for it."""
        job, service, warned = now.job, now.service, now.memory.warned
        if service is None or service.watch is None:
            raise AssertionError("a warning needs a site")
        trouble: PasserelleError | None = None
        if target.job_id not in warned or self._clock() - warned[target.job_id] >= CANCEL_AGAIN_SECONDS:
            try:
                if not await service.watch.ask_to_stop(target):
                    return None
            except PasserelleError as error:
                trouble = error
                if isinstance(error, Deferred):
                    now.memory.spared_at = self._now()
            else:
                warned[target.job_id] = self._clock()
            told = {"job_id": target.job_id, "marker": target.name, "error": str(trouble) if trouble else None}
            log.info("told to save and stop", extra={"trainingjob": str(job.key), **told})
        await self._reporter.report(now, trouble=trouble)
        return CANCEL_AGAIN_SECONDS if trouble is None else after(trouble, RETRY_SECONDS)


def may_be_forgotten(job: TrainingJob, now: float) -> bool:
    """Whether a run without an attempt on record may have had one that its site has forgotten: `now` is in epoch
    seconds. A scheduler alone forgets within minutes.
    """
    return job.held_finalizer or job.run_id is not None or now - (epoch(job.created or None) or 0) >= FORGOTTEN_SECONDS


def grace_left(job: TrainingJob, attempt: Attempt, target: RemoteJob, now: float, spared_at: float = 0.0) -> float:
    """Seconds that a suspended attempt still has to save and stop by itself: of a running one with checkpoints its
    grace, and what the batch script needs after it. It begins anew at `spared_at`, when it could not be asked yet.
    """
    checkpoint = job.spec.checkpoint if job.spec is not None else None
    began = epoch(attempt.suspend_time)
    if checkpoint is None or began is None or target.stage is not Stage.RUNNING:
        return 0.0
    grace = seconds(checkpoint.grace) + STOP_SECONDS
    return min(max(began, spared_at) + grace - now, grace)


def _again(trouble: PasserelleError | None) -> float | None:
    """Seconds until a submit is looked into that came to nothing; None where that is the reconciler's to say."""
    if isinstance(trouble, Deferred):
        return after(trouble, ASK_AGAIN_SECONDS)
    return ASK_AGAIN_SECONDS if isinstance(trouble, Unavailable | Unauthorized) else None


def _ended_suspended(attempts: tuple[Attempt, ...]) -> bool:
    return bool(attempts) and attempts[-1].reason == SUSPENDED

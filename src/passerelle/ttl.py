"""When a finished TrainingJob goes by its `ttlSecondsAfterFinished`. Pure.

Nothing goes by itself of which something may still come: outputs that aren't away, or an outcome that is lost and
looked for, for the last time just before it goes.
"""

from __future__ import annotations

from passerelle.attempts import epoch
from passerelle.current import OUTCOME_LOST, Seen
from passerelle.gateways.base import Identity
from passerelle.lost import LONGEST_SECONDS
from passerelle.objects import TrainingJob
from passerelle.staged import all_out
from passerelle.v1alpha1.meta import Condition


def left(job: TrainingJob, now: float) -> float | None:
    """Seconds until it is to be deleted, 0 or less where it is; None where nothing says so. `now` is in epoch seconds.
    A spec that gets a ttl brings another pass.
    """
    ttl = job.spec.ttl_seconds_after_finished if job.spec is not None else None
    ended = finished_at(job)
    if ttl is None or ended is None or job.deleting or not outputs_are_safe(job):
        return None
    return ended + max(ttl, LONGEST_SECONDS if _is_lost(job) else 0.0) - now


def may_go(job: TrainingJob, seen: Seen) -> bool:
    """Whether nothing of it lives. A lost run is looked for once more; another site's silence tells nothing of it."""
    if not _is_lost(job) or job.abandon:
        return True
    last = job.status.attempts[-1] if job.status.attempts else None
    return seen.complete and (last is None or seen.identity == Identity(last.cluster, last.user))


def finished_at(job: TrainingJob) -> int | None:
    """Since when it is finished, as it stands in the status; None where it is not."""
    found = _condition(job, "Finished")
    return epoch(found.last_transition_time) if found is not None and found.status == "True" else None


def outputs_are_safe(job: TrainingJob) -> bool:
    """Whether nothing is lost to the object store when the TrainingJob goes: a failed run's outputs go nowhere, and of
    one whose outcome is lost nobody knows whether they are to.
    """
    if job.spec is None or not job.spec.outputs or all_out(job.status):
        return True
    found = _condition(job, "Succeeded")
    return found is None or (found.status != "True" and not _is_lost(job))


def _is_lost(job: TrainingJob) -> bool:
    found = _condition(job, "Succeeded")
    return found is not None and found.reason == OUTCOME_LOST


def _condition(job: TrainingJob, kind: str) -> Condition | None:
    return next((each for each in job.status.conditions if each.type == kind), None)

"""Why nothing of a TrainingJob may be submitted now, although it is wanted. A hold never ends what runs."""

from __future__ import annotations

from passerelle.decide import Action, Intend, Submit
from passerelle.objects import TrainingJob
from passerelle.passes import Memory
from passerelle.sites import Service
from passerelle.status import Word, is_final

MAX_JOBS = "MaxJobs"


class Holds:
    """Counts, per Site, the TrainingJobs with an attempt that is open or about to be: many passes run side by side, so
    one counts from its decision on, not from its job's first record.
    """

    def __init__(self) -> None:
        self._occupied: dict[str, set[str]] = {}  # Site -> uids

    def kept(self, job: TrainingJob) -> None:
        """This is how kube-apiserver has the TrainingJob."""
        if _open(job):
            self._occupied.setdefault(job.site, set()).add(job.uid)

    def decided(self, job: TrainingJob, action: Action) -> None:
        """This is what its pass will do."""
        if isinstance(action, Intend | Submit):
            self._occupied.setdefault(job.site, set()).add(job.uid)
        elif not _open(job):
            self.forget(job)

    def forget(self, job: TrainingJob) -> None:
        self._occupied.get(job.site, set()).discard(job.uid)

    def reason(
        self, job: TrainingJob, service: Service | None, memory: Memory, action: Action, now: float
    ) -> Word | None:
        """What holds the TrainingJob back, as the condition Submitted says it; `now` is the monotonic clock's."""
        if service is None or service.site.spec is None or service.watch is None:
            return None
        name, limit = service.site.name, service.site.spec.max_jobs
        if service.site.spec.suspend:
            return Word("False", "SiteSuspended", f"Site {name} is suspended: nothing new is submitted there.")
        others = self._occupied.get(name, set()) - {job.uid}
        if limit is not None and isinstance(action, Intend) and len(others) >= limit:
            return Word("False", MAX_JOBS, f"Site {name} has its maxJobs ({limit}) of live jobs.")
        if memory.refused is not None and now < memory.refused_until:
            return Word("False", memory.refused.reason, memory.refused.message)
        return None


def _open(job: TrainingJob) -> bool:
    attempts = job.status.attempts
    return bool(attempts) and not is_final(attempts[-1])

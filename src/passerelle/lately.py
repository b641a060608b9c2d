"""Jobs that ended a while ago and that the scheduler still lists: an administrator may have one run again. Pure.

The site is not asked about a run any more once its end is written. But a light listing that is read anyway names these
ids, too, as many as need no further call: so a job that is requeued is found at that look, and not in the hour's
listing of all. Once the scheduler has forgotten a job, minutes after its end, nobody can requeue it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from passerelle.slurm import JobState, RemoteJob, Stage

KEPT = 200
"""Jobs that are kept, the newest: each costs some hundred bytes of a listing."""

PER_CALL = 2_000
"""Ids that one call of the light listing takes."""


class Lately:
    """At one site."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # job id -> name, the longest ended first

    def ended(self, job: RemoteJob) -> None:
        """The scheduler lists this job as ended."""
        self._names.pop(job.job_id, None)
        self._names[job.job_id] = job.name
        if len(self._names) > KEPT:
            del self._names[next(iter(self._names))]

    def beside(self, others: Collection[str]) -> list[str]:
        """Those that a listing of these ids names without a call more; none beside none, for then there is no call."""
        room = -len(others) % PER_CALL
        return [each for each in islice(reversed(self._names), room) if each not in others]

    def alive(self, asked: Collection[str], states: Mapping[str, JobState]) -> list[str]:
        """Those of `asked` that live again; the ones that the scheduler has forgotten are dropped."""
        for job_id in asked:
            if job_id not in states:
                self._names.pop(job_id, None)
        return [each for each in asked if each in states and states[each].stage is not Stage.ENDED]

    def known(self, read: Iterable[RemoteJob], wanted: Collection[str]) -> list[RemoteJob]:
        """Of these records, those of the jobs that ended: where a site has lost its state, ids start again. Whatever
        became of those that were wanted, nobody is told of them again.
        """
        names = {job_id: self._names.pop(job_id, None) for job_id in wanted}
        return [job for job in read if names.get(job.job_id) == job.name]

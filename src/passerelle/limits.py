"""Who waits for a limit of an account or a QoS (line.py), kept for each of those that a Site's TrainingJobs are charged
to: a full account of one team holds up nobody of another. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from passerelle.line import Limit
from passerelle.objects import Key, TrainingJob
from passerelle.plan import Plan

_Charge = tuple[str, str, str, str]
"""Site, account, partition and QoS: what Slurm's limits are of."""


class Limits:
    """Of all Sites. `wake` is told whose turn it is."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._limits: dict[_Charge, Limit] = {}
        self._charges: dict[str, _Charge] = {}  # by uid

    def planned(self, job: TrainingJob, plan: Plan | None) -> None:
        """This is what would be asked for it."""
        if plan is None:
            return
        charge = (job.site, plan.account or "", plan.partition, plan.qos or "")
        if (former := self._of(job)) is not None and former is not self._limits.get(charge):
            self._call(former.leave(job))
        self._charges[job.uid] = charge

    def lapse(self, job: TrainingJob, now: float) -> None:
        """Of its limit, who should have tried again by now is waited for no more."""
        if (limit := self._of(job)) is not None:
            self._call(limit.lapse(now))

    def shut(self, job: TrainingJob) -> bool:
        """Whether it must wait for others."""
        return (limit := self._of(job)) is not None and limit.shut(job.uid)

    def waits(self, job: TrainingJob) -> bool:
        """It is held by such a limit: whether it waits for others, or will try again by itself."""
        if (limit := self._of(job)) is None or not limit.shut(job.uid):
            return False
        limit.wait(job)
        return True

    def sent(self, job: TrainingJob) -> None:
        """It is about to be."""
        if (limit := self._of(job)) is not None:
            limit.line.leave(job)

    def left(self, job: TrainingJob) -> None:
        """It wants nothing now, or is held by something else."""
        if (limit := self._of(job)) is not None:
            self._call(limit.leave(job))

    def refused(self, job: TrainingJob, until: float) -> None:
        """By such a limit. It will have tried again by `until`."""
        if (limit := self._of(job)) is not None:
            self._call(limit.tried(job, until))

    def taken(self, job: TrainingJob) -> None:
        """The site took it, or it has ended: there may be room for another."""
        if (limit := self._of(job)) is not None:
            limit.line.leave(job)
            self._call(limit.taken(job))

    def ended(self, job: TrainingJob) -> None:
        """There may be room for another, and it may wait itself."""
        if (limit := self._of(job)) is not None:
            self._call(limit.taken(job))

    def forget(self, job: TrainingJob) -> None:
        """Nothing more of it will be submitted."""
        self.taken(job)
        self._charges.pop(job.uid, None)

    def _of(self, job: TrainingJob) -> Limit | None:
        """None while nobody knows whom it is charged to."""
        charge, plan = self._charges.get(job.uid), job.status.plan
        if charge is None and plan is not None:
            charge = (job.site, plan.account, plan.partition, plan.qos)
        return self._limits.setdefault(charge, Limit()) if charge is not None else None

    def _call(self, keys: list[Key]) -> None:
        for key in keys:
            self._wake(key)

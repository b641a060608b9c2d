"""What once led to a finding. Mishaps that no seed draws are tried with every sample; of the seeds, which may need a
sandbox of their own and minutes, one is drawn for each.
"""

from __future__ import annotations

from faults.plan import Fault, Kind, Mishap

KEPT: dict[str, tuple[Mishap, ...]] = {
    "stale-submit": (
        Mishap(Kind.SUBMIT, 3, Fault.KILL_STALE),
        Mishap(Kind.LISTING, 2, Fault.LOSE_ANSWER),
        Mishap(Kind.PATCH, 12, Fault.CONFLICT),
    ),
}
"""By a name that says what it is; it becomes a namespace's. All its TrainingJobs are to succeed."""

FAILED = (30, 155, 160, 235, 300, 315, 355, 400, 600, 660)
"""Seeds. 30 and 155: whoever led was killed before it had listed all jobs twice, as its last word on a submit needs.
160: a job's time was over before its script came to srun. 300: a restore of etcd, and a deletion before an operator led
again. 400: of two jobs that waited, the one that was cancelled had just begun. 600: a restore of etcd brought back a
Site's address at which nobody was any more, and nobody applied the Site again. 660: who led was stopped, another led
and wrote six ends, a restore undid them, and the first one read of them as it woke up, and led on. 235, 315 and 355:
what was taken over in doubt through A-REX took three listings (tests/flow/test_doubt.py counts them).
"""

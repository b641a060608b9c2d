"""Mishaps that once led to a defect, or that no seed draws: they are tried with every sample."""

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

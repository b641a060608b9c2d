"""How long before its time limit an attempt with checkpoints is told to stop. Pure.

The trainer gets the whole grace, whatever of these comes together (sbatch(1), `--signal`; slurm.conf(5), KillWait):
Slurm looks at time limits twice a minute, so that its warning may come a minute early and never late by more; and
between its TERM and its KILL a site leaves KillWait, 30 s by default. Longer warnings are rounded up to whole minutes,
as Slurm counts time limits.
"""

from __future__ import annotations

from passerelle.errors import Invalid
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.trainingjob import Checkpoint

RESOLUTION_SECONDS = 60
"""What Slurm's warning may be early."""
KILL_WAIT_SECONDS = 30
"""Slurm's default between TERM and KILL."""
LONGEST_WARNING_SECONDS = 65_535 // 60 * 60
"""Slurm keeps the seconds of a warning in 16 bits."""


def warning_seconds(grace_seconds: int) -> int:
    """How long before the end Slurm is asked to warn."""
    return -(-(grace_seconds + RESOLUTION_SECONDS + KILL_WAIT_SECONDS) // 60) * 60


def grace_seconds(checkpoint: Checkpoint, time_limit_minutes: int) -> int:
    """The grace, where the time limit leaves the training more than it. Raises Invalid with the longest that fits."""
    grace, limit = seconds(checkpoint.grace), time_limit_minutes * 60
    if grace <= (most := longest_grace(time_limit_minutes)):
        return grace
    text = f"checkpoint.grace {checkpoint.grace} leaves the training less than half of a timeLimit of {limit // 60}m"
    shorter = f"write a grace of at most {most}s, or a longer timeLimit" if most > 0 else "write a longer timeLimit"
    raise Invalid(f"{text}; {shorter}.", reason="GraceTooLong")


def longest_grace(time_limit_minutes: int) -> int:
    """Seconds; not positive where no grace fits. The grace takes less than half of the limit, and a warning that comes
    a minute early must not come with the start.
    """
    limit = time_limit_minutes * 60
    longest_warning = min(limit - 2 * RESOLUTION_SECONDS, LONGEST_WARNING_SECONDS)
    return min((limit - 1) // 2, longest_warning - RESOLUTION_SECONDS - KILL_WAIT_SECONDS)

"""What a pass may do: one of these is the word of `decide`."""

from __future__ import annotations

from dataclasses import dataclass

from passerelle.slurm import RemoteJob


@dataclass(frozen=True, slots=True)
class Action:
    """What to do in this pass; `reason` is one CamelCase word for the log."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rest(Action):
    """Nothing to do until something changes."""


@dataclass(frozen=True, slots=True)
class LookUp(Action):
    """Ask the site for this run's jobs by marker. `attempt` is an intent whose absence is in question, if one is.
    `last`: all that are known have ended, and whether another one lives is to be known before that counts.
    """

    attempt: int | None = None
    last: bool = False


@dataclass(frozen=True, slots=True)
class Adopt(Action):
    """Take the finalizer of a TrainingJob that has a job, or may have one, from which no deletion is to part it."""


@dataclass(frozen=True, slots=True)
class Intend(Action):
    """Write the intent of this attempt into the status."""

    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Submit(Action):
    """POST this attempt, whose intent stands."""

    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Cancel(Action):
    """End this job."""

    job: RemoteJob | None = None


@dataclass(frozen=True, slots=True)
class Release(Action):
    """Let the TrainingJob go: remove the finalizer."""

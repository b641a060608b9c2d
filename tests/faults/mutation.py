"""The mutants: for each the mishap that brings it to light, and how the check must see it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.history import Verdict
from faults.plan import Fault, Kind, Mishap

HERE = Path(__file__).parent / "mutants"
PATIENCE_SECONDS = 60.0
"""Enough for what lives as it must; a mutant's job may never end."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`mishaps` befall the submits from the second on; `seen` tells from a verdict whether the check has caught it.
    `ways` are those of its TrainingJobs.
    """

    name: str
    faults: tuple[Fault, ...]
    seen: Callable[[Verdict], bool]
    ways: tuple[str, ...] = ("ok",) * 4

    @property
    def file(self) -> Path:
        return HERE / f"{self.name}.py"

    @property
    def mishaps(self) -> tuple[Mishap, ...]:
        return tuple(Mishap(Kind.SUBMIT, number, fault) for number, fault in enumerate(self.faults, 2))


def _submitted_or_worse(verdict: Verdict) -> bool:
    return bool(verdict.submitted_twice or verdict.defects)


MUTANTS = (
    Mutant("no_adoption", (Fault.LOSE_ANSWER,), _submitted_or_worse),
    # The operator ends a second job that waits: it must be away until that has begun.
    Mutant("no_fence", (Fault.SEND_TWICE, Fault.KILL_AFTER), lambda verdict: bool(verdict.executed_twice)),
    Mutant("next_attempt", (Fault.LOSE_CALL,), lambda verdict: bool(verdict.wrong_end)),
    Mutant("empty_listing", (Fault.LOSE_ANSWER,), _submitted_or_worse),
    Mutant("error_text", (Fault.LOSE_ANSWER,), _submitted_or_worse),
    # No watch tells of the deletion: the job's last patch meets it, or is written over it, and its answer is no news.
    Mutant("no_resource_version", (), lambda verdict: bool(verdict.lost and verdict.orphans), ("unheard",)),
)

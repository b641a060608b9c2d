"""What the TrainingJobs showed, and when: kept from a watch of kube-apiserver, beside the operator. Pure but for `now`.

A moment is when the bench, on the same machine, has the object in hand. Slurm's stamps are whole seconds, cut off, so a
lag told here is up to a second longer than it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Entry:
    """One TrainingJob. Moments are in epoch seconds, None where it has not come to that."""

    uid: str
    job_id: str | None = None
    accepted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    deleted_at: float | None = None
    succeeded: str = "Unknown"
    attempts: int = 0
    summary: str = ""
    reason: str = ""


@dataclass(slots=True)
class Diary:
    """All TrainingJobs, by name."""

    now: Callable[[], float]
    entries: dict[str, Entry] = field(default_factory=dict)
    changes: int = 0

    def take(self, body: Mapping[str, Any], *, deleted: bool = False) -> None:
        """An object was created, changed or deleted."""
        self.changes += 1
        moment = self.now()
        entry = self.entries.setdefault(body["metadata"]["name"], Entry(body["metadata"]["uid"]))
        if deleted:
            entry.deleted_at = moment
            return
        status = body.get("status", {})
        entry.attempts = status.get("attemptsTotal", 0)
        entry.summary, entry.reason = status.get("summary", ""), status.get("reason", "")
        entry.succeeded = next(
            (each["status"] for each in status.get("conditions", []) if each["type"] == "Succeeded"), "Unknown"
        )
        for attempt in status.get("attempts", [])[-1:]:
            entry.job_id = attempt.get("jobId")
            if entry.job_id is not None:
                entry.accepted_at = entry.accepted_at or moment
            if "startTime" in attempt:
                entry.started_at = entry.started_at or moment
            if "endTime" in attempt:
                entry.ended_at = entry.ended_at or moment

    @property
    def accepted(self) -> int:
        return sum(entry.accepted_at is not None for entry in self.entries.values())

    @property
    def started(self) -> int:
        return sum(entry.started_at is not None for entry in self.entries.values())

    @property
    def finished(self) -> int:
        return sum(entry.succeeded != "Unknown" for entry in self.entries.values())

    @property
    def deleted(self) -> int:
        return sum(entry.deleted_at is not None for entry in self.entries.values())

    def summaries(self) -> str:
        """How many of those that are there show which word, for a person who waits."""
        words = [entry.summary or "new" for entry in self.entries.values() if entry.deleted_at is None]
        return ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words)))


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least so large a share of them does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan

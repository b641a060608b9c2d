"""What comes all at once: a change of every TrainingJob, and the end of a thousand."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from bench.bare import per_second
from bench.readings import WRITES, Between
from bench.trial import CREATES_AT_ONCE, Trial
from passerelle_sandbox import say


@dataclass(frozen=True, slots=True)
class Storm:
    """So many events a second came for `seconds`, and the operator was still `behind_seconds` after the last one. It
    wrote so much for them, which should be nothing.
    """

    per_second: float
    behind_seconds: float
    cpu_ms: float
    writes: int


async def storm(trial: Trial, names: list[str]) -> Storm:
    """Somebody annotates every one of these, which is an event each, and asks for nothing."""
    first = await trial.watched.reading()
    with say.step(f"an annotation on each of {len(names)} TrainingJobs"):
        rate = await per_second([partial(trial.api.annotate, name, "1") for name in names], CREATES_AT_ONCE)
    ended = time.monotonic()
    last = await trial.watched.until_still("the storm to be over")
    between = Between(first, last)
    kinds = ("trainingjob_status", "trainingjob_metadata")
    return Storm(
        per_second=rate,
        behind_seconds=last.at - ended,
        cpu_ms=1000 * (last.cpu_seconds - first.cpu_seconds) / len(names),
        writes=int(sum(between.count(WRITES, kind=kind) for kind in kinds)),
    )


async def delete(trial: Trial, names: list[str], patience: float) -> float:
    """Delete these, each by a call of its own: for a thousand among ten thousand, one call takes longer than
    the minute that kube-apiserver gives it. Seconds until the last of them is gone, its Slurm job cancelled.
    """
    before, began = trial.diary.deleted, time.time()
    with say.step(f"{len(names)} TrainingJobs are deleted"):
        await per_second([partial(trial.api.delete, name) for name in names], CREATES_AT_ONCE)
    await trial.until(lambda: trial.diary.deleted - before >= len(names), "them to be gone", patience)
    return max(entry.deleted_at or 0.0 for entry in trial.diary.entries.values()) - began

"""When a TrainingJob is due again although nothing wakes it."""

from __future__ import annotations

from passerelle.holds import BACK_OFF, SPARED, TURNS, back_off
from passerelle.passes import RESUMED_SECONDS, Pass
from passerelle.reporting import SILENT_PERIODS, heard, unseen_after
from passerelle.slurm import Stage

PLAN_AGAIN_SECONDS = 30.0
"""How long a TrainingJob waits that can't be planned: ConfigMaps and namespaces are read, not watched."""

TURN_AGAIN_SECONDS = 300.0
"""How long a TrainingJob waits for its turn without being woken: in case a wake was missed."""


def due(now: Pass, clock: float) -> float | None:
    """In how many seconds this TrainingJob needs a pass without anything changing; None: in none."""
    waits: list[float] = []
    if now.planned.invalid is not None:
        waits.append(PLAN_AGAIN_SECONDS)
    waits += now.memory.refusal_due(clock)
    if now.hold is not None and now.hold.reason in TURNS:
        waits.append(TURN_AGAIN_SECONDS)
    if now.hold is not None and now.hold.reason == SPARED and now.service is not None:
        spared = now.service.courtesy.submits_wait()
        waits.append(max(spared.retry_after or 0.0, 1.0) if spared is not None else 1.0)
    if now.hold is not None and now.hold.reason == BACK_OFF:
        waits.append(back_off(now.job, now.memory, clock))
    if now.memory.resumed_at is not None and not now.resumed:
        waits.append(max(now.memory.resumed_at + RESUMED_SECONDS - clock, RESUMED_SECONDS / 2))
    current, watch = now.current, now.service.watch if now.service is not None else None
    if watch is not None and watch.trouble is not None and watch.silent_seconds < unseen_after(watch):
        waits.append(unseen_after(watch) - watch.silent_seconds)  # then they say that it is out of sight
    job = current.job if current is not None else None
    if watch is not None and job is not None and job.stage is Stage.RUNNING and not heard(job):
        waits.append((SILENT_PERIODS + 1) * watch.reporting_seconds)  # is its relay ever heard of?
    return min(waits, default=None)

"""A second row: fifty TrainingJobs that run and report, and what it costs to hear of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bench.crowd import site
from bench.readings import GATEWAY, WRITES, Between
from bench.trial import trial
from bench.watched import Watched
from bench.workload import trainingjob
from passerelle_sandbox import say
from passerelle_sandbox.sandbox import Sandbox

NAMESPACE = "bench-reporters"
REPORTERS = 50
LASTS = 150
_ACCEPT_PATIENCE, _RUN_PATIENCE = 300.0, 600.0


@dataclass(frozen=True, slots=True)
class Reported:
    """Of fifty that run: bytes of full records for each and minute, and progress writes of each a minute."""

    bytes_per_job_minute: float
    writes_per_job_minute: float
    cpu_percent: float


async def reporters(there: Sandbox, watched: Watched, period: float) -> Reported:
    """Fifty run; two progress periods are looked at, after one in which all have begun to report."""
    manifests = [
        trainingjob(NAMESPACE, f"job-{number:03}", site=site(number), lasts=LASTS) for number in range(REPORTERS)
    ]
    async with trial(there, watched, NAMESPACE, manifests) as made:
        await made.accept(_ACCEPT_PATIENCE)
        await made.until(lambda: made.diary.started == REPORTERS, "all to run", _RUN_PATIENCE)
        with say.step("one progress period"):
            await asyncio.sleep(period)
        seen = await watched.quiet(2 * period, f"{REPORTERS} run and report")
        if made.diary.finished:
            raise TimeoutError(f"{made.diary.finished} of them have ended too early: this machine is too busy")
        await made.api.delete_all()
        await made.until(lambda: made.diary.deleted == REPORTERS, "them to be gone", _RUN_PATIENCE)
    return measured(seen)


def measured(seen: Between) -> Reported:
    """What two readings say of fifty that ran and reported between them."""
    minutes = REPORTERS * seen.seconds / 60
    return Reported(
        bytes_per_job_minute=seen.count(f"{GATEWAY}_response_bytes_total", operation="get") / minutes,
        writes_per_job_minute=seen.count(WRITES, kind="trainingjob_progress") / minutes,
        cpu_percent=seen.cpu_percent,
    )

"""TrainingJobs that somebody deletes after a restore, before any operator saw them there.

A backup that was taken before a submit has the TrainingJob without our finalizer: where it is deleted while nobody
leads, kube-apiserver removes it at once, and no operator can know of it. Its job runs on, but not in silence: the Site
has to name it, and then a person ends it, as docs/site.md asks them to.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable

from faults.events import Row
from faults.history import What, run_of
from faults.life import Life
from passerelle.v1alpha1.trainingjob import FINALIZER

NAMED_SECONDS = 300.0
"""How long the Site may take: two minutes after whoever leads began, and a listing that went wrong is made again."""


async def delete(life: Life, name: str) -> None:
    """Ask for the deletion of a TrainingJob, whoever leads, and note where nothing holds it."""
    async with life.cluster:
        said = await life.stage.kubectl("-n", life.name, "get", "tj", name, "--ignore-not-found", "-o", "json")
        if life.restored and said and FINALIZER not in json.loads(said)["metadata"].get("finalizers", ()):
            life.unseen |= {task.run for task in life.tasks if task.name == name}
        life.deleted[name] = time.time()
        await life.stage.kubectl("-n", life.name, "delete", "tj", name, "--wait=false", "--ignore-not-found")


async def end(life: Life) -> None:
    """Cancel the jobs of those that went unseen, once their Site names them. What it doesn't name in time runs on."""
    clock = asyncio.get_running_loop().time
    until = clock() + NAMED_SECONDS
    while clock() < until and (left := [row for row in await life.queue() if run_of(row.job.name) in life.unseen]):
        for row in named(await _message(life), left):
            life.strike(row, What.CANCELLED)
            await life.tried("scancel", row.job.job_id, user=life.stage.site.user)
        await asyncio.sleep(1)


def named(message: str, rows: Iterable[Row]) -> list[Row]:
    """The jobs that a condition's message names by id and marker."""
    return [row for row in rows if f" {row.job.job_id} ({row.job.name})" in message]


async def _message(life: Life) -> str:
    """Why not all jobs are known, if the Site says so."""
    async with life.cluster:
        status = json.loads(await life.stage.kubectl("get", "hpcsite", life.name, "-o", "json")).get("status", {})
    told = {each["type"]: each for each in status.get("conditions", ())}.get("JobsKnown", {})
    return str(told["message"]) if told.get("status") == "False" else ""

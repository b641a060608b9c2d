"""A run of a site's life: ten TrainingJobs of one namespace at one Site, to which events happen beside the mishaps of
calls; what happened, and what became of the TrainingJobs.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from faults import accounts, cluster_life, site_life, unseen
from faults.events import Event, Happening, Row, drawn_life, struck
from faults.history import Blow, Job, Task, Told, Verdict, Wanted, What, check
from faults.life import Life
from faults.plan import Plan, drawn
from faults.run import Ran, hit, quiet, told
from faults.site_stage import SiteStage
from passerelle.marker import Run
from passerelle_sandbox import deploy, say

JOBS = 10
PATIENCE_SECONDS = 420.0
SETTLE_SECONDS = 90.0
"""How long accounting may lag behind the scheduler."""
_PROGRAM = """\
word=$SLURM_JOB_ID+${SLURM_RESTART_COUNT:-0}
echo "$word" >> "$PASSERELLE_RUN_DIR/executed-$PASSERELLE_ATTEMPT"
sleep "$1"
echo "$word" >> "$PASSERELLE_RUN_DIR/ended-$PASSERELLE_ATTEMPT"
exit "$2"
"""
_ENDLESS_SECONDS = 600

DOES: dict[Event, Callable[[Life, Happening], Awaitable[str]]] = {
    Event.RESTARTED: site_life.restarted,
    Event.STATE_LOST: site_life.state_lost,
    Event.DATABASE_DOWN: site_life.database_down,
    Event.PURGED: site_life.purged,
    Event.NODE_FAILED: site_life.node_failed,
    Event.PREEMPTED: site_life.preempted,
    Event.REQUEUED: site_life.requeued,
    Event.HELD: site_life.held,
    Event.CANCELLED: site_life.cancelled,
    Event.SUSPENDED: site_life.suspended,
    Event.UPDATED: site_life.updated,
    Event.MAINTENANCE: site_life.maintenance,
    Event.CLOCK_OFF: cluster_life.clock_off,
    Event.SITE_MOVED: cluster_life.site_moved,
    Event.SECRET_CHANGED: cluster_life.secret_changed,
    Event.RESTORED: cluster_life.restored,
    Event.SAME_NAME: cluster_life.same_name,
}


@dataclass
class SiteRan(Ran):
    """A run of a site's life that has ended. `happened`: the events that struck somebody."""

    happened: list[Happening] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)


async def site_run(stage: SiteStage, seed: int) -> SiteRan:
    """The run of a seed. One at a time on a stage."""
    return await play(stage, f"life-{seed}", drawn(seed), drawn_life(seed), seed)


async def play(stage: SiteStage, name: str, plan: Plan, happenings: Sequence[Happening], seed: int) -> SiteRan:
    """One run, whole."""
    draw = random.Random(f"tasks {seed}")  # noqa: S311 -- it draws a story
    site = stage.site
    door = await stage.door(plan)
    await door.start()
    root = f"{site.run_root}/{name}"
    life = Life(stage, name, root, plan)
    happened: list[Happening] = []
    try:
        await stage.on_site("install", "-d", "-o", site.user, root)
        await stage.apply(deploy.namespace(name))
        await life.apply(*await stage.site_behind(name, plan, door.port, root))
        stage.plans[name] = plan
        life.tasks = await _create(life, draw)
        await _live(life, happenings, happened, draw)
        verdict = await _verdict(life)
        return SiteRan(plan, verdict, tuple(map(str, happened)), happened, life.blows)
    finally:
        stage.plans.pop(name, None)
        await _clear(life)
        await door.stop()


async def _live(life: Life, happenings: Sequence[Happening], happened: list[Happening], draw: random.Random) -> None:
    """Until all TrainingJobs have ended, and the events too."""
    due = sorted((draw.uniform(1, 20), task.name) for task in life.tasks if task.wanted == "deleted")
    events = [asyncio.create_task(_happen(life, each, happened)) for each in happenings]
    following = asyncio.create_task(_follow(life, due))
    try:
        await asyncio.gather(*events)
        life.calm = time.time()
        await following
        await _follow(life, [])  # an event may have changed what had ended
        await unseen.end(life)
        await quiet(life.plan)
    finally:
        for each in (*events, following):
            each.cancel()
        await asyncio.gather(*events, following, return_exceptions=True)


async def _happen(life: Life, happening: Happening, happened: list[Happening]) -> None:
    await asyncio.sleep(happening.at)
    whom = await DOES[happening.event](life, happening)
    say.line(f"    {life.name}, at {happening.at} s: {happening}: {whom or 'there was nobody to strike'}")
    if whom:
        happened.append(happening)


async def _create(life: Life, draw: random.Random) -> list[Task]:
    wanted: list[Wanted] = [draw.choice(["ok", "ok", "ok", "fails", "deleted"]) for _ in range(JOBS)]
    most = [draw.choice([1, 2, 3]) for _ in wanted]
    manifests = [
        _trainingjob(life.name, number, end, attempts, draw.randint(3, 20))
        for number, (end, attempts) in enumerate(zip(wanted, most, strict=True))
    ]
    await life.stage.apply(*manifests)
    uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in await _trainingjobs(life)}
    names = [each["metadata"]["name"] for each in manifests]
    return [
        Task(name, Run.of_uid(uids[name]).key, end, attempts)
        for name, end, attempts in zip(names, wanted, most, strict=True)
    ]


def _trainingjob(namespace: str, number: int, wanted: Wanted, attempts: int, seconds: int) -> dict[str, Any]:
    lasts = _ENDLESS_SECONDS if wanted == "deleted" else seconds
    code = 3 if wanted == "fails" else 0
    return {
        "apiVersion": "passerelle.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"namespace": namespace, "name": f"job-{number}"},
        "spec": {
            "site": namespace,
            "image": "/none.sif",  # the Site has no container runtime
            "command": ["/bin/sh", "-c", _PROGRAM, "train", str(lasts), str(code)],
            "gpus": 1,
            "timeLimit": "15m",
            "retry": {"maxAttempts": attempts},
        },
    }


async def _follow(life: Life, due: list[tuple[float, str]]) -> None:
    """Delete what is to be deleted, each some time after the beginning; wait for all ends."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while clock() - began < PATIENCE_SECONDS:
        while due and clock() - began >= due[0][0]:
            await unseen.delete(life, due.pop(0)[1])
        while life.again:
            await unseen.delete(life, life.again.pop())
        say_now = await _told(life)
        if not due and not any(_open(task, say_now.get(task.name)) for task in life.tasks):
            return
        await asyncio.sleep(1)


def _open(task: Task, told: Told | None) -> bool:
    return told is not None if task.wanted == "deleted" else told is not None and not told.finished


async def _verdict(life: Life) -> Verdict:
    """By all three truths, once accounting has come up with the scheduler."""
    rows, jobs = await _settled(life)
    life.blows += struck(life.windows, rows)
    began = await accounts.words(life.stage, life.root, "executed")
    ended = await accounts.words(life.stage, life.root, "ended")
    tasks = [_deleted(life, task) for task in life.tasks]
    sent_twice = life.plan.sent_twice
    return check(tasks, jobs, began, await _told(life), blows=life.blows, ended=ended, sent_twice=sent_twice)


def _deleted(life: Life, task: Task) -> Task:
    """With when it was deleted, if it was, and for how long the site may not have let that be acted on."""
    at = life.deleted.get(task.name)
    return task if at is None else replace(task, deleted_at=at, hit=max(life.calm - at, 0.0) + hit(life.plan))


async def _settled(life: Life) -> tuple[list[Row], list[Job]]:
    """Accounting's rows. What it still has as alive afterwards, and the scheduler has not, is a defect of somebody."""
    lost = {(blow.job_id, blow.submitted) for blow in life.blows if blow.what is What.LOST}
    clock = asyncio.get_running_loop().time
    until = clock() + SETTLE_SECONDS
    while True:
        queue, rows = await life.queue(), await life.accounted()
        if clock() >= until or not accounts.behind(rows, queue, lost):
            return rows, accounts.compared(rows, queue)
        await asyncio.sleep(1)


async def _told(life: Life) -> dict[str, Told]:
    return {each["metadata"]["name"]: told(each.get("status", {})) for each in await _trainingjobs(life)}


async def _trainingjobs(life: Life) -> list[dict[str, Any]]:
    async with life.cluster:
        found = json.loads(await life.stage.kubectl("-n", life.name, "get", "tj", "-o", "json"))
    items: list[dict[str, Any]] = found["items"]
    return items


async def _clear(life: Life) -> None:
    """The TrainingJobs first: what still runs is ended by the operator, through the door. Then what others left."""
    for words in (
        ("-n", life.name, "delete", "tj", "--all", "--timeout=60s"),
        ("delete", "namespace", life.name, "--wait=false"),
        ("delete", "hpcsite", life.name, "--wait=false"),
        ("-n", deploy.OPERATOR_NAMESPACE, "delete", "secret", life.name, "--wait=false"),
    ):
        await asyncio.to_thread(life.stage.there.kubectl_run, *words, timeout=90)
    await asyncio.to_thread(life.stage.site.run, ["scancel", "--user", life.stage.site.user])

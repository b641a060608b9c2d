"""One run: ten TrainingJobs of a namespace, through a Site and a proxy of its own; what befell them, and what became of
them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, cast

from bench.apiserver import ApiServer
from faults import accounts, gates, mutation
from faults.history import Task, Told, Verdict, Wanted, check
from faults.mutation import Mutant
from faults.plan import ENOUGH, LEADS_NO_MORE, OTHER_DOORS, OWN_IDS, Fault, Kind, Mishap, Plan
from faults.stage import Stage
from passerelle.gateways.allowance import MOST_SECONDS
from passerelle.marker import Run
from passerelle_sandbox import deploy
from passerelle_sandbox.errors import SandboxError

JOBS = 10
PATIENCE_SECONDS = 600.0
"""Longer than a frozen watch goes unnoticed, and than A-REX takes to tell of a job that never began."""
LED_SECONDS = 1.25 * MOST_SECONDS
"""Nor is a run given up before one operator has led for so long: what it takes over in doubt is known after two
listings of all jobs, which it makes so far apart where they take long; and whoever takes over from it begins anew.
"""
MOST_PATIENCE_SECONDS = 1800.0
"""But then it is, whoever leads."""
SETTLE_SECONDS = 90.0
"""How long accounting may lag behind the scheduler."""
LATE_SECONDS, FENCED_SECONDS = 5.0, 30.0
"""For what is said too late; and for the fence to end a job whose submit came last of all."""
_PROGRAM = """\
echo "$SLURM_JOB_ID" >> "$PASSERELLE_RUN_DIR/executed-$PASSERELLE_ATTEMPT"
sleep "$1"
exit "$2"
"""
_PROGRAMS: dict[Wanted, tuple[int, int]] = {"ok": (3, 0), "fails": (2, 3), "deleted": (600, 0)}
"""Seconds, and the exit code."""
_OTHER_PROGRAMS = {"paused": (12, 0), "unheard": (40, 0)}
_WANTED: dict[str, Wanted] = {"paused": "ok", "unheard": "deleted"}
_UNHEARD_SECONDS = 25.0
"""When it is deleted: it runs by then, and ends later, so one patch is still to come."""
Act = tuple[float, Callable[[], Awaitable[object]]]
_PAUSE_SECONDS = 6.0
HIT_SECONDS = 45.0
"""For how long one mishap may keep an operator from acting: the call is held so long, or another one takes over."""
CALLS_SECONDS = 150.0
"""Likewise all of them together, which don't wait for each other: of thirty runs the slowest took 40 s in all."""
FROZEN_SECONDS = 300.0
"""Likewise a watch that tells nothing more."""
MOST_HIT_SECONDS = 450.0
"""Of all that together: a deleted one's trainer runs for longer, and must not come to its end."""
SLOW_SECONDS = 60.0
"""How much longer a cancel takes through a middleware that does it in its own time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a run is waited for. `led_seconds` tells for how long the operator that leads has done so."""

    led_seconds: Callable[[], float]

    def is_over(self, took: float) -> bool:
        """Whether it is given up after so many seconds."""
        long_enough = took >= PATIENCE_SECONDS and self.led_seconds() >= LED_SECONDS
        return long_enough or took >= MOST_PATIENCE_SECONDS


@dataclass
class Ran:
    """A run that has ended. `events` happened to its whole site."""

    plan: Plan
    verdict: Verdict
    events: Sequence[str] = ()

    @property
    def counts(self) -> bool:
        """Whether enough happened for the run to prove something: one mishap of them at a submit, or a kill."""
        return self.plan.grave and len(self.plan.happened) + len(self.events) >= ENOUGH


async def run(stage: Stage, plan: Plan, name: str = "") -> Ran:
    """The run of a plan; what its TrainingJobs are is drawn from its seed."""
    draw = random.Random(f"story {plan.seed}")  # noqa: S311 -- it draws a story
    ways = ["ok", "ok", "ok", "fails", "deleted", "paused"] if plan.seed else ["ok"]
    drawn_ways = [draw.choice(ways) for _ in range(JOBS)]
    patience = Patience(lambda: stage.operators.led_seconds)
    return await _play(stage, name or f"seed-{plan.seed}", plan, drawn_ways, draw, patience.is_over)


async def catches(stage: Stage, mutant: Mutant) -> bool:
    """Whether the check sees that the operators have this defect. They have it until the next one is tried."""
    await stage.mutate((mutant.file,))
    name, draw = mutant.name.replace("_", "-"), random.Random(mutant.name)  # noqa: S311 -- likewise
    plan = Plan(0, mutant.mishaps)
    ran = await _play(stage, name, plan, mutant.ways, draw, lambda took: took >= mutation.PATIENCE_SECONDS)
    await stage.on_site("scancel", "--user", stage.site.user)
    if not plan.happened:
        raise SandboxError(f"Mutant {mutant.name}: nothing happened to it.")
    return mutant.seen(ran.verdict)


async def _play(
    stage: Stage, name: str, plan: Plan, ways: Sequence[str], draw: random.Random, is_over: Callable[[float], bool]
) -> Ran:
    """One run, whole. `is_over`: whether nothing more is waited for after so many seconds."""
    way = await stage.way(plan.door)
    door = gates.gate(way, plan, stage.operators, stage.certificates)
    await door.start()
    api = ApiServer(stage.there.kubeconfig, name)
    root = f"{stage.site.run_root}/{name}"
    try:
        await stage.on_site("install", "-d", "-o", stage.site.user, root)
        made = gates.manifests(name, stage.site, way, plan, door.port, root)
        await stage.apply(*made, deploy.namespace(name))
        stage.plans[name] = plan
        tasks = await _create(api, name, ways)
        deleted: dict[str, float] = {}
        others = list(stage.plans.values())
        acts = _acts(stage, api, plan, list(zip(tasks, ways, strict=True)), draw, deleted)
        await _follow(api, plan, tasks, acts, is_over)
        await quiet(plan)
        others += [each for each in stage.plans.values() if each not in others]
        hits = hit(plan, (each for each in others if each is not plan))
        judged = [replace(task, deleted_at=deleted.get(task.name), hit=hits) for task in tasks]
        return Ran(plan, await _verdict(stage, api, plan, root, judged))
    finally:
        stage.hears.set()
        stage.plans.pop(name, None)
        await _clear(stage, name)
        await api.close()
        await door.stop()


async def _create(api: ApiServer, namespace: str, ways: Sequence[str]) -> list[Task]:
    """A way is how one must end, or `paused`: it is suspended for a while, and succeeds all the same; or `unheard`: it
    is deleted while it runs, and no watch tells of that.
    """
    tasks = []
    for number, way in enumerate(ways):
        wanted = _WANTED.get(way) or cast("Wanted", way)
        program = _OTHER_PROGRAMS.get(way) or _PROGRAMS[wanted]
        about = (await api.create(_trainingjob(namespace, number, program)))["metadata"]
        tasks.append(Task(about["name"], Run.of_uid(about["uid"]).key, wanted, paused=way == "paused"))
    return tasks


def hit(plan: Plan, others: Iterable[Plan] = ()) -> float:
    """For how many seconds, at most, what happened may have kept an operator from ending a job. Of other runs that were
    under way that counts which hits everybody's.
    """
    general = [each for other in others for each in other.happened if _is_general(each)]
    happened = [*plan.happened, *general]
    frozen = any((each.kind, each.fault) == (Kind.WATCH, Fault.FREEZE) for each in happened)
    slow = plan.door in OTHER_DOORS
    calls = min(HIT_SECONDS * len(happened), CALLS_SECONDS)
    return min(calls + FROZEN_SECONDS * frozen + SLOW_SECONDS * slow, MOST_HIT_SECONDS)


def _is_general(mishap: Mishap) -> bool:
    return mishap.fault in LEADS_NO_MORE or mishap.kind in (Kind.WATCH, Kind.LEASE)


def _acts(
    stage: Stage,
    api: ApiServer,
    plan: Plan,
    story: Sequence[tuple[Task, str]],
    draw: random.Random,
    deleted: dict[str, float],
) -> list[Act]:
    """What people do in the run, and how many seconds after its beginning. `deleted` notes, by name, when one was
    deleted, unless nobody hears of that: then its job's end must tell.
    """

    async def delete(name: str) -> None:
        deleted[name] = time.time()
        await api.delete(name)

    async def delete_unheard(name: str) -> None:
        stage.hears.clear()
        plan.happened.append(Mishap(Kind.WATCH, 1, Fault.FREEZE))
        await api.delete(name)

    acts: list[Act] = []
    for task, way in story:
        at = draw.uniform(1, 20)
        if way == "deleted":
            acts.append((at, partial(delete, task.name)))
        if way == "unheard":
            acts.append((_UNHEARD_SECONDS, partial(delete_unheard, task.name)))
        if way == "paused":
            for moment, suspend in ((at, True), (at + _PAUSE_SECONDS, False)):
                acts.append((moment, partial(api.patch, task.name, {"spec": {"suspend": suspend}})))
    return sorted(acts, key=itemgetter(0))


async def quiet(plan: Plan) -> None:
    """Wait for what is still on its way, and for what is done about it."""
    while plan.on_their_way:  # noqa: ASYNC110 -- each proxy counts its own
        await asyncio.sleep(1)
    await asyncio.sleep(max(LATE_SECONDS, plan.arrived_at + FENCED_SECONDS - time.monotonic()))


async def _follow(
    api: ApiServer, plan: Plan, tasks: list[Task], acts: Sequence[Act], is_over: Callable[[float], bool]
) -> None:
    """Do what people do, and wait for all ends."""
    clock = asyncio.get_running_loop().time
    began = clock()
    due = list(acts)
    while not is_over(clock() - began):
        while due and clock() - began >= due[0][0]:
            await due.pop(0)[1]()
        told = await _told(api, plan)
        open_ones = [
            task for task in tasks if (task.name in told if task.wanted == "deleted" else not told[task.name].finished)
        ]
        if not open_ones and not due:
            return
        await asyncio.sleep(1)


async def _verdict(stage: Stage, api: ApiServer, plan: Plan, root: str, tasks: list[Task]) -> Verdict:
    """By all three truths, once accounting has come up with the scheduler."""
    runs = {task.run for task in tasks}
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            queue, rows = await accounts.queue(stage, runs), await accounts.accounted(stage, runs, root)
            if not accounts.behind(rows, queue, ()):
                break
            await asyncio.sleep(1)
    executed = await accounts.words(stage, root, "executed")
    jobs = accounts.compared(rows, queue)
    return check(tasks, jobs, executed, await _told(api, plan), sent_twice=plan.sent_twice)


async def _told(api: ApiServer, plan: Plan) -> dict[str, Told]:
    return {each["metadata"]["name"]: told(each.get("status", {}), plan.door) for each in (await api.list())["items"]}


async def _clear(stage: Stage, name: str) -> None:
    """The TrainingJobs first: what still runs is ended by the operator, through the door."""
    for words in (
        ("-n", name, "delete", "tj", "--all", "--timeout=60s"),
        ("delete", "namespace", name, "--wait=false"),
        ("delete", "hpcsite", name, "--wait=false"),
        ("-n", deploy.OPERATOR_NAMESPACE, "delete", "secret", name, "--wait=false"),
    ):
        await asyncio.to_thread(stage.there.kubectl_run, *words, timeout=90)


def _trainingjob(namespace: str, number: int, program: tuple[int, int]) -> dict[str, Any]:
    return {
        "apiVersion": "passerelle.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"namespace": namespace, "name": f"job-{number}"},
        "spec": {
            "site": namespace,
            "image": "/none.sif",  # the Site has no container runtime
            "command": ["/bin/sh", "-c", _PROGRAM, "train", *map(str, program)],
            "gpus": 1,
            "timeLimit": "15m",
        },
    }


def told(status: dict[str, Any], door: str = "slurmrestd") -> Told:
    """What a TrainingJob's status says. Its jobs' ids count where they are Slurm's."""
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    succeeded = conditions.get("Succeeded", {})
    attempts = status.get("attempts", [])
    ids = [each["jobId"] for each in attempts if "jobId" in each and door not in OWN_IDS]
    return Told(
        finished=conditions.get("Finished", {}).get("status") == "True",
        succeeded=succeeded.get("status", ""),
        reason=str(succeeded.get("reason", "")),
        attempts=attempts[-1]["number"] if attempts else 0,
        job_ids=tuple(ids),
    )

"""One run: ten TrainingJobs of a namespace, through a Site and a proxy of its own; what befell them, and what became of
them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.apiserver import ApiServer
from e2e.cluster import AREX_NAME
from faults import gates, mutation
from faults.history import Job, Task, Told, Verdict, Wanted, check
from faults.mutation import Mutant
from faults.plan import Plan
from faults.stage import Stage
from passerelle.marker import Run
from passerelle_sandbox import deploy
from passerelle_sandbox.errors import SandboxError

JOBS = 10
PATIENCE_SECONDS = 600.0
"""Longer than a frozen watch goes unnoticed, and than A-REX takes to tell of a job that never began."""
_PROGRAM = """\
echo "$SLURM_JOB_ID" >> "$PASSERELLE_RUN_DIR/executed-$PASSERELLE_ATTEMPT"
sleep "$1"
exit "$2"
"""
_PROGRAMS: dict[Wanted, tuple[int, int]] = {"ok": (3, 0), "fails": (2, 3), "deleted": (600, 0)}
_FIELDS = ("jobid", "jobname", "state")


@dataclass
class Ran:
    """A run that has ended."""

    plan: Plan
    verdict: Verdict


async def run(stage: Stage, plan: Plan, name: str = "") -> Ran:
    """The run of a plan; what its TrainingJobs are is drawn from its seed."""
    draw = random.Random(f"story {plan.seed}")  # noqa: S311 -- it draws a story
    wanted: list[Wanted] = [draw.choice(["ok", "ok", "fails", "deleted"]) for _ in range(JOBS)]
    return await _play(stage, name or f"seed-{plan.seed}", plan, wanted, draw, PATIENCE_SECONDS)


async def catches(stage: Stage, mutant: Mutant) -> bool:
    """Whether the check sees that the operators have this defect. They have it until the next one is tried."""
    await stage.mutate((mutant.file,))
    name, draw = mutant.name.replace("_", "-"), random.Random(mutant.name)  # noqa: S311 -- likewise
    plan = Plan(0, mutant.mishaps)
    ran = await _play(stage, name, plan, ["ok"] * 4, draw, mutation.PATIENCE_SECONDS)
    await stage.on_site("scancel", "--user", stage.site.user)
    if not plan.happened:
        raise SandboxError(f"Mutant {mutant.name}: nothing happened to it.")
    return mutant.seen(ran.verdict)


async def _play(
    stage: Stage, name: str, plan: Plan, wanted: Sequence[Wanted], draw: random.Random, patience: float
) -> Ran:
    """One run, whole."""
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
        tasks = await _create(api, name, wanted)
        await _follow(api, tasks, draw, patience)
        await asyncio.sleep(5)  # for what is said too late
        return Ran(plan, check(tasks, *await _found(stage, root, tasks), await _told(api)))
    finally:
        stage.plans.pop(name, None)
        await _clear(stage, name)
        await api.close()
        await door.stop()


async def _create(api: ApiServer, namespace: str, wanted: Sequence[Wanted]) -> list[Task]:
    made = [await api.create(_trainingjob(namespace, number, each)) for number, each in enumerate(wanted)]
    return [
        Task(each["metadata"]["name"], Run.of_uid(each["metadata"]["uid"]).key, end)
        for each, end in zip(made, wanted, strict=True)
    ]


async def _follow(api: ApiServer, tasks: list[Task], draw: random.Random, patience: float) -> None:
    """Delete what is to be deleted, each some time after the beginning; wait for all ends."""
    clock = asyncio.get_running_loop().time
    began = clock()
    due = sorted((draw.uniform(1, 20), task.name) for task in tasks if task.wanted == "deleted")
    while clock() - began < patience:
        while due and clock() - began >= due[0][0]:
            await api.delete(due.pop(0)[1])
        told = await _told(api)
        open_ones = [
            task for task in tasks if (task.name in told if task.wanted == "deleted" else not told[task.name].finished)
        ]
        if not open_ones and not due:
            return
        await asyncio.sleep(1)


async def _found(stage: Stage, root: str, tasks: list[Task]) -> tuple[list[Job], dict[str, list[str]]]:
    """Slurm's jobs of these runs, and by marker the ids of those whose trainer began."""
    words = (
        *("sacct", "--allusers", "--parsable2", "--noheader", "--allocations", "--duplicates"),
        *(f"--format={','.join(_FIELDS)}", "--starttime=now-1days"),
    )
    rows = [dict(zip(_FIELDS, line.split("|"), strict=True)) for line in (await stage.on_site(*words)).splitlines()]
    runs = {task.run: task.run for task in tasks}
    shortened = {run[:AREX_NAME].replace("-", "_"): run for run in runs}  # by A-REX, which keeps no attempt's number
    jobs = []
    for row in rows:
        name = f"{run}-1" if (run := shortened.get(row["jobname"])) else row["jobname"]
        if name.rpartition("-")[0] in runs:
            jobs.append(Job(row["jobid"], name, row["state"].split()[0]))
    executed: dict[str, list[str]] = {}
    for line in (await stage.on_site("sh", "-c", f"grep -H . {root}/*/executed-* /dev/null || true")).splitlines():
        path, _, job_id = line.rpartition(":")
        run, file = path.split("/")[-2:]
        executed.setdefault(f"{run}-{file.rpartition('-')[2]}", []).append(job_id)
    return jobs, executed


async def _told(api: ApiServer) -> dict[str, Told]:
    return {each["metadata"]["name"]: told(each.get("status", {})) for each in (await api.list())["items"]}


async def _clear(stage: Stage, name: str) -> None:
    """The TrainingJobs first: what still runs is ended by the operator, through the door."""
    for words in (
        ("-n", name, "delete", "tj", "--all", "--timeout=60s"),
        ("delete", "namespace", name, "--wait=false"),
        ("delete", "hpcsite", name, "--wait=false"),
        ("-n", deploy.OPERATOR_NAMESPACE, "delete", "secret", name, "--wait=false"),
    ):
        await asyncio.to_thread(stage.there.kubectl_run, *words, timeout=90)


def _trainingjob(namespace: str, number: int, wanted: Wanted) -> dict[str, Any]:
    return {
        "apiVersion": "passerelle.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"namespace": namespace, "name": f"job-{number}"},
        "spec": {
            "site": namespace,
            "image": "/none.sif",  # the Site has no container runtime
            "command": ["/bin/sh", "-c", _PROGRAM, "train", *map(str, _PROGRAMS[wanted])],
            "gpus": 1,
            "timeLimit": "15m",
        },
    }


def told(status: dict[str, Any]) -> Told:
    """What a TrainingJob's status says. A job's id counts where it is Slurm's."""
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    succeeded = conditions.get("Succeeded", {})
    attempts = status.get("attempts", [])
    ids = (str(each.get("jobId", "")) for each in attempts)
    return Told(
        finished=conditions.get("Finished", {}).get("status") == "True",
        succeeded=succeeded.get("status", ""),
        reason=str(succeeded.get("reason", "")),
        attempts=len(attempts),
        job_ids=tuple(each for each in ids if each.isdecimal()),
    )

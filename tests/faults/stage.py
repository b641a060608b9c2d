"""A sandbox, an operator that is started again whenever it dies, and the runs that share both."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from faults import mutation
from faults.history import Job, Task, Told, Verdict, Wanted, check
from faults.mutation import Mutant
from faults.plan import Plan, drawn
from faults.proxy import Proxy, of_kubernetes, of_slurmrestd
from passerelle.marker import Run
from passerelle_sandbox import chart, deploy, sandbox, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.sandbox import Sandbox

NODES, GPUS = 4, 8
JOBS = 10
PATIENCE_SECONDS = 480.0
"""Longer than a frozen watch goes unnoticed."""
SECRET = "sandbox"
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


@dataclass
class Stage:
    """`before` are files that the operator loads ahead of itself: mutants."""

    there: Sandbox
    before: tuple[Path, ...] = ()
    plans: dict[str, Plan] = field(default_factory=dict)
    restarts: int = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Stage]:
        site = self.there.sites[sandbox.DEFAULT_RELEASE]
        kubeconfig = await asyncio.to_thread(chart.install_chart, self.there)
        await asyncio.to_thread(deploy.declare_site, self.there, site, name=SECRET)
        told = json.loads(kubeconfig.read_text(encoding="utf-8"))
        cluster = told["clusters"][0]["cluster"]
        trust = ssl.create_default_context(cadata=_pem(cluster["certificate-authority-data"]))
        proxy = Proxy(cluster["server"], self._plan_of, of_kubernetes, self.kill, trust=trust)
        await proxy.start()
        cluster["server"] = f"http://127.0.0.1:{proxy.port}"
        del cluster["certificate-authority-data"]
        self._kubeconfig = kubeconfig.with_name("through-the-proxy.kubeconfig")
        self._kubeconfig.touch(mode=0o600)
        self._kubeconfig.write_text(json.dumps(told), encoding="utf-8")
        self._start()
        await asyncio.to_thread(self._operator.wait_until_ready)
        keeper = asyncio.create_task(self._keep())
        try:
            yield self
            if keeper.done():
                keeper.result()  # why no operator was started any more
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            if self._operator.process.poll() is None:
                await asyncio.to_thread(self._operator.kill)  # how it ends when it is asked to, the e2e tells
            await proxy.stop()

    def kill(self) -> None:
        self._operator.process.kill()

    def _start(self) -> None:
        self._operator = deploy.start_operator(self.there, kubeconfig=self._kubeconfig, before=self.before)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            if self._operator.process.poll() is not None:
                self.restarts += 1
                self._start()

    def _plan_of(self, request: web.Request) -> Plan | None:
        """Whose call to kube-apiserver it is: by its namespace; a watch is of whoever waits for one."""
        words = request.path.split("/")
        if "namespaces" in words[:-1]:
            return self.plans.get(words[words.index("namespaces") + 1])
        waiting = [plan for plan in self.plans.values() if plan.waits_for_a_watch]
        return waiting[0] if waiting else None

    async def run(self, seed: int) -> Ran:
        """The run of a seed."""
        draw = random.Random(f"story {seed}")  # noqa: S311 -- it draws a story
        wanted: list[Wanted] = [draw.choice(["ok", "ok", "fails", "deleted"]) for _ in range(JOBS)]
        return await self._play(f"seed-{seed}", drawn(seed), wanted, draw, PATIENCE_SECONDS)

    async def catches(self, mutant: Mutant) -> bool:
        """Whether the check sees that the operator has this defect. It has it until the next one is tried."""
        self.before = (mutant.file,)
        await asyncio.to_thread(self._operator.stop)
        while self._operator.process.poll() is not None:  # noqa: ASYNC110 -- its keeper starts another one
            await asyncio.sleep(0.1)
        await asyncio.to_thread(self._operator.wait_until_ready)
        name, draw = mutant.name.replace("_", "-"), random.Random(mutant.name)  # noqa: S311 -- likewise
        plan = Plan(0, mutant.mishaps)
        ran = await self._play(name, plan, ["ok"] * 4, draw, mutation.PATIENCE_SECONDS)
        await asyncio.to_thread(self._site, "scancel", "--user", self.there.sites[sandbox.DEFAULT_RELEASE].user)
        if not plan.happened:
            raise SandboxError(f"Mutant {mutant.name}: nothing happened to it.")
        return mutant.seen(ran.verdict)

    async def _play(self, name: str, plan: Plan, wanted: Sequence[Wanted], draw: random.Random, patience: float) -> Ran:
        """One run, whole."""
        site = self.there.sites[sandbox.DEFAULT_RELEASE]
        door = Proxy(site.url, lambda _: plan, of_slurmrestd, self.kill)
        await door.start()
        root = f"{site.run_root}/{name}"
        await asyncio.to_thread(self._site, "install", "-d", "-o", site.user, root)
        manifest = deploy.site_manifest(
            name,
            site,
            profile="sandbox-bare",
            runRoot=root,
            gateway={
                "driver": "slurmrestd",
                "url": f"http://127.0.0.1:{door.port}",
                "credentials": {"name": SECRET},
            },
        )
        try:
            await asyncio.to_thread(deploy.apply, self.there, manifest, deploy.namespace(name))
            self.plans[name] = plan
            tasks = await self._create(name, wanted)
            await self._follow(name, tasks, draw, patience)
            await asyncio.sleep(5)
            return Ran(plan, await asyncio.to_thread(self._verdict, name, root, tasks))
        finally:
            self.plans.pop(name, None)
            await asyncio.to_thread(self._clear, name)
            await door.stop()

    async def _create(self, namespace: str, wanted: Sequence[Wanted]) -> list[Task]:
        manifests = [_trainingjob(namespace, number, each) for number, each in enumerate(wanted)]
        await asyncio.to_thread(deploy.apply, self.there, *manifests)
        uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in await self._trainingjobs(namespace)}
        return [
            Task(name, Run.of_uid(uids[name]).key, each)
            for name, each in ((f"job-{number}", each) for number, each in enumerate(wanted))
        ]

    async def _follow(self, namespace: str, tasks: list[Task], draw: random.Random, patience: float) -> None:
        """Delete what is to be deleted, each some time after the beginning; wait for all ends."""
        clock = asyncio.get_running_loop().time
        began = clock()
        due = sorted((draw.uniform(1, 20), task.name) for task in tasks if task.wanted == "deleted")
        while clock() - began < patience:
            while due and clock() - began >= due[0][0]:
                _, name = due.pop(0)
                await self._kubectl("-n", namespace, "delete", "tj", name, "--wait=false")
            told = await self._told(namespace)
            open_ones = [
                task
                for task in tasks
                if (task.name in told if task.wanted == "deleted" else not told[task.name].finished)
            ]
            if not open_ones and not due:
                return
            await asyncio.sleep(1)

    def _verdict(self, namespace: str, root: str, tasks: list[Task]) -> Verdict:
        words = (
            *("sacct", "--allusers", "--parsable2", "--noheader", "--allocations", "--duplicates"),
            *(f"--format={','.join(_FIELDS)}", "--starttime=now-1days"),
        )
        rows = [dict(zip(_FIELDS, line.split("|"), strict=True)) for line in self._site(*words).splitlines()]
        runs = tuple(task.run for task in tasks)
        jobs = [
            Job(row["jobid"], row["jobname"], row["state"].split()[0])
            for row in rows
            if row["jobname"].startswith(runs)
        ]
        executed: dict[str, list[str]] = {}
        for line in self._site("sh", "-c", f"grep -H . {root}/*/executed-* /dev/null || true").splitlines():
            path, _, job_id = line.rpartition(":")
            run, file = path.split("/")[-2:]
            executed.setdefault(f"{run}-{file.rpartition('-')[2]}", []).append(job_id)
        told = asyncio.run(self._told(namespace))
        return check(tasks, jobs, executed, told)

    async def _told(self, namespace: str) -> dict[str, Told]:
        return {each["metadata"]["name"]: _told(each.get("status", {})) for each in await self._trainingjobs(namespace)}

    async def _trainingjobs(self, namespace: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(await self._kubectl("-n", namespace, "get", "tj", "-o", "json"))[
            "items"
        ]
        return found

    async def _kubectl(self, *words: str) -> str:
        done = await asyncio.to_thread(self.there.kubectl_run, *words)
        if done.returncode != 0:
            raise SandboxError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def _site(self, *words: str) -> str:
        done = self.there.sites[sandbox.DEFAULT_RELEASE].run(list(words))
        if done.returncode != 0:
            raise SandboxError(f"{words[0]}: {done.stderr.strip()}")
        return done.stdout

    def _clear(self, name: str) -> None:
        """The TrainingJobs first: what still runs is ended by the operator, through the door."""
        self.there.kubectl_run("-n", name, "delete", "tj", "--all", "--timeout=60s")
        self.there.kubectl_run("delete", "namespace", name, "--wait=false")
        self.there.kubectl_run("delete", "hpcsite", name, "--wait=false")


@contextlib.asynccontextmanager
async def raised(before: tuple[Path, ...] = ()) -> AsyncIterator[Stage]:
    """A stage in a sandbox of its own, taken down at the end."""
    name = f"faults-{secrets.token_hex(3)}"
    there = await asyncio.to_thread(sandbox.up, name, nodes=NODES, gpus=GPUS)
    try:
        async with Stage(there, before).open() as stage:
            yield stage
    finally:
        with say.step("taking everything down"):
            await asyncio.to_thread(there.down)


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


def _told(status: dict[str, Any]) -> Told:
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    succeeded = conditions.get("Succeeded", {})
    attempts = status.get("attempts", [])
    return Told(
        finished=conditions.get("Finished", {}).get("status") == "True",
        succeeded=succeeded.get("status", ""),
        reason=str(succeeded.get("reason", "")),
        attempts=len(attempts),
        job_ids=tuple(str(each.get("jobId", "")) for each in attempts),
    )


def _pem(data: str) -> str:
    return base64.b64decode(data).decode("ascii")

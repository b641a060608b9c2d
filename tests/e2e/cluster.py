"""What the end-to-end tests share: the startup's cluster with the site behind it, a manifest, and patience."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from passerelle_sandbox import deploy
from passerelle_sandbox.deploy import OperatorProcess
from passerelle_sandbox.sandbox import Sandbox
from passerelle_sandbox.site.serve import Site

IMAGE = "/scratch/images/torch.sif"
PATIENCE_SECONDS = 90.0
AREX_NAME = 15
"""Characters that A-REX leaves of a job's name; what is neither letter nor digit becomes _."""

Found = TypeVar("Found")


@dataclass
class Cluster:
    """The startup's cluster, and the site behind it."""

    sandbox: Sandbox
    site: Site
    kubeconfig: Path
    """The chart's ServiceAccount: the operator has its rights and no others."""
    operators: list[OperatorProcess] = field(default_factory=list)

    def apply(self, *objects: dict[str, Any]) -> None:
        deploy.apply(self.sandbox, *objects)

    def start_operator(self, *before: Path) -> OperatorProcess:
        operator = deploy.start_operator(self.sandbox, kubeconfig=self.kubeconfig, before=before)
        self.operators.append(operator)
        operator.wait_until_ready()
        return operator

    def kubectl(self, *words: str, seconds: float = 60) -> str:
        done = self.sandbox.kubectl_run(*words, timeout=seconds)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def suspend(self, namespace: str, name: str, *, on: bool) -> None:
        change = json.dumps({"spec": {"suspend": on}})
        self.kubectl("-n", namespace, "patch", "tj", name, "--type=merge", "-p", change)

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        found = json.loads(self.kubectl("-n", namespace, "get", "tj", name, "-o", "json"))
        assert isinstance(found, dict)
        return found

    def trainingjobs(self, namespace: str) -> list[dict[str, Any]]:
        """All TrainingJobs of a namespace."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("-n", namespace, "get", "tj", "-o", "json"))["items"]
        return found

    def slurm_jobs(self, run: str) -> list[dict[str, str]]:
        """Every job of a run that Slurm ever knew, from accounting; those of A-REX, too."""
        fields = "jobid,jobname,state,exitcode,nnodes,account,qos"
        words = [
            "sacct",
            "--allusers",
            "--parsable2",
            "--noheader",
            "--allocations",
            "--duplicates",
            f"--format={fields}",
        ]
        done = self.site.run([*words, "--starttime=now-1days"])
        assert done.returncode == 0, done.stderr
        rows = [dict(zip(fields.split(","), line.split("|"), strict=True)) for line in done.stdout.splitlines()]
        shortened = run[:AREX_NAME].replace("-", "_")
        return [row for row in rows if row["jobname"].startswith(run) or row["jobname"] == shortened]

    def log(self, path: str) -> str:
        done = self.site.run(["cat", path])
        assert done.returncode == 0, done.stderr
        return done.stdout


def trainingjob(namespace: str, name: str, *words: str, **spec: Any) -> dict[str, Any]:
    """Two nodes with two ranks each, running the example trainer."""
    return {
        "apiVersion": "passerelle.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "site": "sandbox",
            "image": IMAGE,
            "command": ["python3", "/workspace/train.py", *words],
            "nodes": 2,
            "gpusPerNode": 2,
            "timeLimit": "5m",
            "files": [{"configMap": "trainer", "path": "/workspace"}],
            **spec,
        },
    }


def condition(job: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition of a TrainingJob, or an empty one."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), {"status": "", "reason": "", "message": ""})


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = PATIENCE_SECONDS) -> Found:
    """The first thing that `look` finds."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.3)
    return found


def wait_for_condition(
    cluster: Cluster, namespace: str, name: str, kind: str, status: str = "True", seconds: float = PATIENCE_SECONDS
) -> dict[str, Any]:
    """The TrainingJob, once the condition has the status."""
    latest: dict[str, Any] = {}

    def look() -> dict[str, Any] | None:
        latest.clear()
        latest.update(cluster.get(namespace, name))
        return latest if condition(latest, kind)["status"] == status else None

    try:
        return wait_for(look, f"{kind}={status} of {namespace}/{name}", seconds)
    except AssertionError as error:
        tail = cluster.operators[-1].tail() if cluster.operators else ""
        shown = json.dumps(latest.get("status"), indent=1)
        raise AssertionError(f"{error}\nstatus: {shown}\noperator:\n{tail}") from error

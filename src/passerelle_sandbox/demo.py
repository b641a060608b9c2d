"""The demo: a TrainingJob goes in by kubectl apply, a real distributed training runs, its status comes back.

It tells a story that one can read, and ends by itself. What it shows is what the commands really print, without what
they repeat (see tables.py).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from passerelle_sandbox import cache, curve, deploy, sandbox, say, tables
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from passerelle_sandbox.running_operator import Operator
    from passerelle_sandbox.sandbox import Sandbox
    from passerelle_sandbox.site.serve import Site

NAME = "demo"
NAMESPACE = "ml-team"
JOB = "first-training"
MANIFEST = f"""\
apiVersion: passerelle.dev/v1alpha1
kind: TrainingJob
metadata:
  name: {JOB}
  namespace: {NAMESPACE}
spec:
  site: sandbox
  image: /scratch/images/torch.sif
  command: [python3, /workspace/train.py, --steps, "40", --seconds-per-step, "0.3"]
  nodes: 2
  gpusPerNode: 2
  timeLimit: 10m
  files:
    - {{configMap: trainer, path: /workspace}}
"""

ENDS = {"Succeeded", "Failed", "Refused", "Lost"}
"""Summaries after which nothing more happens."""

OTHERS_SECONDS = 4
"""How long another job holds all nodes, so that ours has to queue."""

EVENT_SECONDS = 10
"""How long the last event may take: the operator writes events one by one, behind the status."""

TELLING = (
    "passerelle_trainingjob_state",
    "passerelle_training_progress_ratio",
    "passerelle_training_step",
    "passerelle_training_metric",
)
"""How the most telling lines of the metrics begin."""


def run(name: str, *, keep: bool) -> None:
    """Tell the whole story, in a sandbox of its own. `keep` leaves everything up at the end."""
    begin = time.monotonic()
    say.line("Passerelle: a Kubernetes operator that runs training jobs on supercomputers. This demo starts, here:")
    say.line("  a Kubernetes control plane, a Slurm site of 3 nodes with 4 pretended GPUs each, and the operator.\n")
    if sandbox.exists(name):
        with say.step(f"Removing the sandbox {name!r} that an earlier demo left"):
            sandbox.down(name)
    there = sandbox.up(name)
    try:
        site = there.sites[sandbox.DEFAULT_RELEASE]
        if not site.apptainer:
            raise SandboxError("The demo's training runs in Apptainer, which this site doesn't have.")
        operator = _install(there, site)
        _occupy(site)
        _submit(there)
        ended = _watch(there)
        _show_training(there, site)
        _show_events(there, ended)
        _show_metrics(operator, keep=keep)
        if keep:
            _show_ways(there, operator)
    finally:
        if not keep:
            say.line("\nAll of it is taken down again; `make demo KEEP=1` leaves it up to look around.")
            with say.step("Taking everything down"):
                there.down()
    say.line(f"\nThe demo took {time.monotonic() - begin:.0f} s, not counting the Python environment.")


def _install(there: Sandbox, site: Site) -> Operator:
    with say.step("CRDs, a Site and its credentials, by kubectl apply"):
        deploy.install_crds(there)
        deploy.declare_site(there, site)
    with say.step("the operator"):
        operator = deploy.start_operator(there)
        operator.wait_until_ready()
    _follow(there, ["get", "hpcsites", "sandbox"], lambda row: "True" in row.split(), "the Site to be ready")
    return operator


def _occupy(site: Site) -> None:
    """Another job on all nodes: on a supercomputer one waits."""
    done = site.run(
        [
            *("sbatch", "--job-name=another-job", f"--nodes={len(site.shape.nodes)}", "--exclusive", "--time=1"),
            *("--chdir=/tmp", "--output=/dev/null", f"--wrap=sleep {OTHERS_SECONDS}"),
        ],
        user=site.user,
    )
    if done.returncode != 0:
        raise SandboxError(f"sbatch: {done.stderr.strip()}")
    say.line(f"\nAnother job holds all nodes of the site for {OTHERS_SECONDS} s: ours will have to queue.")


def _submit(there: Sandbox) -> None:
    trainer = (deploy.REPOSITORY / "examples" / "trainer" / "train.py").read_text(encoding="utf-8")
    files = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "trainer", "namespace": NAMESPACE},
        "data": {"train.py": trainer},
    }
    deploy.apply(there, deploy.namespace(NAMESPACE), files)
    say.line("\nA training of 2 nodes x 2 ranks, PyTorch DDP in Apptainer. This is all that its author writes:\n")
    say.line("    " + MANIFEST.replace("\n", "\n    ").rstrip())
    done = there.kubectl_run("apply", "-f", "-", stdin=MANIFEST)
    if done.returncode != 0:
        raise SandboxError(f"kubectl apply: {done.stderr.strip()}")
    say.line("\n$ kubectl apply -f trainingjob.yaml")
    say.line(done.stdout.strip())


def _watch(there: Sandbox) -> str:
    """The table as kubectl itself streams it; the reason with which the training succeeded."""
    words = ["get", "tj", "-n", NAMESPACE]
    _follow(there, words, lambda row: bool(ENDS & set(row.split())), "the training to end")
    conditions = {found["type"]: found for found in _job(there)["status"]["conditions"]}
    if (succeeded := conditions.get("Succeeded", conditions["Accepted"]))["status"] != "True":
        raise SandboxError(f"The training did not succeed: {succeeded['reason']}: {succeeded['message']}")
    return str(succeeded["reason"])


def _follow(there: Sandbox, words: list[str], arrived: Callable[[str], bool], what: str) -> None:
    say.line(f"\n$ kubectl {' '.join(words)} --watch")
    tables.follow([str(there.kubectl), f"--kubeconfig={there.kubeconfig}", *words, "--watch"], arrived, what)


def _job(there: Sandbox) -> dict[str, Any]:
    done = there.kubectl_run("get", "tj", JOB, "-n", NAMESPACE, "-o", "json")
    found = json.loads(done.stdout)
    if not isinstance(found, dict):
        raise SandboxError("kubectl printed something that is no object.")
    return found


def _show_training(there: Sandbox, site: Site) -> None:
    path = _job(there)["status"]["attempts"][-1]["logPath"]
    text = site.run(["cat", path]).stdout
    losses = [float(found) for found in re.findall(r"\bloss ([0-9.]+(?:e[-+]?[0-9]+)?)", text)]
    ranks = sorted(set(re.findall(r"rank \d of \d on \S+", text)))
    say.line(f"\nThe job's log at the site, {path},\ntells who trained:")
    for rank in ranks:
        say.line(f"  {rank}")
    if not losses:
        raise SandboxError(f"The log shows no loss:\n{text[-2000:]}")
    say.line("and the loss curve:")
    for line in curve.plot(losses, horizontal="step"):
        say.line(line)


def _show_events(there: Sandbox, ended: str) -> None:
    """In the order in which they were written: events of one second have equal times, never equal versions."""
    words = ["get", "events", "-n", NAMESPACE, "--sort-by=.metadata.resourceVersion"]
    say.line(f"\n$ kubectl {' '.join(words)}")
    deadline = time.monotonic() + EVENT_SECONDS
    while ended not in (told := there.kubectl_run(*words).stdout).split():
        if time.monotonic() > deadline:
            raise SandboxError(f"Waited {EVENT_SECONDS} s for the event {ended}; there are:\n{told}")
        time.sleep(0.3)
    say.line(told.rstrip())


def _show_metrics(operator: Operator, *, keep: bool) -> None:
    until = "" if keep else " until this demo ends"
    say.line(f"\nPrometheus metrics stand at {operator.metrics_url}{until}; of this job, among others:")
    for line in operator.metrics().splitlines():
        if line.startswith(TELLING) and f'trainingjob="{JOB}"' in line:
            say.line(f"  {line}")


def _show_ways(there: Sandbox, operator: Operator) -> None:
    """Lines to paste into any shell, in any directory."""
    sandboxed = f"{shlex.quote(sys.executable)} -m passerelle_sandbox"
    say.line("\nEverything stays up. To look around, from anywhere:")
    if cache.ROOT in os.environ:
        say.line(f"  export {cache.ROOT}={shlex.quote(str(cache.cache_root()))}")
    say.line(f"  export KUBECONFIG={shlex.quote(str(there.kubeconfig))}")
    say.line(f'  export PATH={shlex.quote(str(there.kubectl.parent))}:"$PATH"')
    say.line(f"  kubectl -n {NAMESPACE} describe tj {JOB}")
    say.line(f"  curl {operator.metrics_url}")
    for words, what in (
        ("status", "which component is healthy"),
        ("logs operator", "what the operator says; without its name, every daemon"),
        ("shell", "on the site, as its user: sacct, squeue"),
    ):
        say.line(f"  {sandboxed} {words} --name {there.name}  # {what}")
    say.line("To take it down:")
    say.line(f"  {sandboxed} down --name {there.name}")

"""The demo: a TrainingJob goes in by kubectl apply, a real distributed training runs, its status comes back.

It tells a story that one can read, and ends by itself. What it shows is what the commands really print.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from passerelle_sandbox import curve, deploy, sandbox, say
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passerelle_sandbox.deploy import OperatorProcess
    from passerelle_sandbox.sandbox import Sandbox
    from passerelle_sandbox.site.serve import Site

NAME = "demo"
NAMESPACE = "ml-team"
JOB = "first-training"
PATIENCE_SECONDS = 120
QUIET_SECONDS = 7
"""A row is repeated after so long without a change: nothing is silent for ten seconds."""

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
"""How long somebody else's job holds all nodes, so that ours has to queue."""

TELLING = (
    "passerelle_trainingjob_state",
    "passerelle_training_progress_ratio",
    "passerelle_training_step",
    'passerelle_training_metric{metric="loss"',
)
"""How the most telling lines of the metrics begin."""


def run(name: str, *, keep: bool) -> None:
    """Tell the whole story, in a sandbox of its own. `keep` leaves everything up at the end."""
    begin = time.monotonic()
    say.line("Passerelle: a Kubernetes operator that runs training jobs on supercomputers. This demo starts, here:")
    say.line("  a Kubernetes control plane, a Slurm site of 3 nodes with 4 pretended GPUs each, and the operator.\n")
    sandbox.down(name)
    there = sandbox.up(name)
    try:
        site = there.sites[sandbox.DEFAULT_RELEASE]
        if not site.apptainer:
            raise SandboxError("The demo's training runs in Apptainer, which this site doesn't have.")
        operator = _install(there, site)
        _occupy(site)
        _submit(there)
        _watch(there)
        _show_training(there, site)
        _show_events(there)
        _show_metrics(operator)
        if keep:
            _show_ways(there)
    finally:
        if not keep:
            say.line("\nTaking everything down again; `make demo KEEP=1` leaves it up to look around.")
            there.down()
    say.line(f"\nThe demo took {time.monotonic() - begin:.0f} s.")


def _install(there: Sandbox, site: Site) -> OperatorProcess:
    with say.step("CRDs, a Site and its credentials, by kubectl apply"):
        deploy.install_crds(there)
        deploy.declare_site(there, site)
    with say.step("the operator"):
        operator = deploy.start_operator(there)
        operator.wait_until_ready()
    _wait(there, ["get", "hpcsites", "sandbox"], lambda row: "True" in row.split(), "the Site to be ready")
    return operator


def _occupy(site: Site) -> None:
    """Somebody else's job on all nodes: on a supercomputer one waits."""
    done = site.run(
        [
            *("sbatch", "--job-name=somebody-else", f"--nodes={len(site.shape.nodes)}", "--exclusive", "--time=1"),
            *("--chdir=/tmp", "--output=/dev/null", f"--wrap=sleep {OTHERS_SECONDS}"),
        ],
        user=site.user,
    )
    if done.returncode != 0:
        raise SandboxError(f"sbatch: {done.stderr.strip()}")
    say.line(f"\nSomebody else's job holds all nodes of the site for {OTHERS_SECONDS} s: ours will have to queue.")


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


def _watch(there: Sandbox) -> None:
    """The table as kubectl itself streams it."""
    words = ["get", "tj", "-n", NAMESPACE, "--watch"]
    say.line(f"\n$ kubectl {' '.join(words)}")
    argv = [str(there.kubectl), f"--kubeconfig={there.kubeconfig}", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as watch:
        try:
            _follow(watch)
        finally:
            watch.terminate()
    conditions = {found["type"]: found for found in _job(there)["status"]["conditions"]}
    if (succeeded := conditions.get("Succeeded", conditions["Accepted"]))["status"] != "True":
        raise SandboxError(f"The training did not succeed: {succeeded['reason']}: {succeeded['message']}")


def _follow(watch: subprocess.Popen[bytes]) -> None:
    begin = heard = time.monotonic()
    for row in _rows(watch):
        now = time.monotonic()
        if row:
            heard = now
            say.line(row)
            if ENDS & set(row.split()):
                return
        elif now - heard > QUIET_SECONDS:
            heard = now
            say.line(f"  ... {now - begin:.0f} s, and no change since the last row")
        if now - begin > PATIENCE_SECONDS:
            raise SandboxError(f"Waited {PATIENCE_SECONDS} s for the training to end.")
    raise SandboxError(f"kubectl ended with {watch.wait(timeout=5)} before the training did.")


def _rows(watch: subprocess.Popen[bytes]) -> Iterator[str]:
    """The lines that a process prints; an empty one at least every second, while it prints none."""
    if watch.stdout is None:
        return
    begun = b""
    with selectors.DefaultSelector() as selector:
        selector.register(watch.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=1):
                yield ""
                continue
            if not (piece := os.read(watch.stdout.fileno(), 65_536)):
                return
            *rows, begun = (begun + piece).split(b"\n")
            yield from (row.decode(errors="replace").rstrip() for row in rows)


def _wait(there: Sandbox, words: list[str], arrived: Any, what: str) -> None:  # noqa: ANN401 -- a predicate on a row
    """Print a kubectl table as it changes, until a row satisfies."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    shown, shown_at, header = "", 0.0, ""
    while time.monotonic() < deadline:
        done = there.kubectl_run(*words)
        lines = done.stdout.splitlines()
        if done.returncode == 0 and len(lines) > 1:
            if lines[0].split() != header.split():
                header = lines[0]
                say.line(header)
            row = re.sub(r"\S+\s*$", "", lines[1])  # the age changes without anything happening
            if row != shown or time.monotonic() - shown_at > QUIET_SECONDS:
                say.line(lines[1])
                shown, shown_at = row, time.monotonic()
            if arrived(lines[1]):
                return
        time.sleep(0.3)
    raise SandboxError(f"Waited {PATIENCE_SECONDS} s for {what}.")


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


def _show_events(there: Sandbox) -> None:
    words = ["events", "-n", NAMESPACE, "--for", f"trainingjob/{JOB}"]
    say.line(f"\n$ kubectl {' '.join(words)}")
    say.line(there.kubectl_run(*words).stdout.rstrip())


def _show_metrics(operator: OperatorProcess) -> None:
    with urlopen(operator.metrics_url, timeout=5) as answer:  # noqa: S310 -- ours, and http
        lines = answer.read().decode().splitlines()
    say.line(f"\nPrometheus metrics stand at {operator.metrics_url}; of this job, among others:")
    for line in lines:
        if line.startswith(TELLING) and f'trainingjob="{JOB}"' in line:
            say.line(f"  {line}")


def _show_ways(there: Sandbox) -> None:
    sandboxed = ".venv/bin/python -m passerelle_sandbox"
    say.line("\nEverything stays up. To look around:")
    say.line(f"  export KUBECONFIG={shlex.quote(str(there.kubeconfig))}")
    say.line(f'  export PATH={shlex.quote(str(there.kubectl.parent))}:"$PATH"')
    say.line(f"  kubectl -n {NAMESPACE} describe tj {JOB}")
    say.line(f"  {sandboxed} shell --name {there.name}    # on the site, as its user: sacct, squeue")
    say.line(f"  {sandboxed} logs --name {there.name}     # what every daemon says")
    say.line("To take it down:")
    say.line(f"  {sandboxed} down --name {there.name}")

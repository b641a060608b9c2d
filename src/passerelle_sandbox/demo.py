"""The demo: a TrainingJob goes in by kubectl apply, a real distributed training runs, its status comes back.

It tells a story that one can read, and ends by itself. What it shows is what the commands really print.
"""

from __future__ import annotations

import json
import re
import selectors
import subprocess
import time
from typing import TYPE_CHECKING, Any

from passerelle_sandbox import deploy, sandbox, say
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from passerelle_sandbox.deploy import OperatorProcess
    from passerelle_sandbox.sandbox import Sandbox
    from passerelle_sandbox.site.serve import Site

NAME = "demo"
NAMESPACE = "ml-team"
JOB = "first-training"
PATIENCE_SECONDS = 120
QUIET_SECONDS = 8
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

CURVE_ROWS = 8
CURVE_COLUMNS = 60


def run(*, keep: bool) -> None:
    """Tell the whole story. `keep` leaves everything up at the end."""
    say.line("Passerelle: a Kubernetes operator that runs training jobs on supercomputers. This demo starts, here:")
    say.line("  a Kubernetes control plane, a Slurm site of 3 nodes with 4 pretended GPUs each, and the operator.\n")
    sandbox.down(NAME)
    there = sandbox.up(NAME)
    try:
        site = there.sites[sandbox.DEFAULT_RELEASE]
        operator = _install(there, site)
        _submit(there)
        _watch(there)
        _show_curve(there, site)
        _show_events(there)
        _show_metrics(operator)
        if keep:
            _show_ways(there)
    finally:
        if not keep:
            say.line("\nTaking everything down again; `make demo KEEP=1` leaves it up to look around.")
            there.down()


def _install(there: Sandbox, site: Site) -> OperatorProcess:
    with say.step("CRDs, a Site and its credentials, by kubectl apply"):
        deploy.install_crds(there)
        deploy.declare_site(there, site)
    with say.step("the operator"):
        operator = deploy.start_operator(there)
        operator.wait_until_ready()
    _wait(there, ["get", "hpcsites", "sandbox"], lambda row: "True" in row.split(), "the Site to be ready")
    return operator


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
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watch:
        try:
            _follow(watch)
        finally:
            watch.terminate()
    job = _job(there)
    succeeded = next(found for found in job["status"]["conditions"] if found["type"] == "Succeeded")
    if succeeded["status"] != "True":
        raise SandboxError(f"The training did not succeed: {succeeded['reason']}: {succeeded['message']}")


def _follow(watch: subprocess.Popen[str]) -> None:
    begin = heard = time.monotonic()
    with selectors.DefaultSelector() as selector:
        if watch.stdout is None:
            raise SandboxError("kubectl has no output.")
        selector.register(watch.stdout, selectors.EVENT_READ)
        while time.monotonic() - begin < PATIENCE_SECONDS:
            if not selector.select(timeout=1):
                if time.monotonic() - heard > QUIET_SECONDS:
                    say.line(f"  ... {time.monotonic() - begin:.0f} s")
                    heard = time.monotonic()
                continue
            row = watch.stdout.readline().rstrip()
            heard = time.monotonic()
            say.line(row)
            if not row or ENDS & set(row.split()):
                return
    raise SandboxError(f"Waited {PATIENCE_SECONDS} s for the training to end.")


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


def _show_curve(there: Sandbox, site: Site) -> None:
    path = _job(there)["status"]["attempts"][-1]["logPath"]
    text = site.run(["cat", path]).stdout
    losses = [float(found) for found in re.findall(r"\bloss ([0-9.]+(?:e[-+]?[0-9]+)?)", text)]
    ranks = sorted(set(re.findall(r"rank \d of \d on \S+", text)))
    say.line(f"\nThe job's log at the site, {path}, tells who trained:")
    for rank in ranks:
        say.line(f"  {rank}")
    if not losses:
        raise SandboxError(f"The log shows no loss:\n{text[-2000:]}")
    say.line(f"and its loss curve, step 1 to {len(losses)}:")
    for line in curve(losses):
        say.line(line)


def curve(values: list[float]) -> list[str]:
    """A plot of rows of text, the highest value at the top. Pure."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    columns = min(len(values), CURVE_COLUMNS)
    picked = [values[int(place * len(values) / columns)] for place in range(columns)]
    rows = [round((high - value) / span * (CURVE_ROWS - 1)) for value in picked]
    lines = []
    for row in range(CURVE_ROWS):
        label = f"{high:8.4f}" if row == 0 else f"{low:8.4f}" if row == CURVE_ROWS - 1 else " " * 8
        lines.append(f"  {label} |" + "".join("*" if row == at else " " for at in rows).rstrip())
    return lines


def _show_events(there: Sandbox) -> None:
    words = ["events", "-n", NAMESPACE, "--for", f"trainingjob/{JOB}"]
    say.line(f"\n$ kubectl {' '.join(words)}")
    say.line(there.kubectl_run(*words).stdout.rstrip())


def _show_metrics(operator: OperatorProcess) -> None:
    say.line(f"\nPrometheus metrics stand at {operator.metrics_url}")


def _show_ways(there: Sandbox) -> None:
    say.line("\nEverything stays up. To look around:")
    say.line(f"  export KUBECONFIG={there.kubeconfig}")
    say.line(f"  {there.kubectl} -n {NAMESPACE} describe tj {JOB}")
    say.line(
        f"  .venv/bin/python -m passerelle_sandbox shell --name {NAME}    # on the site, as its user: sacct, squeue"
    )
    say.line("To take it down:")
    say.line(f"  .venv/bin/python -m passerelle_sandbox down --name {NAME}")

"""Secrets and large files through every door that writes files: the trainer has them, and nobody and nothing else."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import PATIENCE_SECONDS, Cluster, condition, trainingjob, wait_for, wait_for_condition
from e2e.doors import Doors
from passerelle.marker import Run
from passerelle_sandbox import chart
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e

SITE = "ssh"
SITES = (SITE, "unicore", "firecrest", "arc")
CANARY = "c4n4ry-of-the-tracker"
KEY = b"c4n4ry-of-a-key\0\xff"

QUIET = {"grep": (0, 1, 2)}
"""Exit codes that tell of nothing found, or of a file that went meanwhile."""
PLACES = ("/home", "/tmp", "/scratch", "/var/log", "/var/lib/slurm", "/var/lib/mysql", "/var/spool/slurm")  # noqa: S108
"""Of the site: whatever is written there is written below these."""

LOOK = """\
import hashlib, os, time
file = "/secrets/key.bin"
print("variable", hashlib.sha256(os.environ["WANDB_API_KEY"].encode()).hexdigest(), flush=True)
print("alias", os.environ["TOKEN"] == os.environ["WANDB_API_KEY"], flush=True)
print("file", hashlib.sha256(open(file, "rb").read()).hexdigest(), oct(os.stat(file).st_mode & 0o777), flush=True)
open(os.environ["PASSERELLE_ATTEMPT_DIR"] + "/looked", "w").close()
while not os.path.exists(os.environ["PASSERELLE_RUN_DIR"] + "/go-on"):
    time.sleep(0.2)
"""
"""A trainer that tells hashes of what it got, and waits to be looked at."""


@pytest.fixture(autouse=True)
def opened(cluster: Cluster, namespace: str, doors: Doors) -> None:
    doors.open(SITE)
    chart.install_chart(cluster.sandbox, "--set-json", f'secretNamespaces=["{namespace}"]')


@pytest.fixture
def secret(cluster: Cluster, namespace: str) -> None:
    data = {"WANDB_API_KEY": CANARY.encode(), "key.bin": KEY}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "wandb", "namespace": namespace},
            "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
        }
    )


def with_secrets(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    return trainingjob(
        namespace,
        name,
        **{
            "site": SITE,
            "command": ["python3", "-c", LOOK],
            "nodes": 1,
            "gpusPerNode": 1,
            "files": [{"secret": "wandb", "path": "/secrets"}],
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "WANDB_API_KEY"}}}],
            "envFrom": [{"secretRef": {"name": "wandb"}}],
            **spec,
        },
    )


def at_site(cluster: Cluster, *words: str) -> str:
    done = cluster.site.run(list(words))
    assert done.returncode in QUIET.get(words[0], (0,)), done.stderr
    return done.stdout


def looked(cluster: Cluster, run: str, attempt: int) -> str:
    """The attempt's directory, once its trainer has looked at what it got."""
    pattern = f"attempt-{attempt}-*/looked"
    found = wait_for(
        lambda: at_site(cluster, "find", run, "-path", f"{run}/{pattern}").strip() or None, "the trainer to look"
    )
    return found.removesuffix("/looked")


def _gone(cluster: Cluster, namespace: str, names: list[str]) -> bool:
    there = cluster.kubectl("-n", namespace, "get", "tj", "-o", "name")
    return not any(each.endswith(f"/{name}") for each in there.split() for name in names)


def modes(cluster: Cluster, place: str, name: str) -> list[str]:
    """Mode, owner and place of each file of this name."""
    return at_site(cluster, "find", place, "-name", name, "-printf", "%m %u %P\\n").splitlines()


def holding(cluster: Cluster, *places: str) -> set[str]:
    """Files at the site that hold a canary."""
    return set(at_site(cluster, "grep", "-rlas", "--exclude-dir=images", "c4n4ry", *places).split())


def kept_by_servers(doors: Doors) -> list[Path]:
    """Files of our own servers that hold a canary."""
    files = [each for each in doors.place.rglob("*") if each.is_file()]
    assert files, "the doors' servers write there"
    return [each for each in files if b"c4n4ry" in each.read_bytes()]


@pytest.mark.usefixtures("secret")
def test_the_trainer_gets_the_secrets_and_nothing_else_has_them(
    cluster: Cluster, operator: OperatorProcess, namespace: str, doors: Doors
) -> None:
    """Through several doors side by side."""
    doors.open_all(*SITES)
    cluster.apply(*(with_secrets(namespace, f"by-{site}", site=site) for site in SITES))
    runs, wanted, told = [], set(), ""
    for site in SITES:
        job = wait_for_condition(cluster, namespace, f"by-{site}", "Running", seconds=2 * PATIENCE_SECONDS)
        (attempt,) = job["status"]["attempts"]
        run = attempt["runDirectory"]
        here = looked(cluster, run, 1)
        log = cluster.log(attempt["logPath"])
        assert f"variable {hashlib.sha256(CANARY.encode()).hexdigest()}" in log
        assert "alias True" in log
        assert f"file {hashlib.sha256(KEY).hexdigest()} 0o600" in log
        assert modes(cluster, run, "*.sealed") == [], "taken, and gone"
        assert modes(cluster, here, "key.bin") == [f"600 {cluster.site.user} files/0/key.bin"]
        runs.append(run)
        wanted |= {f"{here}/files/0/WANDB_API_KEY", f"{here}/files/0/key.bin"}
        (slurm,) = cluster.slurm_jobs(Run.of_uid(job["metadata"]["uid"]).key)
        of_slurm = at_site(cluster, "scontrol", "-d", "show", "job", slurm["jobid"])
        of_slurm += at_site(cluster, "scontrol", "write", "batch_script", slurm["jobid"], "-")
        of_slurm += at_site(cluster, "sacct", "--parsable2", "--format=all", "--jobs", slurm["jobid"])
        assert f"JobId={slurm['jobid']}" in of_slurm
        told += log + of_slurm

    assert holding(cluster, *PLACES) == wanted
    assert kept_by_servers(doors) == []
    told += at_site(cluster, "ps", "-eo", "args")
    told += cluster.kubectl("-n", namespace, "get", "tj,events", "-o", "yaml")
    told += operator.log.read_text(encoding="utf-8")
    assert "c4n4ry" not in told
    assert base64.b64encode(CANARY.encode()).decode() not in told

    at_site(cluster, "touch", *(f"{run}/go-on" for run in runs))
    for site in SITES:
        done = wait_for_condition(cluster, namespace, f"by-{site}", "Finished")
        assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    assert holding(cluster, *PLACES) == set(), "nothing is left of them"
    assert kept_by_servers(doors) == []


@pytest.mark.usefixtures("secret", "operator")
def test_a_requeued_job_does_not_run_without_them_and_the_next_attempt_has_them(
    cluster: Cluster, namespace: str
) -> None:
    cluster.apply(with_secrets(namespace, "requeued", retry={"maxAttempts": 2}))
    job = wait_for_condition(cluster, namespace, "requeued", "Running")
    (attempt,) = job["status"]["attempts"]
    looked(cluster, attempt["runDirectory"], 1)
    at_site(cluster, "scontrol", "update", f"JobId={attempt['jobId']}", "Requeue=1")
    at_site(cluster, "scontrol", "requeue", attempt["jobId"])

    def second() -> dict[str, Any] | None:
        attempts: list[dict[str, Any]] = cluster.get(namespace, "requeued")["status"]["attempts"]
        return attempts[0] if len(attempts) > 1 else None

    try:
        first = wait_for(second, "a second attempt", 240)
    except AssertionError as error:
        told = [json.dumps(cluster.get(namespace, "requeued")["status"], indent=1), cluster.log(attempt["logPath"])]
        told.append(at_site(cluster, "scontrol", "show", "job", attempt["jobId"]))
        raise AssertionError("\n".join([str(error), *told])) from error
    assert first["reason"] == "SiteFault", first
    assert "its secrets went to its first start" in cluster.log(first["logPath"])
    looked(cluster, attempt["runDirectory"], 2)
    at_site(cluster, "touch", f"{attempt['runDirectory']}/go-on")
    done = wait_for_condition(cluster, namespace, "requeued", "Finished")
    assert condition(done, "Succeeded")["status"] == "True"


@pytest.mark.usefixtures("secret", "operator")
def test_jobs_that_never_began_leave_no_secrets(cluster: Cluster, namespace: str, doors: Doors) -> None:
    """They wait for more GPUs than another leaves them on any node, and are deleted."""
    doors.open_all(*SITES)
    cluster.apply(with_secrets(namespace, "in-the-way", site="arc", nodes=3, gpusPerNode=3, timeLimit="20m"))
    run = wait_for_condition(cluster, namespace, "in-the-way", "Running")["status"]["attempts"][0]["runDirectory"]
    names = [f"waiting-{site}" for site in SITES]
    cluster.apply(*(with_secrets(namespace, f"waiting-{site}", site=site, nodes=2, gpusPerNode=2) for site in SITES))
    waiting, sealed = [], set()
    for name in names:
        (attempt,) = wait_for_condition(cluster, namespace, name, "Submitted")["status"]["attempts"]
        waiting.append(attempt["runDirectory"])
        sealed.add(f"{waiting[-1]}/{attempt['marker']}.sealed")
        assert modes(cluster, waiting[-1], "*.sealed") == [f"600 {cluster.site.user} {attempt['marker']}.sealed"]
    assert holding(cluster, *waiting) == sealed

    cluster.kubectl("-n", namespace, "delete", "tj", *names, "--wait=false")
    # A-REX tells the end of a job that never began when Slurm has forgotten it, and while it asks for another one, as
    # docs/gateways.md says.
    wait_for(
        lambda: _gone(cluster, namespace, names) or None, "the TrainingJobs to go", cluster.site.shape.min_job_age + 120
    )

    # FirecREST removes no file: there a line end is left.
    assert at_site(cluster, "find", *waiting, "-name", "*.sealed", "-size", "+1c") == ""
    assert holding(cluster, *waiting) == set()
    at_site(cluster, "touch", f"{run}/go-on")
    wait_for_condition(cluster, namespace, "in-the-way", "Finished")


@pytest.mark.usefixtures("secret", "operator")
def test_a_gateway_without_files_takes_no_job_with_secrets(cluster: Cluster, namespace: str) -> None:
    cluster.apply(with_secrets(namespace, "by-rest", site="sandbox"))

    refused = wait_for_condition(cluster, namespace, "by-rest", "Accepted", "False")

    assert condition(refused, "Accepted")["reason"] == "NeedsFiles"
    assert refused["status"]["attempts"] == []


@pytest.mark.usefixtures("operator")
def test_files_that_no_script_holds_travel_beside_it(cluster: Cluster, namespace: str) -> None:
    large = os.urandom(300_000)
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "large", "namespace": namespace},
            "binaryData": {"data.bin": base64.b64encode(large).decode()},
        }
    )
    code = "import hashlib; print('hash', hashlib.sha256(open('/workspace/data.bin', 'rb').read()).hexdigest())"
    files = [{"configMap": "large", "path": "/workspace"}]
    cluster.apply(trainingjob(namespace, "large", site=SITE, command=["python3", "-c", code], files=files))

    done = wait_for_condition(cluster, namespace, "large", "Finished")

    assert condition(done, "Succeeded")["status"] == "True", json.dumps(done["status"])
    (attempt,) = done["status"]["attempts"]
    log = cluster.log(attempt["logPath"])
    assert log.count(f"hash {hashlib.sha256(large).hexdigest()}") == 4, "two nodes with two ranks each"
    (kept,) = modes(cluster, attempt["runDirectory"], "files-*.zip")
    assert kept.startswith(f"600 {cluster.site.user} files-")

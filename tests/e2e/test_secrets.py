"""Secrets and large files through a login node and through A-REX: the trainer has them, and nobody and nothing else."""

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from e2e.doors import Doors
from passerelle_sandbox import chart, deploy
from passerelle_sandbox.deploy import OperatorProcess
from passerelle_sandbox.site import arc_server

pytestmark = pytest.mark.e2e

SITE = "login-node"
CANARY = "c4n4ry-of-the-tracker"
KEY = b"c4n4ry-of-a-key\0\xff"

QUIET = {"grep": (0, 1)}
"""Exit codes that tell of nothing found."""

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
def login_node(cluster: Cluster, namespace: str) -> Iterator[None]:
    deploy.declare_login_node(cluster.sandbox, cluster.site, name=SITE)
    chart.install_chart(cluster.sandbox, "--set-json", f'secretNamespaces=["{namespace}"]')
    yield
    cluster.kubectl("delete", "hpcsite", SITE)


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


def modes(cluster: Cluster, place: str, name: str) -> list[str]:
    """Mode, owner and place of each file of this name."""
    return at_site(cluster, "find", place, "-name", name, "-printf", "%m %u %P\\n").splitlines()


@pytest.mark.usefixtures("secret")
def test_the_trainer_gets_the_secrets_and_nothing_else_has_them(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    cluster.apply(with_secrets(namespace, "tracked"))
    job = wait_for_condition(cluster, namespace, "tracked", "Running")
    (attempt,) = job["status"]["attempts"]
    run = attempt["runDirectory"]
    here = looked(cluster, run, 1)

    log = cluster.log(attempt["logPath"])
    assert f"variable {hashlib.sha256(CANARY.encode()).hexdigest()}" in log
    assert "alias True" in log
    assert f"file {hashlib.sha256(KEY).hexdigest()} 0o600" in log
    assert modes(cluster, run, "*.sealed") == [], "taken, and gone"
    assert modes(cluster, here, "key.bin") == [f"600 {cluster.site.user} files/0/key.bin"]

    holding = at_site(cluster, "grep", "-rla", "c4n4ry", cluster.site.run_root).split()
    assert sorted(holding) == [f"{here}/files/0/WANDB_API_KEY", f"{here}/files/0/key.bin"]
    told = at_site(cluster, "scontrol", "-d", "show", "job", attempt["jobId"])
    told += at_site(cluster, "scontrol", "write", "batch_script", attempt["jobId"], "-")
    told += at_site(cluster, "sacct", "--parsable2", "--format=all", "--jobs", attempt["jobId"])
    told += at_site(cluster, "ps", "-eo", "args")
    assert attempt["marker"] in told
    shown = cluster.kubectl("-n", namespace, "get", "tj,events", "-o", "yaml")
    for text in (told, shown, log, operator.log.read_text(encoding="utf-8")):
        assert "c4n4ry" not in text
        assert base64.b64encode(CANARY.encode()).decode() not in text

    at_site(cluster, "touch", f"{run}/go-on")
    done = wait_for_condition(cluster, namespace, "tracked", "Finished")
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    assert at_site(cluster, "grep", "-rla", "c4n4ry", cluster.site.run_root) == "", "nothing is left of them"


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
def test_a_job_that_never_began_leaves_no_secrets(cluster: Cluster, namespace: str) -> None:
    """It waits for more nodes than others leave it, and is deleted."""
    cluster.apply(with_secrets(namespace, "in-the-way", nodes=2, gpusPerNode=2))
    run = wait_for_condition(cluster, namespace, "in-the-way", "Running")["status"]["attempts"][0]["runDirectory"]
    cluster.apply(with_secrets(namespace, "waiting", nodes=2, gpusPerNode=2))
    waiting = wait_for_condition(cluster, namespace, "waiting", "Submitted")
    (attempt,) = waiting["status"]["attempts"]
    assert modes(cluster, attempt["runDirectory"], "*.sealed") == [
        f"600 {cluster.site.user} {attempt['marker']}.sealed"
    ]

    cluster.kubectl("-n", namespace, "delete", "tj", "waiting", "--timeout=60s")

    assert modes(cluster, attempt["runDirectory"], "*.sealed") == []
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


@pytest.mark.usefixtures("secret", "operator")
def test_secrets_and_large_files_reach_a_job_through_arc(cluster: Cluster, namespace: str, doors: Doors) -> None:
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
    files = [{"secret": "wandb", "path": "/secrets"}, {"configMap": "large", "path": "/workspace"}]
    command = ["python3", "-c", f"{code}\n{LOOK}"]
    cluster.apply(with_secrets(namespace, "by-arc", site=doors.open("arc"), files=files, command=command))
    job = wait_for_condition(cluster, namespace, "by-arc", "Running", seconds=240)
    (attempt,) = job["status"]["attempts"]
    run = attempt["runDirectory"]
    here = looked(cluster, run, 1)

    log = cluster.log(attempt["logPath"])
    assert f"hash {hashlib.sha256(large).hexdigest()}" in log
    assert f"variable {hashlib.sha256(CANARY.encode()).hexdigest()}" in log
    assert f"file {hashlib.sha256(KEY).hexdigest()} 0o600" in log
    assert modes(cluster, run, "*.sealed") == [], "taken, and gone"
    holding = at_site(cluster, "grep", "-rla", "c4n4ry", cluster.site.run_root, arc_server.SESSIONS).split()
    assert sorted(holding) == [f"{here}/files/0/WANDB_API_KEY", f"{here}/files/0/key.bin"]

    at_site(cluster, "touch", f"{run}/go-on")
    done = wait_for_condition(cluster, namespace, "by-arc", "Finished", seconds=240)
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    assert at_site(cluster, "grep", "-rla", "c4n4ry", cluster.site.run_root) == "", "nothing is left of them"

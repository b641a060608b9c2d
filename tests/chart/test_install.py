"""The chart in a real cluster, and the operator with the rights that it gets there."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chart.manifests import get, kubectl
from passerelle_sandbox import chart, deploy
from passerelle_sandbox.deploy import OPERATOR_NAMESPACE
from passerelle_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.chart

PATIENCE_SECONDS = 20.0
SITE = {
    "apiVersion": "passerelle.dev/v1alpha1",
    "kind": "Site",
    "metadata": {"name": "far"},
    "spec": {
        "profile": "sandbox",
        "gateway": {"driver": "slurmrestd", "url": "http://127.0.0.1:1", "credentials": {"name": "far"}},
        "runRoot": "/scratch/passerelle",
        "pollingPeriod": "1s",
        "admission": [{"selector": {deploy.USERS_LABEL: "true"}, "accounts": ["lab"]}],
    },
}
"""A site whose gateway nobody answers at."""
TRAINING = {
    "apiVersion": "passerelle.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "training", "namespace": "team"},
    "spec": {
        "site": "far",
        "image": "/scratch/train.sif",
        "command": ["python", "/workspace/train.py"],
        "nodes": 1,
        "timeLimit": "5m",
        "files": [{"configMap": "trainer", "path": "/workspace"}],
    },
}


def wait_for(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s for {what}"
        time.sleep(0.2)


def conditions(found: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", [])}


def allowed(there: Sandbox, *words: str) -> bool:
    """Whether the operator may; kubectl says no with exit code 1."""
    said = there.kubectl_run("auth", "can-i", *words, f"--as={chart.SUBJECT}")
    assert said.stdout.strip() in {"yes", "no"}, said.stderr
    return said.stdout.strip() == "yes"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("list trainingjobs -A", id="see the TrainingJobs of all namespaces"),
        pytest.param("watch sites -A", id="watch Sites"),
        pytest.param("patch trainingjobs --subresource=status -n team", id="write a TrainingJob's status"),
        pytest.param("patch trainingjobs -n team", id="hold a TrainingJob by a finalizer"),
        pytest.param("patch sites --subresource=status", id="write a Site's status"),
        pytest.param("get configmaps -n team", id="read a team's ConfigMap"),
        pytest.param("get namespaces", id="read a namespace's labels"),
        pytest.param("create events -n team", id="tell a team what happened"),
        pytest.param(f"get secrets/far -n {OPERATOR_NAMESPACE}", id="read a Site's Secret in its own namespace"),
    ],
)
def test_the_operator_may(cluster: Sandbox, words: str) -> None:
    assert allowed(cluster, *words.split())


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(f"list secrets -n {OPERATOR_NAMESPACE}", id="list Secrets, even at home"),
        pytest.param(f"watch secrets -n {OPERATOR_NAMESPACE}", id="watch Secrets, even at home"),
        pytest.param(f"patch secrets -n {OPERATOR_NAMESPACE}", id="change a Secret"),
        pytest.param("get secrets -n team", id="read another namespace's Secret"),
        pytest.param("get secrets -n kube-system", id="read the cluster's Secrets"),
        pytest.param("list configmaps -n team", id="list ConfigMaps"),
        pytest.param("list namespaces", id="list namespaces"),
        pytest.param("create trainingjobs -n team", id="create a TrainingJob"),
        pytest.param("update trainingjobs -n team", id="overwrite a TrainingJob"),
        pytest.param("patch sites", id="change a Site"),
        pytest.param("get customresourcedefinitions", id="read the CRDs"),
        pytest.param("create pods -n team", id="run a Pod"),
        pytest.param("list events -n team", id="read events"),
        pytest.param("create serviceaccounts/token -n kube-system", id="become somebody else"),
    ],
)
def test_the_operator_may_not(cluster: Sandbox, words: str) -> None:
    assert not allowed(cluster, *words.split())


def test_an_editor_of_a_namespace_may_train_in_it_and_may_not_report(cluster: Sandbox) -> None:
    words = ("create", "rolebinding", "editor", "--clusterrole=edit", "--user=eve", "-n", "default")
    kubectl(cluster, *words, "--dry-run=server")
    kubectl(cluster, *words)

    def may(*asked: str) -> bool:
        return cluster.kubectl_run("auth", "can-i", *asked, "-n", "default", "--as=eve").stdout.strip() == "yes"

    wait_for(lambda: may("create", "trainingjobs"), "the roles to be aggregated")
    assert may("delete", "trainingjobs")
    assert not may("patch", "trainingjobs", "--subresource=status")
    assert not may("create", "sites")


def test_a_namespace_for_restricted_pods_takes_the_operator(cluster: Sandbox) -> None:
    """No kubelet starts it; that the API server has let it be made is what is shown."""
    selector = "--selector=app.kubernetes.io/name=passerelle"

    wait_for(lambda: bool(get(cluster, "pods", "-n", OPERATOR_NAMESPACE, selector)["items"]), "the Pod")


def notes(there: Sandbox, *words: str) -> str:
    """What Helm tells whoever installs or upgrades the chart."""
    where = ("--namespace", OPERATOR_NAMESPACE, "--dry-run=client")
    done = chart.helm("upgrade", chart.RELEASE, str(chart.CHART), *where, *words, sandbox=there)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_the_notes_warn_of_an_image_that_is_only_a_placeholder(cluster: Sandbox) -> None:
    assert "--set image.repository=" in notes(cluster)
    assert "WARNING" not in notes(cluster, "--set=image.repository=registry.lab.example/passerelle")


def test_a_file_that_the_notes_name_is_there(cluster: Sandbox) -> None:
    named = set(re.findall(r"-f (\S+)", notes(cluster))) - {"-"}  # standard input

    assert named
    assert [name for name in named if not (deploy.REPOSITORY / name).is_file()] == []


def test_the_operator_runs_with_the_rights_of_the_chart(cluster: Sandbox) -> None:
    token = chart.install_chart(cluster)
    trainer = {"name": "trainer", "namespace": "team"}
    deploy.apply(
        cluster,
        deploy.namespace("team"),
        deploy.credentials("far", "alice", "not.a.token"),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": trainer, "data": {"train.py": "pass"}},
        SITE,
        TRAINING,
    )
    running = deploy.start_operator(cluster, kubeconfig=token, log=cluster.directory / "chart-operator.log")
    try:
        running.wait_until_ready()
        wait_for(lambda: conditions(get(cluster, "tj", "training", "-n", "team")).get("Accepted") == "True", "a plan")
        wait_for(lambda: conditions(get(cluster, "hpcsite", "far")).get("Ready") == "False", "the Site's status")
        wait_for(lambda: bool(get(cluster, "events", "-n", "team")["items"]), "an event")
        assert running.stop() == 0
    finally:
        if running.process.poll() is None:
            running.kill()
    assert chart.refusals(cluster) == []


def test_a_right_that_is_missing_is_seen(bare_cluster: Sandbox) -> None:
    token = chart.install_chart(bare_cluster)

    done = bare_cluster.kubectl_run("get", "secrets", "-n", OPERATOR_NAMESPACE, f"--kubeconfig={token}")

    assert done.returncode != 0
    assert [each.partition("?")[0] for each in chart.refusals(bare_cluster)] == [
        f"list /api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets"
    ]


def test_an_upgrade_changes_what_it_is_told_to_and_keeps_every_training(bare_cluster: Sandbox) -> None:
    chart.install_chart(bare_cluster)
    kubectl(bare_cluster, "create", "namespace", "team")
    kubectl(bare_cluster, "create", "-f", "-", stdin=json.dumps(TRAINING))
    before = get(bare_cluster, "tj", "training", "-n", "team")["metadata"]

    chart.install_chart(bare_cluster, "--set=logFormat=text")

    after = get(bare_cluster, "tj", "training", "-n", "team")["metadata"]
    assert (after["uid"], after["resourceVersion"]) == (before["uid"], before["resourceVersion"])
    (container,) = get(bare_cluster, "deploy", "passerelle", "-n", OPERATOR_NAMESPACE)["spec"]["template"]["spec"][
        "containers"
    ]
    assert {"name": "PASSERELLE_LOG_FORMAT", "value": "text"} in container["env"]


def test_a_crd_is_upgraded_with_the_release(bare_cluster: Sandbox, tmp_path: Path) -> None:
    older = tmp_path / "passerelle"
    shutil.copytree(chart.CHART, older)
    crd = older / "files" / "crds" / "passerelle.dev_trainingjobs.yaml"
    crd.write_text(crd.read_text(encoding="utf-8").replace("name: Progress", "name: Advance"), encoding="utf-8")
    words = ("install", chart.RELEASE, str(older), "--namespace", OPERATOR_NAMESPACE, "--create-namespace")
    assert chart.helm(*words, sandbox=bare_cluster).returncode == 0
    assert "Advance" in columns(bare_cluster)

    chart.install_chart(bare_cluster)

    assert "Progress" in columns(bare_cluster)
    assert "Advance" not in columns(bare_cluster)


def columns(there: Sandbox) -> set[str]:
    """The names of the columns of `kubectl get tj`."""
    (version,) = get(there, "crd", "trainingjobs.passerelle.dev")["spec"]["versions"]
    return {column["name"] for column in version["additionalPrinterColumns"]}


def test_what_is_uninstalled_leaves_the_crds_and_every_training_and_can_come_back(bare_cluster: Sandbox) -> None:
    chart.install_chart(bare_cluster)
    kubectl(bare_cluster, "create", "namespace", "team")
    kubectl(bare_cluster, "create", "-f", "-", stdin=json.dumps(TRAINING))
    uid = get(bare_cluster, "tj", "training", "-n", "team")["metadata"]["uid"]

    gone = chart.helm("uninstall", chart.RELEASE, "--namespace", OPERATOR_NAMESPACE, sandbox=bare_cluster)

    assert gone.returncode == 0, gone.stderr
    assert get(bare_cluster, "clusterroles", "--selector=app.kubernetes.io/instance=passerelle")["items"] == []
    assert get(bare_cluster, "tj", "training", "-n", "team")["metadata"]["uid"] == uid
    chart.install_chart(bare_cluster)
    assert get(bare_cluster, "tj", "training", "-n", "team")["metadata"]["uid"] == uid

"""The same site through its login node: a training succeeds, a crash loses nothing, a certificate may end meanwhile."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run
from passerelle_sandbox import deploy
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e

SITE = "login-node"
KILLER = Path(__file__).with_name("killed_after_submit.py")


@pytest.fixture(autouse=True)
def login_node(cluster: Cluster) -> Iterator[None]:
    deploy.declare_login_node(cluster.sandbox, cluster.site, name=SITE)
    yield
    cluster.kubectl("delete", "hpcsite", SITE)


def ready(cluster: Cluster, status: str, reason: str) -> None:
    def look() -> bool | None:
        site = json.loads(cluster.kubectl("get", "hpcsites", SITE, "-o", "json"))
        found = condition(site, "Ready")
        return True if (found["status"], found["reason"]) == (status, reason) else None

    wait_for(look, f"the Site to be Ready={status} {reason}")


def test_a_training_succeeds_through_the_login_node(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    words = ("--steps", "20", "--seconds-per-step", "0.5")
    cluster.apply(trainingjob(namespace, "by-ssh", *words, site=SITE))

    wait_for_condition(cluster, namespace, "by-ssh", "Running")
    progress = wait_for(
        lambda: cluster.get(namespace, "by-ssh")["status"].get("progress"), "the first progress report of the trainer"
    )
    assert progress["totalSteps"] == 20

    done = wait_for_condition(cluster, namespace, "by-ssh", "Finished")
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    (attempt,) = done["status"]["attempts"]
    jobs = cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key)
    assert [(job["jobid"], job["state"], job["nnodes"]) for job in jobs] == [(attempt["jobId"], "COMPLETED", "2")]
    assert "rank 3 of 4" in cluster.log(attempt["logPath"])

    asked = ["logs", "by-ssh", "--namespace", namespace, "--operator-namespace", deploy.OPERATOR_NAMESPACE]
    shown = subprocess.run(
        [sys.executable, "-m", "passerelle", *asked],
        env={**os.environ, "KUBECONFIG": str(cluster.sandbox.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "rank 3 of 4" in shown.stdout, shown.stderr

    site = json.loads(cluster.kubectl("get", "hpcsites", SITE, "-o", "json"))["status"]
    assert (site["cluster"], site["user"], site["apiVersion"]) == (cluster.site.cluster, cluster.site.user, "ssh")
    assert site["credentialExpiry"], "the certificate's end"


def test_a_job_whose_answer_died_with_the_operator_is_adopted(cluster: Cluster, namespace: str) -> None:
    dying = cluster.start_operator(KILLER)
    cluster.apply(trainingjob(namespace, "adopted", "--steps", "4", "--seconds-per-step", "0.5", site=SITE))
    wait_for(dying.process.poll, "the operator to be killed right after the site's answer")
    assert dying.process.returncode == -9, dying.tail()
    left = cluster.get(namespace, "adopted")
    assert "jobId" not in left["status"]["attempts"][0], "the answer must not have been recorded"

    operator = cluster.start_operator()
    try:
        done = wait_for_condition(cluster, namespace, "adopted", "Finished")
    finally:
        operator.stop()

    assert condition(done, "Succeeded")["status"] == "True"
    jobs = cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key)
    assert [(job["jobid"], job["state"]) for job in jobs] == [(done["status"]["attempts"][0]["jobId"], "COMPLETED")]


def test_an_expired_certificate_holds_and_a_new_one_needs_no_restart(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    ready(cluster, "True", "Answering")
    cluster.apply(trainingjob(namespace, "before", "--steps", "20", "--seconds-per-step", "0.5", site=SITE))
    wait_for_condition(cluster, namespace, "before", "Running")
    cluster.apply(deploy.login_credentials(SITE, cluster.site, "-2h:-1h"))
    try:
        ready(cluster, "False", "CertificateExpired")
        cluster.apply(trainingjob(namespace, "after", "--steps", "2", "--seconds-per-step", "0.2", site=SITE))
        time.sleep(3)
        assert condition(cluster.get(namespace, "before"), "Running")["status"] == "True", "held, and not failed"
        assert not cluster.get(namespace, "after").get("status", {}).get("attempts")
    finally:
        cluster.apply(deploy.login_credentials(SITE, cluster.site))

    for name in ("before", "after"):
        done = wait_for_condition(cluster, namespace, name, "Finished")
        assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
        assert len(cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key)) == 1

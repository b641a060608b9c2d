"""The site goes away, the credential ends, the Site is pointed elsewhere: conditions say so, and nothing is lost."""

import json
import time
from typing import Any

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run
from passerelle_sandbox import deploy
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e

OTHER_USER = "nobody"
"""Another user whom the site knows: a valid token of another identity."""


def site_condition(cluster: Cluster, kind: str) -> dict[str, Any]:
    return condition(json.loads(cluster.kubectl("get", "hpcsites", "sandbox", "-o", "json")), kind)


def wait_for_site(cluster: Cluster, status: str, reason: str | None = None) -> None:
    def look() -> bool | None:
        ready = site_condition(cluster, "Ready")
        return True if ready["status"] == status and reason in (None, ready["reason"]) else None

    wait_for(look, f"the Site to be Ready={status} {reason or ''}")


def test_a_gateway_that_is_down_for_a_while_loses_nothing(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    cluster.apply(trainingjob(namespace, "patient", "--steps", "20", "--seconds-per-step", "0.5"))
    wait_for_condition(cluster, namespace, "patient", "Running")
    cluster.site.stop("slurmrestd")
    try:
        wait_for_site(cluster, "False", "Unreachable")
        cluster.apply(trainingjob(namespace, "later", "--steps", "4", "--seconds-per-step", "0.2"))
        time.sleep(12)  # the first training ends while nobody can see it
        assert condition(cluster.get(namespace, "patient"), "Succeeded")["status"] == "Unknown"
    finally:
        cluster.site.start_component("slurmrestd")

    for name in ("patient", "later"):
        done = wait_for_condition(cluster, namespace, name, "Finished")
        assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
        assert len(cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key)) == 1


def test_an_expired_token_leaves_jobs_alone_and_a_new_one_needs_no_restart(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    wait_for_site(cluster, "True")
    user = cluster.site.user
    cluster.apply(trainingjob(namespace, "before", "--steps", "40", "--seconds-per-step", "0.5"))
    wait_for_condition(cluster, namespace, "before", "Running")
    cluster.apply(deploy.credentials("sandbox", user, cluster.site.token(1)))
    try:
        wait_for_site(cluster, "False")
        assert site_condition(cluster, "Ready")["reason"] in ("TokenExpired", "Unauthorized")
        assert condition(cluster.get(namespace, "before"), "Running")["status"] == "True"
        cluster.apply(trainingjob(namespace, "after", "--steps", "4", "--seconds-per-step", "0.2"))
        time.sleep(3)
        assert not cluster.get(namespace, "after").get("status", {}).get("attempts")
    finally:
        cluster.apply(deploy.credentials("sandbox", user, cluster.site.token(36_000)))

    wait_for_site(cluster, "True")
    for name in ("before", "after"):
        done = wait_for_condition(cluster, namespace, name, "Finished")
        assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    assert operator.process.poll() is None


def test_a_site_that_becomes_another_user_s_is_refused_and_nothing_runs_twice(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    wait_for_site(cluster, "True")
    cluster.apply(trainingjob(namespace, "mine", "--steps", "40", "--seconds-per-step", "0.5"))
    wait_for_condition(cluster, namespace, "mine", "Running")
    cluster.apply(deploy.credentials("sandbox", OTHER_USER, cluster.site.token(600, OTHER_USER)))
    try:
        wait_for(lambda: True if site_condition(cluster, "IdentityKept")["status"] == "False" else None, "a warning")
        assert f"{namespace}/mine" in site_condition(cluster, "IdentityKept")["message"]
        assert site_condition(cluster, "Stalled")["reason"] == "IdentityChanged"
        mine = wait_for_condition(cluster, namespace, "mine", "Stalled")
        assert condition(mine, "Stalled")["reason"] == "IdentityChanged"
        assert condition(mine, "Running")["status"] == "True"
        assert (mine["status"]["summary"], mine["status"]["reason"]) == ("Running", "IdentityChanged")
    finally:
        cluster.apply(deploy.credentials("sandbox", cluster.site.user, cluster.site.token(36_000)))

    done = wait_for_condition(cluster, namespace, "mine", "Finished")
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    assert len(cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key)) == 1
    wait_for(lambda: True if not site_condition(cluster, "IdentityKept")["status"] else None, "the warning to go")


def test_a_frozen_scheduler_that_accepts_late_gets_one_job(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    wait_for_site(cluster, "True")
    cluster.apply(trainingjob(namespace, "frozen", "--steps", "4", "--seconds-per-step", "0.2", suspend=True))
    wait_for_condition(cluster, namespace, "frozen", "Accepted")
    run = Run.of_uid(cluster.get(namespace, "frozen")["metadata"]["uid"])
    time.sleep(2)
    cluster.site.pause("slurmctld")
    try:
        change = json.dumps({"spec": {"suspend": False}})
        cluster.kubectl("-n", namespace, "patch", "tj", "frozen", "--type=merge", "-p", change)
        time.sleep(15)
    finally:
        cluster.site.resume("slurmctld")

    done = wait_for_condition(cluster, namespace, "frozen", "Finished")
    assert condition(done, "Succeeded")["status"] == "True"
    assert [job["state"] for job in cluster.slurm_jobs(run.key)] == ["COMPLETED"]

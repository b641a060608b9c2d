"""Suspended, resumed, deleted, emptied: whatever a user does to a TrainingJob, the site follows and nothing is lost."""

import json

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e

LONG = ("--steps", "600", "--seconds-per-step", "0.5")


def states(cluster: Cluster, run: Run) -> list[str]:
    return [job["state"].split()[0] for job in cluster.slurm_jobs(run.key)]


def run_of(cluster: Cluster, namespace: str, name: str) -> Run:
    return Run.of_uid(cluster.get(namespace, name)["metadata"]["uid"])


def gone(cluster: Cluster, namespace: str, name: str) -> bool | None:
    done = cluster.sandbox.kubectl_run("-n", namespace, "get", "tj", name, "--ignore-not-found", "-o", "name")
    return True if done.returncode == 0 and not done.stdout.strip() else None


def test_deleting_a_queued_job_cancels_it(cluster: Cluster, operator: OperatorProcess, namespace: str) -> None:
    cluster.site.run(["scontrol", "update", "PartitionName=gpu", "State=DOWN"])
    try:
        cluster.apply(trainingjob(namespace, "waiting", *LONG))
        queued = wait_for_condition(cluster, namespace, "waiting", "Submitted")
        wait_for(
            lambda: condition(cluster.get(namespace, "waiting"), "Running")["reason"] == "PartitionDown" or None,
            "Slurm's reason to show",
        )
        assert condition(queued, "Ready")["status"] == "True"
        run = run_of(cluster, namespace, "waiting")
        cluster.kubectl("-n", namespace, "delete", "tj", "waiting", "--wait=false")
        wait_for(lambda: gone(cluster, namespace, "waiting"), "the TrainingJob to go")
    finally:
        cluster.site.run(["scontrol", "update", "PartitionName=gpu", "State=UP"])
    assert states(cluster, run) == ["CANCELLED"]


def test_a_namespace_with_a_running_job_ends_by_itself(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    cluster.apply(trainingjob(namespace, "doomed", *LONG))
    wait_for_condition(cluster, namespace, "doomed", "Running")
    run = run_of(cluster, namespace, "doomed")

    cluster.kubectl("delete", "namespace", namespace, "--wait=false")

    def ended() -> bool | None:
        done = cluster.sandbox.kubectl_run("get", "namespace", namespace, "--ignore-not-found", "-o", "name")
        return None if done.stdout.strip() else True

    wait_for(ended, "the namespace to end")
    assert states(cluster, run) == ["CANCELLED"]


def test_suspend_cancels_and_resume_makes_the_next_attempt(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    cluster.apply(trainingjob(namespace, "paused", "--steps", "600", "--seconds-per-step", "0.5", suspend=True))
    planned = wait_for_condition(cluster, namespace, "paused", "Accepted")
    assert planned["status"]["scriptDigest"]
    assert planned["status"]["plan"]["gpus"] == 4
    run = run_of(cluster, namespace, "paused")
    assert states(cluster, run) == []

    cluster.suspend(namespace, "paused", on=False)
    wait_for_condition(cluster, namespace, "paused", "Running")
    cluster.suspend(namespace, "paused", on=True)
    suspended = wait_for_condition(cluster, namespace, "paused", "Running", "False")
    wait_for(lambda: states(cluster, run) == ["CANCELLED"] or None, "the job to be cancelled")
    assert condition(suspended, "Finished")["status"] == "False"

    cluster.suspend(namespace, "paused", on=False)
    resumed = wait_for_condition(cluster, namespace, "paused", "Running")
    assert [attempt["marker"] for attempt in resumed["status"]["attempts"]] == [run.marker(1), run.marker(2)]
    assert resumed["status"]["attempts"][0]["reason"] == "Suspended"
    assert states(cluster, run) == ["CANCELLED", "RUNNING"]


@pytest.mark.parametrize("moment", ["Queued", "Running", "Finished"])
def test_an_emptied_status_is_rebuilt_by_marker(
    cluster: Cluster, operator: OperatorProcess, namespace: str, moment: str
) -> None:
    if moment == "Queued":
        cluster.site.run(["scontrol", "update", "PartitionName=gpu", "State=DOWN"])
    try:
        words = LONG if moment == "Running" else ("--steps", "4", "--seconds-per-step", "0.2")
        cluster.apply(trainingjob(namespace, "emptied", *words))
        reached = {"Queued": "Submitted", "Running": "Running", "Finished": "Finished"}[moment]
        before = wait_for_condition(cluster, namespace, "emptied", reached)["status"]["attempts"][0]
        run = run_of(cluster, namespace, "emptied")

        empty = json.dumps({"status": dict.fromkeys(cluster.get(namespace, "emptied")["status"])})
        cluster.kubectl("-n", namespace, "patch", "tj", "emptied", "--subresource=status", "--type=merge", "-p", empty)

        rebuilt = wait_for_condition(cluster, namespace, "emptied", reached)["status"]["attempts"][0]
        assert (rebuilt["marker"], rebuilt["jobId"]) == (before["marker"], before["jobId"])
    finally:
        cluster.site.run(["scontrol", "update", "PartitionName=gpu", "State=UP"])
    assert len(states(cluster, run)) == 1

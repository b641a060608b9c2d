"""The operator dies at the worst moment, and nothing is lost or run twice."""

from pathlib import Path

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run

pytestmark = pytest.mark.e2e

KILLER = Path(__file__).with_name("killed_after_submit.py")


def test_a_job_whose_answer_died_with_the_operator_is_adopted(cluster: Cluster, namespace: str) -> None:
    dying = cluster.start_operator(KILLER)
    cluster.apply(trainingjob(namespace, "adopted", "--steps", "4", "--seconds-per-step", "0.5"))
    wait_for(dying.process.poll, "the operator to be killed right after the site's answer")
    assert dying.process.returncode == -9, dying.tail()

    left = cluster.get(namespace, "adopted")
    run = Run.of_uid(left["metadata"]["uid"])
    intent = left["status"]["attempts"][0]
    assert intent["marker"] == run.marker(1)
    assert "jobId" not in intent, "the answer must not have been recorded, or this tests nothing"
    assert len(cluster.slurm_jobs(run.key)) == 1

    operator = cluster.start_operator()
    try:
        done = wait_for_condition(cluster, namespace, "adopted", "Finished")
    finally:
        operator.stop()

    assert condition(done, "Succeeded")["status"] == "True"
    jobs = cluster.slurm_jobs(run.key)
    assert [(job["jobid"], job["state"]) for job in jobs] == [(done["status"]["attempts"][0]["jobId"], "COMPLETED")]

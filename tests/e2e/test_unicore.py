"""The same cluster, the same site, and UNICORE as the door between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run
from passerelle_sandbox import deploy, processes, state
from passerelle_sandbox.deploy import OperatorProcess
from passerelle_sandbox.unicore import config, serve

pytestmark = pytest.mark.e2e

SITE = "behind-unicore"


@pytest.fixture(scope="module")
def door(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A UNICORE/X before the site, and a Site that leads to it."""
    found = state.read(cluster.sandbox.name)
    assert found is not None
    server = serve.start(tmp_path_factory.mktemp("unicore"), cluster.site, {processes.SANDBOX: found.marker})
    secret = deploy.credentials(SITE, "", "")
    secret["stringData"] = {"username": config.LOGIN, "password": config.PASSWORD}
    gateway = {"driver": "unicore", "url": server.url, "credentials": {"name": SITE}}
    cluster.apply(secret, deploy.site_manifest(SITE, cluster.site, gateway=gateway))
    yield SITE
    cluster.kubectl("delete", "hpcsite", SITE)
    server.stop()


def test_a_training_through_unicore_succeeds(
    cluster: Cluster, operator: OperatorProcess, namespace: str, door: str
) -> None:
    cluster.apply(trainingjob(namespace, "ddp", "--steps", "20", "--seconds-per-step", "0.5", site=door))

    progress = wait_for(
        lambda: cluster.get(namespace, "ddp").get("status", {}).get("progress"), "the first report of the trainer"
    )
    done = wait_for_condition(cluster, namespace, "ddp", "Finished")

    assert progress["totalSteps"] == 20
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    (attempt,) = done["status"]["attempts"]
    (job,) = cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key)
    assert (job["state"], job["nnodes"], attempt["nodeCount"]) == ("COMPLETED", "2", 2)
    assert attempt["jobId"] != job["jobid"]
    assert job["jobid"] in attempt["logPath"]
    assert "rank 3 of 4 on" in cluster.log(attempt["logPath"])


def test_a_refusal_that_comes_late_is_told_in_slurm_s_words(
    cluster: Cluster, operator: OperatorProcess, namespace: str, door: str
) -> None:
    cluster.apply(trainingjob(namespace, "refused", site=door, reservation="nothing"))

    done = wait_for_condition(cluster, namespace, "refused", "Finished")

    assert condition(done, "Succeeded")["reason"] == "Refused"
    assert "reservation" in condition(done, "Succeeded")["message"].lower()
    assert condition(done, "Stalled")["status"] == "True"
    assert cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key) == []


def test_a_deletion_ends_the_job_at_the_site(
    cluster: Cluster, operator: OperatorProcess, namespace: str, door: str
) -> None:
    cluster.apply(trainingjob(namespace, "long", "--steps", "900", "--seconds-per-step", "0.5", site=door))
    key = Run.of_uid(wait_for_condition(cluster, namespace, "long", "Running")["metadata"]["uid"]).key

    cluster.kubectl("-n", namespace, "delete", "tj", "long", "--timeout=60s")

    wait_for(lambda: "CANCELLED" in cluster.slurm_jobs(key)[0]["state"] or None, "the job's end")

"""A training that fails says why, in Slurm's words and in the trainer's."""

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for_condition
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e


def test_a_missing_image_fails_with_what_apptainer_says(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    cluster.apply(trainingjob(namespace, "imageless", image="/scratch/images/nowhere.sif"))

    done = wait_for_condition(cluster, namespace, "imageless", "Finished")

    assert condition(done, "Succeeded")["status"] == "False"
    assert "nowhere.sif" in condition(done, "Succeeded")["message"]


def test_a_job_that_outlives_its_time_limit_ends_as_time_limit(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    cluster.apply(trainingjob(namespace, "long", "--steps", "1000", "--seconds-per-step", "1", timeLimit="1m"))

    done = wait_for_condition(cluster, namespace, "long", "Finished", seconds=180)

    failure = condition(done, "Succeeded")
    assert (failure["status"], failure["reason"]) == ("False", "TimeLimit")
    assert "time limit of 1 minute" in failure["message"]


@pytest.mark.parametrize(
    "name,spec,reason,advice",
    [
        ("nowhere", {"site": "nowhere"}, "SiteNotFound", "kubectl get hpcsites"),
        ("wide", {"gpusPerNode": 5}, "", "4"),
        ("endless", {"timeLimit": "2h"}, "", "1h"),
        ("stranger", {"account": "somebody-else"}, "AccountNotAllowed", "startup"),
    ],
)
def test_what_can_not_be_planned_is_refused_with_what_to_write_instead(
    cluster: Cluster,
    operator: OperatorProcess,
    namespace: str,
    name: str,
    spec: dict[str, object],
    reason: str,
    advice: str,
) -> None:
    cluster.apply(trainingjob(namespace, name, **spec))

    refused = wait_for_condition(cluster, namespace, name, "Accepted", "False")

    assert condition(refused, "Accepted")["reason"] == reason or not reason
    assert advice in condition(refused, "Accepted")["message"]
    assert condition(refused, "Stalled")["status"] == "True"
    assert "attempts" not in refused["status"] or not refused["status"]["attempts"]

"""What UNICORE alone does: it takes a job first, and tells of a refusal later."""

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for_condition
from e2e.doors import Doors
from passerelle.marker import Run
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e


def test_a_refusal_that_comes_late_is_told_in_slurm_s_words(
    cluster: Cluster, operator: OperatorProcess, namespace: str, doors: Doors
) -> None:
    cluster.apply(trainingjob(namespace, "refused", site=doors.open("unicore"), reservation="nothing"))

    done = wait_for_condition(cluster, namespace, "refused", "Finished")

    assert condition(done, "Succeeded")["reason"] == "Refused"
    assert "reservation" in condition(done, "Succeeded")["message"].lower()
    assert condition(done, "Stalled")["status"] == "True"
    assert cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key) == []

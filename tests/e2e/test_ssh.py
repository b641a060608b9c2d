"""The same site through its login node: the certificate that leads there may end meanwhile."""

import json
import time
from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run
from passerelle_sandbox import deploy
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e

SITE = "login-node"


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

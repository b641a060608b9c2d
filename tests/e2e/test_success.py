"""A training over two nodes, from kubectl apply to Succeeded."""

import re

import httpx
import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e


def test_a_training_on_two_nodes_succeeds(cluster: Cluster, operator: OperatorProcess, namespace: str) -> None:
    cluster.apply(trainingjob(namespace, "ddp", "--steps", "20", "--seconds-per-step", "0.5"))

    running = wait_for_condition(cluster, namespace, "ddp", "Running")
    assert condition(running, "Accepted")["status"] == "True"
    assert condition(running, "Ready")["status"] == "True"
    assert condition(running, "Finished")["status"] == "False"

    progress = wait_for(
        lambda: cluster.get(namespace, "ddp")["status"].get("progress"), "the first progress report of the trainer"
    )
    assert progress["totalSteps"] == 20
    assert "loss" in {metric["name"] for metric in progress["metrics"]}

    done = wait_for_condition(cluster, namespace, "ddp", "Finished")
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    assert done["status"]["summary"] == "Succeeded"
    attempt = done["status"]["attempts"][0]
    assert len(done["status"]["attempts"]) == 1
    assert attempt["nodeCount"] == 2

    jobs = cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key)
    assert [(job["jobid"], job["state"], job["nnodes"]) for job in jobs] == [(attempt["jobId"], "COMPLETED", "2")]

    log = cluster.log(attempt["logPath"])
    ranks = set(re.findall(r"rank (\d) of 4 on (\S+)", log))
    assert {rank for rank, _ in ranks} == {"0", "1", "2", "3"}, log
    assert len({node for _, node in ranks}) == 2, log

    events = cluster.kubectl("-n", namespace, "get", "events", "-o", "jsonpath={.items[*].reason}").split()
    assert sorted(events) == ["Completed", "Planned", "Running", "Submitted"]
    assert "kopf." not in cluster.kubectl("get", "tj,hpcsites,secrets,configmaps", "-A", "-o", "yaml")
    metrics = httpx.get(operator.metrics_url, timeout=5).text
    assert "process_resident_memory_bytes" in metrics

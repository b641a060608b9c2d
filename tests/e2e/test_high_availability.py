"""Two operators, one Lease: whatever becomes of the one that acts, the other takes over, and nothing runs twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run
from passerelle_sandbox.deploy import OPERATOR_NAMESPACE, OperatorProcess

pytestmark = pytest.mark.e2e

TAKEOVER_SECONDS = 15.0
LOST = 75
SLOW = ("--steps", "40", "--seconds-per-step", "0.5")


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """The one that acts, and the one that stands by."""
    first = cluster.start_operator()
    wait_for(lambda: leads(first) or None, "the first operator to lead")
    second = cluster.start_operator()
    yield first, second
    for each in (first, second):
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGCONT)
            each.stop()


def leads(operator: OperatorProcess) -> bool:
    return "passerelle_leader 1.0" in operator.metrics().splitlines()


def takes_over(operator: OperatorProcess) -> float:
    """Seconds until it leads."""
    began = time.monotonic()
    wait_for(lambda: leads(operator) or None, "the other operator to lead", TAKEOVER_SECONDS + 5)
    return time.monotonic() - began


def ran(cluster: Cluster, namespace: str, name: str) -> list[str]:
    """The states of all jobs that Slurm ever had of a run."""
    run = Run.of_uid(cluster.get(namespace, name)["metadata"]["uid"])
    return [row["state"].split()[0] for row in cluster.slurm_jobs(run.key)]


def ended_well(cluster: Cluster, namespace: str, name: str) -> None:
    done = wait_for_condition(cluster, namespace, name, "Finished", seconds=120)
    assert condition(done, "Succeeded")["status"] == "True", json.dumps(done["status"])
    assert [each["number"] for each in done["status"]["attempts"]] == [1]
    assert ran(cluster, namespace, name) == ["COMPLETED"]


def test_another_takes_over_from_one_that_was_killed(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess], namespace: str
) -> None:
    first, second = pair
    assert second.readiness() == "ok", "a rollout goes on with it"
    assert not leads(second)
    cluster.apply(trainingjob(namespace, "runs", *SLOW))
    wait_for_condition(cluster, namespace, "runs", "Running")
    assert "stands by" in second.tail()

    cluster.apply(*(trainingjob(namespace, f"begun-{number}") for number in range(5)))
    first.kill()

    assert takes_over(second) < TAKEOVER_SECONDS
    for name in ("runs", *(f"begun-{number}" for number in range(5))):
        ended_well(cluster, namespace, name)


def test_one_that_was_frozen_wakes_up_and_writes_nothing(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess], namespace: str
) -> None:
    first, second = pair
    cluster.apply(*(trainingjob(namespace, f"before-{number}", *SLOW) for number in range(3)))
    wait_for_condition(cluster, namespace, "before-0", "Submitted")

    first.process.send_signal(signal.SIGSTOP)
    assert takes_over(second) < TAKEOVER_SECONDS
    cluster.apply(trainingjob(namespace, "meanwhile"))
    wait_for_condition(cluster, namespace, "meanwhile", "Submitted")
    cluster.kubectl("-n", namespace, "delete", "tj", "before-2")
    first.process.send_signal(signal.SIGCONT)

    assert first.process.wait(15) == LOST, first.tail()
    for name in ("before-0", "before-1", "meanwhile"):
        ended_well(cluster, namespace, name)
    assert leads(second)


def test_an_upgrade_hands_over_at_once(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess], namespace: str
) -> None:
    """As a rollout does it: the new one is ready, then the old one is asked to end."""
    first, second = pair
    cluster.apply(*(trainingjob(namespace, f"rolled-{number}") for number in range(4)))
    wait_for_condition(cluster, namespace, "rolled-0", "Submitted")

    assert first.stop() == 0

    assert takes_over(second) < 5
    for number in range(4):
        ended_well(cluster, namespace, f"rolled-{number}")
    third = cluster.start_operator()
    assert third.stop() == 0, "one that stands by ends at once, too"
    assert "Traceback" not in third.tail()
    lease = json.loads(cluster.kubectl("-n", OPERATOR_NAMESPACE, "get", "lease", "passerelle", "-o", "json"))
    assert lease["spec"]["leaseDurationSeconds"] == 10
    assert lease["spec"]["leaseTransitions"] >= 2

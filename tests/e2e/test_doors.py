"""The same four stories through every door: a training succeeds, a rank fails, one that runs is cancelled, and the
operator dies at the worst moment. Progress and ends come home by each, and logs where the door shows files. A fifth
one, of a run that is suspended, goes through those doors by which Slurm signals no batch script.

slurmrestd's success is test_success.py's, which looks closer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import PATIENCE_SECONDS, Cluster, condition, trainingjob, wait_for, wait_for_condition
from e2e.doors import DOORS, Doors
from passerelle.marker import Run
from passerelle_sandbox import deploy
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e

KILLER = Path(__file__).with_name("killed_after_submit.py")
LONG = ("--steps", "900", "--seconds-per-step", "0.5")
STEPS = 16
LONGER = 150
"""Steps, of 0.3 s: a run looks for a stop request every half minute."""

through = pytest.mark.parametrize("door", DOORS)


def slurm_states(cluster: Cluster, namespace: str, name: str) -> list[str]:
    """How Slurm has every job of that run, from its accounting."""
    run = Run.of_uid(cluster.get(namespace, name)["metadata"]["uid"])
    return [job["state"].split()[0] for job in cluster.slurm_jobs(run.key)]


def logs(cluster: Cluster, namespace: str, name: str) -> subprocess.CompletedProcess[str]:
    """What `passerelle logs` shows."""
    asked = ["logs", name, "--namespace", namespace, "--operator-namespace", deploy.OPERATOR_NAMESPACE]
    return subprocess.run(
        [sys.executable, "-m", "passerelle", *asked],
        env={**os.environ, "KUBECONFIG": str(cluster.sandbox.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_trainings_succeed_through_all_other_doors_side_by_side(
    cluster: Cluster, operator: OperatorProcess, namespace: str, doors: Doors
) -> None:
    sites = doors.open_all(*DOORS[1:])
    words = ("--steps", str(STEPS), "--seconds-per-step", "0.5")
    cluster.apply(*(trainingjob(namespace, each, *words, site=each, gpusPerNode=1) for each in sites))

    told: dict[str, dict[str, Any]] = {}

    def look() -> bool | None:
        for each in cluster.trainingjobs(namespace):
            if progress := each.get("status", {}).get("progress"):
                told.setdefault(each["metadata"]["name"], progress)
        return True if told.keys() == set(sites) else None

    wait_for(look, "the first progress report of each trainer", 2 * PATIENCE_SECONDS)
    for each in sites:
        assert told[each]["totalSteps"] == STEPS
        assert told[each]["step"] < STEPS, f"{each}: it is told while the job runs"
        succeeded(cluster, namespace, each)


def succeeded(cluster: Cluster, namespace: str, name: str) -> None:
    """Its result comes home, and its log."""
    done = wait_for_condition(cluster, namespace, name, "Finished")
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    (attempt,) = done["status"]["attempts"]
    assert (attempt["lastStep"], attempt["nodeCount"]) == (STEPS, 2)
    assert done["status"]["progress"]["step"] == STEPS
    assert slurm_states(cluster, namespace, name) == ["COMPLETED"]
    assert "rank 1 of 2" in cluster.log(attempt["logPath"])
    shown = logs(cluster, namespace, name)
    assert "rank 1 of 2" in shown.stdout, shown.stderr


@through
def test_a_failing_rank_is_named(
    cluster: Cluster, operator: OperatorProcess, namespace: str, doors: Doors, door: str
) -> None:
    words = ["--steps", "20", "--seconds-per-step", "0.2", "--fail-rank", "1", "--fail-at", "2"]
    cluster.apply(trainingjob(namespace, "broken", *words, site=doors.open(door), gpusPerNode=1))

    done = wait_for_condition(cluster, namespace, "broken", "Finished")

    failure = condition(done, "Succeeded")
    assert (failure["status"], failure["reason"]) == ("False", "Failed"), failure
    assert "rank 1 exited with code 1" in failure["message"]
    assert "rank 1 fails at step 2" in failure["message"], "the last words of its standard error"
    assert condition(done, "Stalled")["status"] == "True"
    (attempt,) = done["status"]["attempts"]
    assert (attempt["exit"]["rank"], attempt["exit"]["code"]) == (1, 1)
    assert slurm_states(cluster, namespace, "broken") == ["FAILED"]


@through
def test_one_that_runs_is_cancelled(
    cluster: Cluster, operator: OperatorProcess, namespace: str, doors: Doors, door: str
) -> None:
    cluster.apply(trainingjob(namespace, "doomed", *LONG, site=doors.open(door), gpusPerNode=1))
    found = wait_for_condition(cluster, namespace, "doomed", "Running")
    key = Run.of_uid(found["metadata"]["uid"]).key

    # So young a job's deletion waits until nothing more can come of its submit: by SSH that is 75 s after it.
    cluster.kubectl("-n", namespace, "delete", "tj", "doomed", "--timeout=90s", seconds=100)

    wait_for(lambda: "CANCELLED" in cluster.slurm_jobs(key)[0]["state"] or None, "the job's end")
    assert len(cluster.slurm_jobs(key)) == 1


@through
def test_a_job_whose_answer_died_with_the_operator_is_adopted(
    cluster: Cluster, namespace: str, doors: Doors, door: str
) -> None:
    site = doors.open(door)
    dying = cluster.start_operator(KILLER)
    words = ("--steps", "4", "--seconds-per-step", "0.5")
    cluster.apply(trainingjob(namespace, "adopted", *words, site=site, gpusPerNode=1))
    wait_for(dying.process.poll, "the operator to be killed right after the site's answer")
    assert dying.process.returncode == -9, dying.tail()
    (intent,) = cluster.get(namespace, "adopted")["status"]["attempts"]
    assert "jobId" not in intent, "the answer must not have been recorded, or this tests nothing"

    operator = cluster.start_operator()
    try:
        done = wait_for_condition(cluster, namespace, "adopted", "Finished")
    finally:
        operator.stop()

    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    (attempt,) = done["status"]["attempts"]
    assert (attempt["marker"], attempt["lastStep"]) == (intent["marker"], 4)
    assert slurm_states(cluster, namespace, "adopted") == ["COMPLETED"]


def test_runs_that_are_suspended_save_first_and_go_on_from_there_side_by_side(
    cluster: Cluster, operator: OperatorProcess, namespace: str, doors: Doors
) -> None:
    spec = {"gpusPerNode": 1, "checkpoint": {"grace": "30s"}, "retry": {"maxAttempts": 2}}
    words = ("--steps", str(LONGER), "--seconds-per-step", "0.3")
    sites = doors.open_all("unicore", "firecrest", "arc")
    cluster.apply(*(trainingjob(namespace, each, *words, site=each, **spec) for each in sites))
    for each in sites:
        wait_for(partial(step, cluster, namespace, each), f"the first report of {each}", 2 * PATIENCE_SECONDS)

    for each in sites:
        cluster.suspend(namespace, each, on=True)
    for each in sites:
        ended = wait_for_condition(cluster, namespace, each, "Running", "False")
        (first,) = ended["status"]["attempts"]
        assert (first["reason"], first["exit"]["code"]) == ("Suspended", 215), first
        assert slurm_states(cluster, namespace, each) == ["FAILED"], "it ended by itself, and was not cancelled"

    for each in sites:
        cluster.suspend(namespace, each, on=False)
    for each in sites:
        done = wait_for_condition(cluster, namespace, each, "Finished", seconds=2 * PATIENCE_SECONDS)
        assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
        first, second = done["status"]["attempts"]
        assert second["firstStep"] > first["checkpointStep"] > 0
        assert second["lastStep"] == LONGER


def step(cluster: Cluster, namespace: str, name: str) -> int | None:
    """The step that was told last."""
    told: int | None = cluster.get(namespace, name).get("status", {}).get("progress", {}).get("step")
    return told

"""Runs of several attempts, on real parts: warned by Slurm, ended by Slurm, stopped by hand, failed by a node."""

from __future__ import annotations

import re
from typing import Any

import pytest

from e2e.cluster import Cluster, condition, trainingjob, wait_for, wait_for_condition
from passerelle.marker import Run
from passerelle_sandbox.deploy import OperatorProcess

pytestmark = pytest.mark.e2e

STEPS = 850
"""At 0.7 s each some 600 s: more than one whole limit of 4 min, which Slurm may stretch by a minute, and twice the two
minutes after which an attempt is warned at the latest.
"""
CHAIN: dict[str, Any] = {"checkpoint": {"grace": "30s"}, "retry": {"maxAttempts": 20}}

_DEAF_AT_FIRST = """\
[ "$PASSERELLE_ATTEMPT" -gt 1 ] || export PASSERELLE_STOP_FILE=/nowhere
exec "$0" "$@"
"""

_END_NODE = """\
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    if [ "$pid" != $$ ] && { ls -l $process/fd 2> /dev/null | grep -q "slurmd-$0.log" ||
        tr '\\0' '\\n' < $process/environ 2> /dev/null | grep -qx "SLURMD_NODENAME=$0"; }; then
        kill -KILL "$pid"
    fi
done
"""
"""All that belongs to a node ends: its slurmd, its slurmstepd, its tasks."""


def attempts(job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job.get("status", {}).get("attempts", [])
    return found


def losses(log: str) -> dict[int, float]:
    return {int(step): float(loss) for step, loss in re.findall(rf"step (\d+)/{STEPS} loss ([0-9.e+-]+)", log)}


def wait_for_line(cluster: Cluster, namespace: str, name: str, text: str, attempt: int = 1) -> dict[str, Any]:
    """The attempt, once its log holds a text."""

    def look() -> dict[str, Any] | None:
        found = next((each for each in attempts(cluster.get(namespace, name)) if each["number"] == attempt), None)
        if found is None or "startTime" not in found:
            return None
        done = cluster.site.run(["cat", found["logPath"]])
        return found if done.returncode == 0 and text in done.stdout else None

    return wait_for(look, f"{text!r} in the log of attempt {attempt}")


def warn(cluster: Cluster, attempt: dict[str, Any]) -> None:
    """What Slurm does before the time limit: USR1, to the batch script alone."""
    words = ["scancel", "--batch", "--signal=USR1", attempt["jobId"]]
    done = cluster.site.run(words, user=cluster.site.user)
    assert done.returncode == 0, done.stderr


def test_a_training_that_outlives_its_time_limits_ends_as_if_it_had_not(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    """The first attempt's trainer doesn't look, and its clock is gone: nothing stops it but Slurm's own end. The others
    are warned by Slurm.
    """
    words = ["--steps", str(STEPS), "--save-every", "20"]
    cluster.apply(trainingjob(namespace, "whole", *words, timeLimit="20m"))
    whole = wait_for_condition(cluster, namespace, "whole", "Finished", seconds=180)
    parts = trainingjob(namespace, "parts", *words, "--seconds-per-step", "0.7", timeLimit="4m", **CHAIN)
    parts["spec"]["command"] = ["sh", "-c", _DEAF_AT_FIRST, *parts["spec"]["command"]]
    cluster.apply(parts)
    wait_for_line(cluster, namespace, "parts", f"step 1/{STEPS} ")
    clock = cluster.site.run(["pkill", "-KILL", "-f", "[d]eadline watch"])
    assert clock.returncode == 0, "there is no clock to kill"

    done = wait_for_condition(cluster, namespace, "parts", "Finished", seconds=2000)

    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    told = attempts(done)
    assert [each["reason"] for each in told] == ["TimeLimit", *["Stopped"] * (len(told) - 2), "Completed"]
    assert len(told) >= 4, "it outlived three time limits"
    logs = [cluster.log(each["logPath"]) for each in told]
    starts = [int(re.findall(r"rank 0 starts after step (\d+)", log)[0]) for log in logs]
    assert starts[0] == 0
    assert starts[1] >= 20
    assert starts == sorted(set(starts)), starts
    assert starts[2:] == [each["checkpointStep"] for each in told[1:-1]], "a stopped attempt loses no step"
    assert not any("the time limit is near" in log for log in logs[1:]), "Slurm's own warning came first"
    expected, found = losses(cluster.log(attempts(whole)[0]["logPath"])), losses("".join(logs))
    assert len(expected) == len(found) == STEPS
    assert all(abs(found[step] - loss) < 1e-6 for step, loss in expected.items())
    states = [job["state"] for job in cluster.slurm_jobs(Run.of_uid(done["metadata"]["uid"]).key)]
    assert states[0] == "TIMEOUT"


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_a_warning_stops_all_ranks_and_the_next_attempt_goes_on(
    cluster: Cluster, operator: OperatorProcess, namespace: str, launcher: str
) -> None:
    words = ["--steps", "60", "--seconds-per-step", "0.5"]
    cluster.apply(trainingjob(namespace, "warned", *words, timeLimit="10m", launcher=launcher, **CHAIN))
    warn(cluster, wait_for_line(cluster, namespace, "warned", "step 10/60 "))

    done = wait_for_condition(cluster, namespace, "warned", "Finished", seconds=180)

    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    stopped, completed = attempts(done)
    assert (stopped["reason"], completed["reason"]) == ("Stopped", "Completed")
    assert stopped["exit"]["code"] == 215
    log = cluster.log(stopped["logPath"])
    assert len(re.findall(r"rank \d has saved step \d+ and stops", log)) == 4, log
    assert "Bus error" not in log
    assert f"rank 0 starts after step {stopped['checkpointStep']}" in cluster.log(completed["logPath"])


def test_a_suspension_has_the_trainer_save_and_resuming_goes_on_from_there(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    words = ["--steps", "60", "--seconds-per-step", "0.5"]
    cluster.apply(trainingjob(namespace, "paused", *words, timeLimit="10m", **CHAIN))
    wait_for_line(cluster, namespace, "paused", "step 10/60 ")

    cluster.suspend(namespace, "paused", on=True)
    stopped = wait_for_condition(cluster, namespace, "paused", "Submitted", "False", seconds=90)
    assert condition(stopped, "Submitted")["reason"] == "Suspended"
    assert (attempts(stopped)[0]["state"], attempts(stopped)[0]["exit"]["code"]) == ("FAILED", 215), "not CANCELLED"
    cluster.suspend(namespace, "paused", on=False)
    done = wait_for_condition(cluster, namespace, "paused", "Finished", seconds=180)

    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    first, second = attempts(done)
    assert (first["reason"], second["reason"]) == ("Suspended", "Completed")
    assert first["checkpointStep"] >= 10
    assert f"rank 0 starts after step {first['checkpointStep']}" in cluster.log(second["logPath"])


_LISTENER = """\
import os, signal, sys, time
def caught(*_):
    time.sleep(2)
    with open("/usr/share/common-licenses/GPL-2", "rb") as file: size = len(file.read())  # the image is still mounted
    print("rank %s caught its signal" % os.environ["RANK"], flush=True)
    os._exit(0 if size else 1)
signal.signal(signal.SIGUSR1, caught)
with open(os.environ["PASSERELLE_SIGNAL_FILE"], "w") as file: file.write("%d USR1" % os.getpid())
print("rank %s listens" % os.environ["RANK"], flush=True)
for _ in range(600): time.sleep(0.1)
sys.exit("no signal came")
"""


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_registered_trainers_get_their_signal_and_keep_their_image(
    cluster: Cluster, operator: OperatorProcess, namespace: str, launcher: str
) -> None:
    told = trainingjob(namespace, "listener", timeLimit="10m", launcher=launcher, **CHAIN)
    told["spec"]["command"] = ["python3", "-c", _LISTENER]
    cluster.apply(told)
    attempt = wait_for_line(cluster, namespace, "listener", "rank 3 listens")
    for rank in range(3):
        wait_for_line(cluster, namespace, "listener", f"rank {rank} listens")

    warn(cluster, attempt)

    done = wait_for_condition(cluster, namespace, "listener", "Finished", seconds=120)
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    assert len(re.findall(r"rank \d caught its signal", cluster.log(attempt["logPath"]))) == 4


def test_a_chain_that_comes_no_further_stops_and_says_why(
    cluster: Cluster, operator: OperatorProcess, namespace: str
) -> None:
    told = trainingjob(namespace, "stuck", timeLimit="10m", **CHAIN)
    line = '{"step": 5}'
    code = f"import os, sys; open(os.environ['PASSERELLE_PROGRESS_FILE'], 'a').write('{line}\\n'); sys.exit(215)"
    told["spec"]["command"] = ["python3", "-c", code]
    cluster.apply(told)

    done = wait_for_condition(cluster, namespace, "stuck", "Finished")

    failure = condition(done, "Succeeded")
    assert (failure["status"], failure["reason"]) == ("False", "NoProgress")
    assert (
        "Attempt 2 ended at its time limit and came to step 5, and an earlier one had come to step 5"
        in (failure["message"])
    )
    assert len(attempts(done)) == 2


def test_a_node_that_dies_is_kept_away_from(cluster: Cluster, operator: OperatorProcess, namespace: str) -> None:
    words = ["--steps", "60", "--seconds-per-step", "0.5", "--save-every", "5"]
    cluster.apply(trainingjob(namespace, "bereft", *words, timeLimit="10m", **CHAIN))
    attempt = wait_for_line(cluster, namespace, "bereft", "step 10/60 ")
    lost = attempt["nodes"][1]
    try:
        cluster.site.run(["sh", "-c", _END_NODE, lost])

        done = wait_for_condition(cluster, namespace, "bereft", "Finished", seconds=600)
    finally:
        cluster.site.run(["slurmd", "-N", lost])

    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    failed, completed = attempts(done)
    assert failed["reason"] in ("BadNode", "NodeFailure")
    assert done["status"]["excludedNodes"] == [lost]
    assert lost not in completed["nodes"]
    start = re.findall(r"rank 0 starts after step (\d+)", cluster.log(completed["logPath"]))
    assert int(start[0]) >= 5

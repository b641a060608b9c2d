"""Every launcher, for real: two nodes with two ranks each, in the image, with the framework that it is for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from e2e.cluster import IMAGE as TORCH_IMAGE
from e2e.cluster import Cluster, condition, trainingjob, wait_for_condition
from passerelle_sandbox.deploy import OperatorProcess
from passerelle_sandbox.site.image import frameworks_image

pytestmark = pytest.mark.e2e

TRAINERS = Path(__file__).parent / "trainers"
IMAGE = "/scratch/images/frameworks.sif"
SECONDS = 240.0
"""DeepSpeed compiles an operator first."""


@pytest.fixture(scope="module")
def image(cluster: Cluster) -> str:
    """The image with all frameworks, at the site."""
    seen = cluster.site.directory / IMAGE.lstrip("/")
    if not seen.exists():
        os.link(frameworks_image(), seen)
    return IMAGE


@pytest.fixture
def trainers(cluster: Cluster, namespace: str) -> str:
    """A namespace with the trainers in a ConfigMap."""
    data = {path.name: path.read_text(encoding="utf-8") for path in sorted(TRAINERS.iterdir()) if path.is_file()}
    metadata = {"name": "trainers", "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return namespace


def test_an_agent_on_each_of_two_nodes_starts_the_ranks(
    cluster: Cluster, operator: OperatorProcess, trainers: str
) -> None:
    assert_they_meet(cluster, operator, trainers, "torchrun", "sum_torch.py", TORCH_IMAGE)


@pytest.mark.parametrize(
    "launcher,trainer",
    [
        ("srun", "sum_torch.py"),
        ("accelerate", "sum_accelerate.py"),
        ("deepspeed", "sum_deepspeed.py"),
        ("jax", "sum_jax.py"),
        ("mpi", "sum_mpi.py"),
    ],
)
def test_four_ranks_on_two_nodes_find_each_other(
    cluster: Cluster, operator: OperatorProcess, trainers: str, image: str, launcher: str, trainer: str
) -> None:
    assert_they_meet(cluster, operator, trainers, launcher, trainer, image)


def test_a_batch_script_runs_as_it_is(cluster: Cluster, operator: OperatorProcess, trainers: str, image: str) -> None:
    assert operator.process.poll() is None
    there = cluster.site.directory / "scratch" / "images" / "sum_torch.py"
    there.write_text((TRAINERS / "sum_torch.py").read_text(encoding="utf-8"), encoding="utf-8")
    cluster.apply(
        trainingjob(
            trainers,
            "script",
            image=image,
            launcher="script",
            command=["/workspace/body.sh"],
            env=[{"name": "TRAINER", "value": "/scratch/images/sum_torch.py"}],
            files=[{"configMap": "trainers", "path": "/workspace"}],
        )
    )

    done = wait_for_condition(cluster, trainers, "script", "Finished", seconds=SECONDS)

    log = cluster.log(done["status"]["attempts"][0]["logPath"])
    assert condition(done, "Succeeded")["status"] == "True", f"{condition(done, 'Succeeded')}\n{log}"
    assert_met(log)


def test_an_image_that_is_not_there_is_named(cluster: Cluster, operator: OperatorProcess, trainers: str) -> None:
    assert operator.process.poll() is None
    missing = "/scratch/images/no-such.sif"
    cluster.apply(trainingjob(trainers, "missing", image=missing, retry={"maxAttempts": 3}))

    done = wait_for_condition(cluster, trainers, "missing", "Finished")

    word = condition(done, "Succeeded")
    assert (word["status"], word["reason"]) == ("False", "ImageNotFound"), word
    assert re.search(rf"There is no readable image at {missing} on n\d+\.", word["message"])
    assert len(done["status"]["attempts"]) == 1, "another attempt would find none either"


def assert_they_meet(
    cluster: Cluster, operator: OperatorProcess, namespace: str, launcher: str, trainer: str, image: str
) -> None:
    assert operator.process.poll() is None
    cluster.apply(
        trainingjob(
            namespace,
            launcher,
            image=image,
            launcher=launcher,
            command=["python", f"/workspace/{trainer}"],
            env=[{"name": "UCX_TLS", "value": "tcp,self"}],  # ranks in containers of their own share no memory
            files=[{"configMap": "trainers", "path": "/workspace"}],
        )
    )

    done = wait_for_condition(cluster, namespace, launcher, "Finished", seconds=SECONDS)

    log = cluster.log(done["status"]["attempts"][0]["logPath"])
    assert condition(done, "Succeeded")["status"] == "True", f"{condition(done, 'Succeeded')}\n{log}"
    assert_met(log)


def assert_met(log: str) -> None:
    """Four ranks on two nodes, two on each, all of which know the sum of all."""
    ranks = re.findall(r"rank (\d) of 4 \((\d)\) on (n\d+): 6", log)  # ranks of one agent may share a line
    assert sorted(rank for rank, _, _ in ranks) == ["0", "1", "2", "3"], log
    assert sorted(local for _, local, _ in ranks) == ["0", "0", "1", "1"], log
    assert len({node for _, _, node in ranks}) == 2, log

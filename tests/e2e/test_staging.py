"""Data from a real object store, a training on them, and its model back there, through doors that transfer."""

import asyncio
import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import PATIENCE_SECONDS, Cluster, condition, trainingjob, wait_for_condition
from e2e.doors import Doors
from passerelle.staging.s3.client import S3
from passerelle.staging.s3.credential import access
from passerelle_sandbox import chart, deploy, processes, state
from passerelle_sandbox.deploy import OperatorProcess
from passerelle_sandbox.object_store import serve
from passerelle_sandbox.object_store.serve import ObjectStore

pytestmark = pytest.mark.e2e

SITES = ("ssh", "unicore", "arc")
BUCKET = "startup"
CORPUS = os.urandom(40_000_000)
TRAINER = """
import hashlib, os, sys
corpus = open(sys.argv[1], "rb").read()
final = os.path.join(os.environ["PASSERELLE_RUN_DIR"], "checkpoints", "final")
os.makedirs(final, exist_ok=True)
with open(os.path.join(final, "model.bin"), "wb") as file:
    file.write(corpus[::-1])
with open(os.path.join(final, "digest"), "w") as file:
    file.write(hashlib.sha256(corpus).hexdigest())
"""


@pytest.fixture(scope="module")
def store(cluster: Cluster) -> Iterator[ObjectStore]:
    found = state.read(cluster.sandbox.name)
    assert found is not None
    env = {**os.environ, processes.SANDBOX: found.marker}
    started = serve.start(cluster.sandbox.directory / "s3", env, buckets=(BUCKET,))
    asyncio.run(fill(started))
    yield started
    started.end()


async def fill(store: ObjectStore) -> None:
    client = S3(BUCKET, access("team/s3", {key: text.encode() for key, text in store.secret().items()}))
    await client.put("corpora/train.bin", CORPUS, "")
    await client.put("corpora/README", b"what it is\n", "")
    await client.close()


@pytest.fixture
def secret(cluster: Cluster, store: ObjectStore, namespace: str) -> None:
    """The user's Secret, and the operator's right to read it."""
    about = {"name": "s3", "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": store.secret()},
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": about,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "s3"},
            "subjects": [
                {"kind": "ServiceAccount", "name": chart.SERVICE_ACCOUNT, "namespace": deploy.OPERATOR_NAMESPACE}
            ],
        },
    )


def staged(
    cluster: Cluster, namespace: str, name: str, *, site: str = "ssh", url: str = f"s3://{BUCKET}/corpora/"
) -> dict[str, Any]:
    """A TrainingJob that reads a corpus and leaves what it made of it."""
    corpus = f"{cluster.site.run_root}/data/{site}"
    return trainingjob(
        namespace,
        name,
        site=site,
        nodes=1,
        gpusPerNode=1,
        files=[],
        command=["python3", "-c", TRAINER, f"{corpus}/train.bin"],
        data=[{"name": "corpora", "path": corpus, "source": {"s3": {"url": url, "secretRef": {"name": "s3"}}}}],
        outputs=[
            {
                "name": "model",
                "path": "checkpoints/final",
                "destination": {"s3": {"url": f"s3://{BUCKET}/{name}/", "secretRef": {"name": "s3"}}},
            }
        ],
    )


def test_a_corpus_comes_and_a_model_goes_through_doors_side_by_side(
    cluster: Cluster, operator: OperatorProcess, namespace: str, doors: Doors, store: ObjectStore, secret: None
) -> None:
    doors.open_all(*SITES)
    cluster.apply(*(staged(cluster, namespace, f"first-{site}", site=site) for site in SITES))
    for site in SITES:
        done = wait_for_condition(cluster, namespace, f"first-{site}", "OutputsStaged", seconds=2 * PATIENCE_SECONDS)
        came_and_went(done, store)
        assert brought(operator, site) == len(CORPUS) + 11
        there = cluster.site.run(["find", f"{cluster.site.run_root}/data/{site}", "-type", "f"]).stdout.split()
        assert {Path(each).name for each in there} == {"train.bin", "README"}
    receipts = cluster.site.run(["ls", f"{cluster.site.run_root}/staged"]).stdout.split()
    assert not [each for each in receipts if each.endswith((".begun.json", ".upload.json"))], "no note is left"

    shown = cluster.kubectl("-n", namespace, "get", "tj,events", "-o", "json") + operator.log.read_text("utf-8")
    for word in (store.secret_access_key, base64.b64encode(store.secret_access_key.encode()).decode()):
        assert word not in shown

    cluster.apply(*(staged(cluster, namespace, f"second-{site}", site=site) for site in SITES))
    for site in SITES:
        again = wait_for_condition(cluster, namespace, f"second-{site}", "Submitted")
        (line,) = (each for each in again["status"]["transfers"] if each["direction"] == "In")
        assert line["state"] == "Done"
        assert brought(operator, site) == len(CORPUS) + 11, "it was copied once"


def came_and_went(done: dict[str, Any], store: ObjectStore) -> None:
    """The training ran on what came, and what it made is in the store."""
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    assert condition(done, "DataStaged")["message"] == "At the site: 2 files, 40.0 MB."
    made = store.objects / BUCKET / done["metadata"]["name"]
    assert (made / "digest").read_text(encoding="ascii") == hashlib.sha256(CORPUS).hexdigest()
    assert (made / "model.bin").read_bytes() == CORPUS[::-1]
    lines = {each["direction"]: each for each in done["status"]["transfers"]}
    assert (lines["In"]["state"], lines["In"]["files"], lines["In"]["bytes"]) == ("Done", 2, len(CORPUS) + 11)
    assert (lines["Out"]["state"], lines["Out"]["files"]) == ("Done", 2)


def brought(operator: OperatorProcess, site: str) -> float:
    """Bytes that came to a Site, as the operator counts them."""
    counter = f'passerelle_staged_bytes_total{{direction="In",site="{site}"}} '
    (counted,) = (each for each in operator.metrics().splitlines() if each.startswith(counter))
    return float(counted.removeprefix(counter))


def test_a_wrong_url_is_told_and_nothing_is_submitted(
    cluster: Cluster, operator: OperatorProcess, namespace: str, doors: Doors, secret: None
) -> None:
    site = doors.open("ssh")
    cluster.apply(staged(cluster, namespace, "typo", site=site, url=f"s3://{BUCKET}/corpra/"))
    stalled = wait_for_condition(cluster, namespace, "typo", "Stalled")
    assert condition(stalled, "Stalled")["reason"] == "NoSuchKey"
    assert f"There is no object below s3://{BUCKET}/corpra/" in condition(stalled, "DataStaged")["message"]
    assert "attempts" not in stalled["status"] or stalled["status"]["attempts"] == []


def test_over_slurmrestd_it_is_refused_with_what_to_do(
    cluster: Cluster, operator: OperatorProcess, namespace: str, secret: None
) -> None:
    cluster.apply(staged(cluster, namespace, "rest", site="sandbox"))
    refused = wait_for_condition(cluster, namespace, "rest", "Accepted", "False")
    assert condition(refused, "Accepted")["reason"] == "NeedsFiles"

"""Real clusters, one with the chart in it for all tests of a run, and an empty one for a test that asks for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from passerelle_sandbox import chart, deploy, sandbox
from passerelle_sandbox.deploy import OPERATOR_NAMESPACE
from passerelle_sandbox.sandbox import Sandbox

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture
def bare_cluster() -> Iterator[Sandbox]:
    """A cluster for one test, without the chart."""
    made = sandbox.up(f"chart-{secrets.token_hex(3)}", slurm=())
    try:
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Sandbox]:
    """A cluster with the chart in it, in a namespace that takes restricted Pods alone."""
    made = sandbox.up(f"chart-{secrets.token_hex(3)}", slurm=())
    try:
        labelled = {"name": OPERATOR_NAMESPACE, "labels": RESTRICTED}
        deploy.apply(made, {"apiVersion": "v1", "kind": "Namespace", "metadata": labelled})
        chart.install_chart(made)
        yield made
    finally:
        made.down()

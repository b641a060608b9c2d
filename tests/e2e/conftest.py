"""The whole thing, on real parts: kube-apiserver, Slurm, Apptainer, PyTorch. Nothing here is skipped."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator

import pytest

from e2e.cluster import Cluster
from e2e.doors import Doors
from passerelle_sandbox import chart, deploy, sandbox
from passerelle_sandbox.deploy import REPOSITORY, OperatorProcess


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A story that fails tells what the operator said of it: the sandbox goes, and its log with it."""
    report = yield
    operator = getattr(item, "funcargs", {}).get("operator")
    if report.failed and isinstance(operator, OperatorProcess):
        report.sections.append(("The operator's log", operator.tail(120)))
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    name = f"e2e-{secrets.token_hex(3)}"
    made = sandbox.up(name, arc=True)
    try:
        there = Cluster(made, made.sites["sid"], chart.install_chart(made))
        deploy.declare_site(made, there.site)
        yield there
        assert chart.refusals(made) == [], "the chart grants less than the operator does"
    finally:
        made.down()


@pytest.fixture(scope="session")
def servers(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    made = Doors(cluster, tmp_path_factory.mktemp("doors"))
    yield made
    made.end()


@pytest.fixture
def doors(servers: Doors) -> Iterator[Doors]:
    """The ways into the site, for one test."""
    yield servers
    servers.leave()


@pytest.fixture
def operator(cluster: Cluster) -> Iterator[OperatorProcess]:
    """A running operator, ended by SIGTERM, which it must obey."""
    running = cluster.start_operator()
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0, running.tail()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"team-{secrets.token_hex(3)}"
    trainer = (REPOSITORY / "examples" / "trainer" / "train.py").read_text(encoding="utf-8")
    cluster.apply(
        deploy.namespace(name),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "trainer", "namespace": name},
            "data": {"train.py": trainer},
        },
    )
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

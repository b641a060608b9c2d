"""The image: what is in it, and that it runs as the chart's Pod would run it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image.container import AS_A_POD, podman, running, service_account
from passerelle_sandbox import chart, deploy, operator_image
from passerelle_sandbox.deploy import REPOSITORY
from passerelle_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.image

PYTHON = "/opt/passerelle/bin/python"
SITE = {
    "apiVersion": "passerelle.dev/v1alpha1",
    "kind": "Site",
    "metadata": {"name": "far"},
    "spec": {
        "profile": "sandbox",
        "gateway": {"driver": "slurmrestd", "url": "http://127.0.0.1:1", "credentials": {"name": "far"}},
        "runRoot": "/scratch/passerelle",
        "admission": [{"namespaces": ["team"], "accounts": ["lab"]}],
    },
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that another user may look into, as pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="passerelle-image-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def config(image: str) -> Any:
    return json.loads(podman("image", "inspect", image))[0]["Config"]


def python(image: str, program: str) -> str:
    """What a program prints that the image's Python runs, as the chart's Pod would."""
    done = operator_image.podman("run", "--rm", *AS_A_POD, f"--entrypoint={PYTHON}", image, "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_starts_the_operator_without_a_shell(image: str) -> None:
    assert config(image)["Entrypoint"] == [PYTHON, "/app/operator/main.py"]


def test_its_user_is_a_number_that_is_not_roots_and_is_the_charts(image: str) -> None:
    done = chart.helm("template", "passerelle", str(chart.CHART), "--show-only=templates/deployment.yaml")

    assert config(image)["User"] == "65532:65532"
    assert "runAsUser: 65532" in done.stdout


def test_its_labels_tell_the_version(image: str) -> None:
    labels = config(image)["Labels"]

    assert labels["org.opencontainers.image.version"] == importlib.metadata.version("passerelle")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_it_has_what_the_operator_needs_in_the_pinned_versions_and_nothing_else(image: str) -> None:
    program = (
        "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    )
    found = {name.lower().replace("_", "-"): version for name, version in json.loads(python(image, program))}
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.lower().replace("_", "-").split("==") for line in lines)

    assert found.pop("passerelle") == importlib.metadata.version("passerelle")
    assert found == {name: pinned[name] for name in found}
    assert not {"pip", "pytest", "mypy", "ruff", "hypothesis"} & found.keys()


def test_it_has_no_sandbox_no_tests_and_nobodys_pip_settings(image: str) -> None:
    program = """
import importlib.util, pathlib
print(importlib.util.find_spec("passerelle_sandbox"), sorted(str(path) for path in pathlib.Path("/app").rglob("*.py")))
print(pathlib.Path("/etc/pip.conf").exists() and pathlib.Path("/etc/pip.conf").stat().st_size > 0)
"""

    assert python(image, program).split("\n")[:2] == ["None ['/app/operator/main.py']", "False"]


def test_its_modules_are_compiled(image: str) -> None:
    program = "import passerelle.reconcile as m, os; print(os.path.exists(m.__cached__))"

    assert python(image, program).strip() == "True"


def test_nothing_of_it_can_be_written_by_its_user(image: str) -> None:
    program = (
        "import os; print([top for top in ('/opt/passerelle', '/app', '/app/operator') if os.access(top, os.W_OK)])"
    )
    done = operator_image.podman(
        "run", "--rm", "--network=host", *operator_image.LIMITS, f"--entrypoint={PYTHON}", image, "-c", program
    )

    assert done.stdout.strip() == "[]"


def test_it_runs_read_only_without_rights_and_without_a_shell_as_the_charts_service_account(
    image: str, cluster: Sandbox, place: Path
) -> None:
    account, apiserver = service_account(chart.install_chart(cluster), place / "account")
    deploy.apply(cluster, deploy.credentials("far", "alice", "not.a.token"), SITE)

    with running(image, account, apiserver=apiserver) as operator:
        operator.wait_for("/readyz", 200)
        said = cluster.kubectl_run("wait", "hpcsite/far", "--for=condition=Ready=False", "--timeout=20s")
        assert said.returncode == 0, said.stderr + operator.logs()
        assert "passerelle_build_info" in operator.answer("/metrics")[1]
        assert operator.stop() == 0
    assert chart.refusals(cluster) == []


def test_without_a_kube_apiserver_it_lives_is_not_ready_and_says_so(image: str, cluster: Sandbox, place: Path) -> None:
    account, _ = service_account(chart.install_chart(cluster), place / "account")

    with running(image, account, apiserver="https://127.0.0.1:1") as operator:
        assert operator.wait_for("/livez", 200) == "ok\n"
        assert "kube-apiserver" in operator.wait_for("/readyz", 503)
        assert "127.0.0.1:1" in operator.logs()
        assert operator.stop() == 0


def test_the_context_that_is_sent_to_the_builder_holds_only_what_the_image_is_made_of() -> None:
    """Nothing but .dockerignore keeps keys, caches and the sandbox from a remote builder."""
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")

    assert "*" in lines
    for line in lines:
        if line.startswith("!"):
            assert line[1:].partition("/")[0] in copied


def test_no_package_index_is_named_in_the_dockerfile() -> None:
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")

    assert "index-url" not in text
    assert "://" not in text

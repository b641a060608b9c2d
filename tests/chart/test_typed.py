"""What the documents have people type does what they say of it, in a real cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest
import yaml

from chart.manifests import get, kubectl
from passerelle_sandbox.deploy import REPOSITORY
from passerelle_sandbox.sandbox import Sandbox

pytestmark = pytest.mark.chart

IMPATIENT = "sleep() { command sleep 0.1; }\n"
"""What is typed waits ten seconds between two looks; a test need not."""
NOW = "2026-01-01T00:00:00Z"


def block(page: str, language: str, word: str) -> str:
    """The only block of a page, in this language, that has this word in it."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (found,) = (each for each in blocks if word in each)
    return str(found)


WAITING = block("trainingjob.md", "sh", "until kubectl")
LETTING_GO = block("install.md", "sh", "finalizers")
EXAMPLE = yaml.safe_load(block("trainingjob.md", "yaml", "name: llm-7b-s3"))


def typed(there: Sandbox, script: str) -> subprocess.Popen[str]:
    """Bash with a script, and kubectl as its reader has it."""
    path = f"{there.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "KUBECONFIG": str(there.kubeconfig)}
    return subprocess.Popen(
        ["bash", "-c", script], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def create(there: Sandbox, job: dict[str, Any]) -> None:
    namespace = job["metadata"]["namespace"]
    there.kubectl_run("create", "namespace", namespace)  # it may be there already
    kubectl(there, "create", "-f", "-", stdin=json.dumps(job))


def say(there: Sandbox, *words: str) -> None:
    """Write the conditions of the example, each as Type=Status, as an operator would."""
    told = [
        {"type": kind, "status": status, "reason": "Said", "message": "", "lastTransitionTime": NOW}
        for kind, _, status in (word.partition("=") for word in words)
    ]
    name, namespace = EXAMPLE["metadata"]["name"], EXAMPLE["metadata"]["namespace"]
    patch = json.dumps({"status": {"conditions": told}})
    kubectl(there, "patch", "tj", name, "-n", namespace, "--subresource=status", "--type=merge", f"--patch={patch}")


@pytest.mark.parametrize(
    "conditions, succeeded",
    [
        pytest.param(["Finished=True", "Succeeded=True"], True, id="it has succeeded"),
        pytest.param(["Finished=True", "Succeeded=False", "Stalled=True"], False, id="it has failed"),
        pytest.param(["Finished=False", "Accepted=False", "Stalled=True"], False, id="it was refused"),
    ],
)
def test_a_script_waits_until_nothing_more_comes(cluster: Sandbox, conditions: list[str], succeeded: bool) -> None:
    create(cluster, EXAMPLE)
    try:
        say(cluster, "Accepted=True", "Finished=False", "Succeeded=Unknown")
        with typed(cluster, IMPATIENT + WAITING) as script:
            try:
                with pytest.raises(subprocess.TimeoutExpired):
                    script.wait(1.0)
                say(cluster, *conditions)
                said, _ = script.communicate(timeout=20)
            finally:
                script.kill()
        assert (script.returncode == 0) == succeeded, said
    finally:
        kubectl(cluster, "delete", "tj", EXAMPLE["metadata"]["name"], "-n", EXAMPLE["metadata"]["namespace"])


def test_what_no_operator_lets_go_of_can_be_let_go_of_by_hand(cluster: Sandbox) -> None:
    held = {"name": "first-run", "namespace": "llm-team", "finalizers": ["passerelle.dev/cancel-remote-job"]}
    create(cluster, {**EXAMPLE, "metadata": held})
    kubectl(cluster, "delete", "tj", "first-run", "-n", "llm-team", "--wait=false")
    assert "deletionTimestamp" in get(cluster, "tj", "first-run", "-n", "llm-team")["metadata"]

    with typed(cluster, LETTING_GO) as script:
        said, _ = script.communicate(timeout=20)

    assert script.returncode == 0, said
    kubectl(cluster, "wait", "tj/first-run", "-n", "llm-team", "--for=delete", "--timeout=10s")

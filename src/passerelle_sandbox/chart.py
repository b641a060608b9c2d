"""The chart, installed by Helm in the sandbox's cluster, and the kubeconfig of the ServiceAccount that it makes.

There is no kubelet: the chart's Deployment never becomes available, and Helm isn't told to wait for it. The operator
runs on the host instead, as that ServiceAccount, with a token of the API server and the rights of the chart's roles.
"""

from __future__ import annotations

import json
import os
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox.control_plane import build, kubeconfig
from passerelle_sandbox.deploy import OPERATOR_NAMESPACE, REPOSITORY
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from passerelle_sandbox.sandbox import Sandbox

CHART = REPOSITORY / "charts" / "passerelle"
RELEASE = "passerelle"
SERVICE_ACCOUNT = "passerelle"
SUBJECT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{SERVICE_ACCOUNT}"
TOKEN_LIFESPAN = "12h"  # noqa: S105 -- a duration
HELM_SECONDS = 90


def helm(*words: str, sandbox: Sandbox | None = None) -> subprocess.CompletedProcess[str]:
    """What Helm says, as the cluster's administrator where there is a cluster; the caller looks at the exit code."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    if sandbox is not None:
        env["KUBECONFIG"] = str(sandbox.kubeconfig)
    return subprocess.run(
        [str(build.helm()), *words], capture_output=True, text=True, check=False, timeout=HELM_SECONDS, env=env
    )


def install_chart(sandbox: Sandbox, *words: str) -> Path:
    """Install or upgrade the chart, with more words for Helm, and return the ServiceAccount's kubeconfig."""
    done = helm(
        *("upgrade", "--install", RELEASE, str(CHART), "--namespace", OPERATOR_NAMESPACE, "--create-namespace"),
        *("--timeout", "60s", *words),
        sandbox=sandbox,
    )
    if done.returncode != 0:
        raise SandboxError(f"helm upgrade --install: {done.stderr.strip()}")
    _kubectl(sandbox, "wait", "--for=condition=Established", "--timeout=30s", "-f", str(REPOSITORY / "crds"))
    token = _kubectl(
        sandbox,
        *("create", "token", SERVICE_ACCOUNT, "--namespace", OPERATOR_NAMESPACE, f"--duration={TOKEN_LIFESPAN}"),
    )
    path = sandbox.directory / f"{SERVICE_ACCOUNT}.kubeconfig"
    return kubeconfig.write_for_token(path, like=sandbox.kubeconfig, user=SERVICE_ACCOUNT, token=token.strip())


def refusals(sandbox: Sandbox) -> list[str]:
    """What the API server has refused the ServiceAccount for want of a right, from its audit log."""
    if sandbox.control_plane is None:
        raise SandboxError(f"Sandbox {sandbox.name!r} was made without a control plane.")
    log = (sandbox.control_plane.logs / "audit.log").read_text(encoding="utf-8")
    told = (json.loads(line) for line in log.splitlines() if SUBJECT in line)
    return [
        f"{each['verb']} {each['requestURI']}"
        for each in told
        if each["user"]["username"] == SUBJECT
        and each.get("responseStatus", {}).get("code") == HTTPStatus.FORBIDDEN
        and each.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"  # not a namespace that ends
        and "impersonatedUser" not in each
    ]


def _kubectl(sandbox: Sandbox, *words: str) -> str:
    said = sandbox.kubectl_run(*words)
    if said.returncode != 0:
        raise SandboxError(f"kubectl {words[0]}: {said.stderr.strip()}")
    return said.stdout

"""What a platform engineer does in a fresh cluster: CRDs, a namespace, a Secret, a Site, and the operator itself.

The operator runs on the host as a process of the sandbox, against the sandbox's kube-apiserver; `down` ends it, too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passerelle_sandbox import loopback, ports, processes, running_operator, state
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.running_operator import Operator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passerelle_sandbox.sandbox import Sandbox
    from passerelle_sandbox.site.serve import Site

REPOSITORY = Path(__file__).resolve().parents[2]
OPERATOR_NAMESPACE = "passerelle-system"
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
USERS_LABEL = "passerelle.dev/sandbox-user"
"""Namespaces with this label may use the sandbox's Sites."""


def apply(sandbox: Sandbox, *objects: Mapping[str, Any]) -> None:
    """Run `kubectl apply`, loudly."""
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    done = sandbox.kubectl_run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))
    if done.returncode != 0:
        raise SandboxError(f"kubectl apply: {done.stderr.strip()}")


def install_crds(sandbox: Sandbox) -> None:
    """The CRDs as they are checked in, and served."""
    crds = str(REPOSITORY / "crds")
    for words in (
        ("apply", "--server-side", "-f", crds),
        ("wait", "--for=condition=Established", "--timeout=30s", "-f", crds),
    ):
        done = sandbox.kubectl_run(*words)
        if done.returncode != 0:
            raise SandboxError(f"kubectl {words[0]}: {done.stderr.strip()}")


def namespace(name: str) -> dict[str, Any]:
    """A namespace that may use the sandbox's Sites."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {USERS_LABEL: "true"}}}


def credentials(name: str, user: str, token: str) -> dict[str, Any]:
    """A Site's Secret, for slurmrestd."""
    return secret(name, {"username": user, "token": token})


def login_credentials(name: str, site: Site, validity: str | None = "+10h") -> dict[str, Any]:
    """A Site's Secret, for the driver ssh; `validity` is the certificate's, as ssh-keygen(1) says it."""
    return secret(name, site.ssh_secret(validity))


def secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    """A Secret in the operator's namespace."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": OPERATOR_NAMESPACE},
        "stringData": data,
    }


def site_manifest(name: str, site: Site, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 -- fields of a Site's spec
    """A Site that leads to a site of the sandbox, looked at every second."""
    return {
        "apiVersion": "passerelle.dev/v1alpha1",
        "kind": "Site",
        "metadata": {"name": name},
        "spec": {
            "profile": "sandbox",
            "gateway": {"driver": "slurmrestd", "url": site.url, "credentials": {"name": name}},
            "runRoot": site.run_root,
            "pollingPeriod": "1s",
            "progressPeriod": "5s",
            "callsPerHour": 1_000_000,  # it is our own machine
            "admission": [{"selector": {USERS_LABEL: "true"}, "accounts": [site.account], "qos": ["normal", "debug"]}],
            **spec,
        },
    }


def declare_site(sandbox: Sandbox, site: Site, *, name: str = "sandbox", lifespan: int = 36_000) -> None:
    """Everything that makes a site of the sandbox usable in its cluster."""
    apply(
        sandbox,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}},
        credentials(name, site.user, site.token(lifespan)),
        site_manifest(name, site),
    )


def declare_login_node(sandbox: Sandbox, site: Site, *, name: str) -> None:
    """The same site under another name, through its login node."""
    gateway = {"driver": "ssh", "url": site.ssh_url, "credentials": {"name": name}}
    apply(sandbox, login_credentials(name, site), site_manifest(name, site, gateway=gateway))


@dataclass(frozen=True)
class OperatorProcess(Operator):
    """An operator that this process started."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def wait_until_ready(self) -> None:
        """Until its health says ready; a dead operator is told with the end of its log."""
        deadline = time.monotonic() + READY_SECONDS
        while (verdict := self.readiness()) != "ok":
            if self.process.poll() is not None:
                raise SandboxError(f"The operator ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise SandboxError(f"The operator, after {READY_SECONDS:.0f} s: {verdict}:\n{self.tail()}")
            time.sleep(0.1)


def start_operator(
    sandbox: Sandbox, *, log: Path | None = None, kubeconfig: Path | None = None, before: Sequence[Path] = ()
) -> OperatorProcess:
    """Start the operator; files of `before` are loaded ahead of it, by kopf, in the same process."""
    log = log or sandbox.directory / running_operator.LOG
    port = ports.free(1)[0]
    found = state.read(sandbox.name)
    if found is None:
        raise SandboxError(f"Sandbox {sandbox.name!r} is gone.")
    env = {
        **os.environ,
        processes.SANDBOX: found.marker,
        "KUBECONFIG": str(kubeconfig or sandbox.kubeconfig),
        "PASSERELLE_NAMESPACE": OPERATOR_NAMESPACE,
        "PASSERELLE_HTTP_HOST": loopback.ADDRESS,
        "PASSERELLE_HTTP_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }
    main = REPOSITORY / "operator" / "main.py"
    argv = [sys.executable, str(main)]
    if before:
        argv = [sys.executable, "-m", "kopf", "run", "--standalone", "--all-namespaces", *map(str, before), str(main)]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True, cwd="/"
        )
    started = OperatorProcess(port, log, process)
    started.remember(sandbox.directory)
    return started

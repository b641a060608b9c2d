"""A cluster that was there before the sandbox: used, looked at, and never ended.

A copy of its kubeconfig lies in the sandbox's directory, with the current context alone and all keys in it. Whoever
wants a sandbox wants a toy: a cluster that isn't on this machine, or whose certificate isn't verified, has to be asked
for twice.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from pathlib import Path

TRUST = "--trust-cluster"
"""The option that asks a second time."""
TIMEOUT = 10.0
_FILE = "cluster.kubeconfig"


@dataclass(frozen=True)
class ExistingCluster:
    """Somebody's cluster, seen through its kubeconfig."""

    kubectl: Path
    kubeconfig: Path

    @property
    def url(self) -> str:
        return str(_cluster(json.loads(self.kubeconfig.read_text(encoding="utf-8")))["server"])

    def health(self) -> dict[str, str]:
        """The one component that can be asked: "ok" or what is wrong."""
        return {"kube-apiserver": self._ask("/readyz")}

    def version(self) -> str:
        """What the API server says that it is."""
        try:
            return str(json.loads(self._ask("/version"))["gitVersion"])
        except (ValueError, KeyError, TypeError):
            return "unknown"

    def _ask(self, path: str) -> str:
        done = _kubectl(self.kubectl, self.kubeconfig, "get", "--raw", path, f"--request-timeout={TIMEOUT / 2:.0f}s")
        return done.stdout.strip() if done.returncode == 0 else f"doesn't answer ({done.stderr.strip()[:200]})"


def adopt(directory: Path, kubectl: Path, kubeconfig: Path, *, trusted: bool) -> ExistingCluster:
    """Take a copy of the kubeconfig's current context, refuse what is no toy, and see that the cluster answers."""
    if not kubeconfig.is_file():
        raise SandboxError(f"There is no kubeconfig {kubeconfig}.")
    done = _kubectl(kubectl, kubeconfig, "config", "view", "--minify", "--flatten", "--raw", "--output=json")
    if done.returncode != 0:
        raise SandboxError(f"{kubeconfig} has no current context that kubectl can use: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    if not trusted and (doubt := doubts(found)):
        raise SandboxError(f"{kubeconfig} leads to a cluster {doubt}; {TRUST} uses it all the same.")
    copy = directory / _FILE
    copy.touch(mode=0o600)
    copy.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    cluster = load(directory, kubectl)
    with say.step(f"the cluster at {cluster.url}"):
        for component, verdict in cluster.health().items():
            if verdict != "ok":
                raise SandboxError(f"{component} of {kubeconfig}: {verdict}")
    return cluster


def load(directory: Path, kubectl: Path) -> ExistingCluster:
    """The cluster that a sandbox adopted."""
    return ExistingCluster(kubectl, directory / _FILE)


def doubts(kubeconfig: dict[str, Any]) -> str:
    """Why a cluster is no toy of this machine, in words that follow "a cluster"; empty where it is one. Pure."""
    cluster = _cluster(kubeconfig)
    server = str(cluster.get("server", ""))
    parts = urlsplit(server)
    if parts.scheme != "https":
        return f"without TLS ({server})"
    if cluster.get("insecure-skip-tls-verify"):
        return f"whose certificate isn't verified ({server})"
    if cluster.get("proxy-url") or not _on_loopback(parts.hostname or ""):
        return f"that isn't on this machine ({server})"
    return ""


def _cluster(kubeconfig: dict[str, Any]) -> dict[str, Any]:
    try:
        (found,) = kubeconfig["clusters"]
        cluster = found["cluster"]
    except (KeyError, TypeError, ValueError) as error:
        raise SandboxError("The kubeconfig's current context names no cluster.") from error
    return dict(cluster)


def _on_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _kubectl(kubectl: Path, kubeconfig: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(kubectl), f"--kubeconfig={kubeconfig}", *words]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 1, "", f"no answer within {TIMEOUT:.0f} s")

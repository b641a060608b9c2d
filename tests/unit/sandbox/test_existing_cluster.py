"""A cluster that was there before: which ones are taken without being asked for twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from passerelle_sandbox.control_plane import existing
from passerelle_sandbox.errors import SandboxError


def kubeconfig(server: str, **cluster: Any) -> dict[str, Any]:
    return {"clusters": [{"name": "it", "cluster": {"server": server, **cluster}}]}


@pytest.mark.parametrize("server", ["https://127.0.0.1:6443", "https://localhost:6443", "https://[::1]:6443"])
def test_a_verified_cluster_on_this_machine_is_a_toy(server: str) -> None:
    assert existing.doubts(kubeconfig(server)) == ""


@pytest.mark.parametrize(
    "server, cluster, says",
    [
        ("https://10.0.0.1:6443", {}, "isn't on this machine (https://10.0.0.1:6443)"),
        ("https://prod.example.com", {}, "isn't on this machine"),
        ("https://localhost.example.com", {}, "isn't on this machine"),
        ("https://127.0.0.1:6443", {"proxy-url": "http://gate.example"}, "isn't on this machine"),
        ("http://127.0.0.1:8080", {}, "without TLS"),
        ("https://127.0.0.1:6443", {"insecure-skip-tls-verify": True}, "isn't verified"),
    ],
)
def test_any_other_is_doubted_in_words(server: str, cluster: dict[str, Any], says: str) -> None:
    assert says in existing.doubts(kubeconfig(server, **cluster))


def kubectl(folder: Path, answer: dict[str, Any], health: str) -> Path:
    """A kubectl that knows one kubeconfig, and what the cluster says."""
    program = folder / "kubectl"
    program.write_text(
        f"#!/bin/sh\ncase \"$*\" in *view*) cat <<'END'\n{json.dumps(answer)}\nEND\n;; *) echo '{health}' ;; esac\n"
    )
    program.chmod(0o755)
    return program


def test_a_doubted_cluster_is_taken_only_when_asked_for_twice(tmp_path: Path) -> None:
    file = tmp_path / "theirs"
    file.touch()
    program = kubectl(tmp_path, kubeconfig("https://prod.example.com"), "ok")

    with pytest.raises(SandboxError, match=r"isn't on this machine .*; --trust-cluster uses it all the same"):
        existing.adopt(tmp_path, program, file, trusted=False)
    taken = existing.adopt(tmp_path, program, file, trusted=True)

    assert taken.url == "https://prod.example.com"
    assert taken.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert existing.load(tmp_path, program) == taken
    assert taken.health() == {"kube-apiserver": "ok"}


def test_a_cluster_that_is_ill_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "theirs"
    file.touch()
    program = kubectl(tmp_path, kubeconfig("https://127.0.0.1:1"), "[-]etcd failed")

    with pytest.raises(SandboxError, match="etcd failed"):
        existing.adopt(tmp_path, program, file, trusted=False)
    with pytest.raises(SandboxError, match="There is no kubeconfig"):
        existing.adopt(tmp_path, program, tmp_path / "elsewhere", trusted=False)

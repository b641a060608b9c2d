"""The chart's manifests, rendered by a real Helm, and objects of a real cluster."""

from __future__ import annotations

import json
from typing import Any

import yaml

from passerelle_sandbox import chart
from passerelle_sandbox.deploy import OPERATOR_NAMESPACE
from passerelle_sandbox.sandbox import Sandbox

Manifest = dict[str, Any]


def render(*values: str) -> list[Manifest]:
    """The manifests of the chart, with `--set` values; Helm must accept them."""
    words = [word for value in values for word in ("--set-json", value)]
    done = chart.helm("template", chart.RELEASE, str(chart.CHART), "--namespace", OPERATOR_NAMESPACE, *words)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def refused(*values: str) -> str:
    """Why Helm refuses these values."""
    words = [word for value in values for word in ("--set-json", value)]
    done = chart.helm("template", chart.RELEASE, str(chart.CHART), *words)
    assert done.returncode != 0
    return done.stderr


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """The only manifest of a kind."""
    (found,) = of_kind(manifests, kind)
    return found


def kubectl(there: Sandbox, *words: str, stdin: str | None = None) -> str:
    """What kubectl prints; it must succeed."""
    done = there.kubectl_run(*words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def get(there: Sandbox, *words: str) -> Any:
    return json.loads(kubectl(there, "get", *words, "--output=json"))

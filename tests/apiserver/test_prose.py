"""Every manifest that README and docs show is taken by a real kube-apiserver."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from apiserver.conftest import Api

pytestmark = pytest.mark.apiserver

REPOSITORY = Path(__file__).parents[2]
PROSE = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """Where each manifest stands, and the manifest; a block of YAML without apiVersion is none."""
    return [
        (f"{path.name}:{manifest['kind']}/{manifest['metadata']['name']}", manifest)
        for path in PROSE
        for block in re.findall(r"^```yaml\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for manifest in yaml.safe_load_all(block)
        if "apiVersion" in manifest
    ]


def test_there_are_manifests() -> None:
    assert len(manifests()) >= 4


@pytest.mark.parametrize("where,manifest", manifests(), ids=[where for where, _ in manifests()])
def test_a_manifest_is_taken(api: Api, where: str, manifest: dict[str, Any]) -> None:
    namespace = manifest["metadata"].get("namespace", "default")
    api.run("create", "namespace", namespace)  # it may be there already

    done = api.run("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))

    assert done.returncode == 0, f"{where}: {done.stderr}"

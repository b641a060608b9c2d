"""What the sandbox's backup of a cluster is worth: after a restore all is as it was, resource versions too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passerelle_sandbox.control_plane import backup

if TYPE_CHECKING:
    from apiserver.conftest import Api

pytestmark = pytest.mark.apiserver


def config_map(name: str, said: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"said": said}}


def held(api: Api) -> dict[str, tuple[str, str]]:
    """What each of ours says, and its resource version."""
    found = json.loads(api.kubectl("get", "configmaps", "-o", "json"))["items"]
    return {
        each["metadata"]["name"]: (each["data"]["said"], each["metadata"]["resourceVersion"])
        for each in found
        if "said" in each.get("data", {})
    }


def test_a_restored_cluster_is_as_it_was(api: Api, tmp_path: Path) -> None:
    plane = api.sandbox.control_plane
    assert plane is not None
    api.accepts("apply", config_map("kept", "before"))
    api.accepts("apply", config_map("deleted-since", "before"))
    before = held(api)
    backup.take(plane, api.sandbox.name, tmp_path / "backup")
    api.accepts("apply", config_map("kept", "after"))
    api.accepts("apply", config_map("made-since", "after"))
    api.kubectl("delete", "configmap", "deleted-since")
    assert set(held(api)) == {"kept", "made-since"}

    backup.restore(plane, api.sandbox.name, tmp_path / "backup")

    assert set(plane.health().values()) == {"ok"}
    assert held(api) == before
    api.accepts("apply", config_map("kept", "at last"))
    assert held(api)["kept"][0] == "at last"

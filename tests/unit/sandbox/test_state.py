from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from passerelle_sandbox import state
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.state import State, Wanted

GOOD = Wanted("demo", ("sid", "trixie"), nodes=3, gpus=4, control_plane=True)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PASSERELLE_CACHE", str(tmp_path))
    return tmp_path


def test_a_state_is_read_as_it_was_written() -> None:
    state.directory("demo").mkdir(parents=True)
    written = State(GOOD, marker="demo-0123abcd", complete=True, kubectl="/bin/kubectl")

    written.write()

    assert state.read("demo") == written
    assert state.names() == ["demo"]
    assert [each.name for each in state.directory("demo").iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"wanted": {}}', '{"wanted": {"releases": ["x"]}, "a": 1}'])
def test_a_state_that_cannot_be_told_is_none(content: str | None) -> None:
    state.directory("demo").mkdir(parents=True)
    if content is not None:
        (state.directory("demo") / "state.json").write_text(content)

    assert state.read("demo") is None


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "..", "a_b", "a" * 33, "a\n", "é"])
def test_a_name_that_could_not_be_a_directory_and_a_mark_is_refused(name: str) -> None:
    with pytest.raises(SandboxError, match="can't name a sandbox"):
        state.check_name(name)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"releases": ("jessie",)}, "'jessie' is no release"),
        ({"releases": ("sid", "sid")}, "at most one site"),
        ({"releases": (), "control_plane": False}, "nothing"),
        ({"kubeconfig": "/theirs"}, "not both"),
        ({"nodes": 0}, "0 nodes: a site has 1 to 64"),
        ({"nodes": 65}, "65 nodes"),
        ({"gpus": 17}, "17 GPUs a node"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(change: Mapping[str, Any], says: str) -> None:
    with pytest.raises(SandboxError, match=says):
        replace(GOOD, **change)


def test_a_cluster_that_is_merely_used_has_no_processes() -> None:
    used = replace(GOOD, releases=(), control_plane=False, kubeconfig="/theirs")

    assert not used.has_processes
    assert GOOD.has_processes

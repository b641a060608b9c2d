"""Which Go builds, and what of this machine it gets to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from passerelle_sandbox import cache
from passerelle_sandbox.control_plane import toolchain
from passerelle_sandbox.control_plane.toolchain import Go
from passerelle_sandbox.errors import SandboxError


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.ROOT, str(tmp_path / "cache"))
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "go.mod").write_text("module m\n\ngo 1.26.0\n")
    return folder


def install(folder: Path, says: str) -> Path:
    """A go that says a version."""
    folder.mkdir()
    go = folder / "go"
    go.write_text(f"#!/bin/sh\necho '{says}'\n")
    go.chmod(0o755)
    return go


@pytest.mark.parametrize(
    "says, environment",
    [("go version go1.26.8 linux/amd64", {}), ("go version go1.21.0 linux/amd64", {"GOTOOLCHAIN": "auto"})],
)
def test_a_go_on_path_builds_and_fetches_a_newer_one_where_it_must(
    says: str, environment: dict[str, str], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = install(tmp_path / "bin", says)
    monkeypatch.setenv("PATH", str(go.parent), prepend=":")

    found = toolchain.find(source)

    assert found == Go((str(go),), environment)
    assert found.command("build", "-o", "x", paths=[source]) == [str(go), "build", "-o", "x"]


@pytest.mark.parametrize("says", ["go version go1.20.14 linux/amd64", "no such thing", None])
def test_without_a_go_that_is_new_enough_debians_builds(
    says: str | None, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if says is not None:
        go = install(tmp_path / "bin", says)
        monkeypatch.setenv("PATH", str(go.parent), prepend=":")
    else:
        monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    inside = install(tmp_path / "debian", "go version go1.26.1 linux/amd64")
    monkeypatch.setattr(toolchain, "_of_debian", lambda: Go((str(inside),), {"GOROOT": ""}))

    assert toolchain.find(source).words == (str(inside),)


def test_where_debian_has_none_either_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SandboxError("Debian sid doesn't have golang-go now.")

    monkeypatch.setattr(toolchain, "debian", fail)

    with pytest.raises(SandboxError, match=r"golang-go now\. .*install Go >= 1\.21, or point KUBEBUILDER_ASSETS at"):
        toolchain._install(tmp_path)


def test_a_go_of_a_root_file_system_sees_what_is_lent_and_what_a_command_names() -> None:
    go = Go(("enter",), lent=("/etc/hosts",))

    assert go.command("version", paths=[Path("/source"), Path("/place")]) == [
        *("enter", "/etc/hosts", "/source", "/place"),
        *("--", "go", "version"),
    ]


def test_what_gos_variables_name_is_lent_where_it_exists(tmp_path: Path) -> None:
    for file in ("env", "own.pem", ".netrc"):
        (tmp_path / file).touch()

    lent = toolchain.lent_paths(
        {
            "HOME": str(tmp_path),
            "GOENV": str(tmp_path / "env"),
            "SSL_CERT_FILE": str(tmp_path / "own.pem"),
            "SSL_CERT_DIR": f"{tmp_path}:/nonexistent",
        }
    )

    assert [path for path in lent if path.startswith(str(tmp_path))] == [
        str(tmp_path),
        *(str(tmp_path / file) for file in ("own.pem", "env", ".netrc")),
    ]
    assert "/etc/hosts" in lent
    assert "/nonexistent" not in lent


def test_a_module_without_a_go_line_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module m\n")

    with pytest.raises(SandboxError, match="no go line"):
        toolchain.go_directive(tmp_path / "go.mod")

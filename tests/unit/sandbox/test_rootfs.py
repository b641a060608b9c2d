"""Sid moves under one's feet: what happens when it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from passerelle_sandbox import cache
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import api_versions, rootfs
from passerelle_sandbox.site.apt_says import refused_packages
from passerelle_sandbox.site.rootfs import PackagesRefused

Debian = Callable[[dict[str, str], int, set[str]], list[tuple[str, ...]]]


def test_apts_refusals_name_the_packages() -> None:
    said = """\
Reading package lists...
E: Unable to locate package slurm-wlm-jwt-plugin
Package apptainer is not available, but is referred to by another package.
E: Package 'apptainer' has no installation candidate
The following packages have unmet dependencies:
 slurmrestd : Depends: libhttp-parser2.9 but it is not installable
 slurmd : PreDepends: init-system-helpers (>= 9) but 1.66 is to be installed
E: Unable to correct problems, you have held broken packages.
"""
    assert refused_packages(said) == ["apptainer", "slurm-wlm-jwt-plugin", "slurmd", "slurmrestd"]
    assert refused_packages("E: Failed to fetch http://mirror.example  Connection timed out\n") == []


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Debian:
    """Makes a Debian of some packages, which serves some API version and refuses some names; returns what was asked."""
    monkeypatch.setenv(cache.ROOT, str(tmp_path))
    monkeypatch.delenv("CI", raising=False)

    def made_of(packages: dict[str, str], api: int, refused: set[str]) -> list[tuple[str, ...]]:
        asked: list[tuple[str, ...]] = []

        def fill(title: str, target: Path, suite: str, names: tuple[str, ...], provision: str) -> None:
            asked.append(names)
            if missing := sorted(refused & set(names)):
                raise PackagesRefused(suite, missing, tmp_path / "log")
            stanzas = [f"Package: {name}\nVersion: {version}-1" for name, version in packages.items() if name in names]
            (target / "var/lib/dpkg").mkdir(parents=True)
            (target / "var/lib/dpkg/status").write_text("\n\n".join(stanzas) + "\n")
            (target / "usr/lib/any/slurm-wlm").mkdir(parents=True)
            (target / f"usr/lib/any/slurm-wlm/data_parser_v0_0_{api}.so").touch()

        monkeypatch.setattr(rootfs, "debian", fill)
        return asked

    return made_of


def test_a_rootfs_is_named_by_its_packages_and_built_once(debian: Debian) -> None:
    asked = debian({"slurmctld": "26.05.5", "apptainer": "1.4.5"}, 45, set())

    root = rootfs.rootfs("sid")

    assert root.name == "slurm26.05.5-apptainer1.4.5"
    assert rootfs.rootfs("sid") == root
    assert len(asked) == 1
    assert rootfs.versions(root) == {"slurmctld": "26.05.5", "apptainer": "1.4.5"}


def test_a_package_that_has_gone_is_named_with_the_way_round(debian: Debian) -> None:
    debian({"slurmctld": "26.05.5"}, 45, {"slurmrestd"})

    with pytest.raises(SandboxError, match=r"doesn't have slurmrestd now.*rootfs that was kept.*--slurm trixie"):
        rootfs.rootfs("sid")


def test_a_site_without_apptainer_is_better_than_none(debian: Debian, capsys: pytest.CaptureFixture[str]) -> None:
    debian({"slurmctld": "26.05.5"}, 45, {"apptainer"})

    root = rootfs.rootfs("sid")

    assert root.name == "slurm26.05.5"
    assert not rootfs.has_apptainer(root)
    assert "no Apptainer: runtime none" in capsys.readouterr().out


def test_but_never_under_ci(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    debian({"slurmctld": "26.05.5"}, 45, {"apptainer"})
    monkeypatch.setenv("CI", "true")

    with pytest.raises(SandboxError, match="doesn't have apptainer now"):
        rootfs.rootfs("sid")


@pytest.mark.parametrize(
    "slurm, api, says",
    [
        ("25.11.2", 44, r"now has Slurm 25\.11\.2, where 26\.05 or newer is known"),
        ("29.05.0", 51, r"serves v0\.0\.51, and Passerelle speaks .*: none in common"),
    ],
)
def test_a_slurm_that_is_too_old_or_too_new_is_one_sentence_with_the_way_round(
    slurm: str, api: int, says: str, debian: Debian
) -> None:
    debian({"slurmctld": slurm, "apptainer": "1.4.5"}, api, set())

    with pytest.raises(SandboxError, match=rf"{says}.*--slurm trixie"):
        rootfs.rootfs("sid")


def test_a_newer_api_than_any_known_one_is_said_and_the_newest_known_one_spoken(
    debian: Debian, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    debian({"slurmctld": "26.11.0", "apptainer": "1.4.5"}, 45, set())
    monkeypatch.setattr(api_versions, "served", lambda _: [44, 45, 46])

    rootfs.rootfs("sid")

    assert "serves v0.0.46, newer than anything Passerelle knows: v0.0.45 is spoken." in capsys.readouterr().out

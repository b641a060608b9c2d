"""What is spoken with a Slurm that serves what nobody here has seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import api_versions

KNOWN = (45, 44, 43, 42)


@pytest.mark.parametrize(
    "served, says",
    [
        ([42, 43], "Slurm 26.05.5 serves v0.0.42 to v0.0.43: v0.0.43 is spoken."),
        ([45], "Slurm 26.05.5 serves v0.0.45: v0.0.45 is spoken."),
        ([44, 45, 46], "Slurm 26.05.5 serves v0.0.46, newer than anything Passerelle knows: v0.0.45 is spoken."),
    ],
)
def test_the_newest_version_that_both_know_is_spoken(served: list[int], says: str) -> None:
    assert api_versions.spoken("26.05.5", served, KNOWN) == says


@pytest.mark.parametrize("served, says", [([46, 47], "none in common"), ([], "no plugin")])
def test_no_version_in_common_is_one_sentence(served: list[int], says: str) -> None:
    with pytest.raises(SandboxError, match=rf"^Slurm 28\.05 .*{says}"):
        api_versions.spoken("28.05", served, KNOWN)


def test_versions_are_read_from_slurms_plugins(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/x86_64-linux-gnu/slurm-wlm"
    folder.mkdir(parents=True)
    for plugin in ("data_parser_v0_0_45.so", "data_parser_v0_0_44.so", "openapi_v0_0_38.so", "openapi_slurmctld.so"):
        (folder / plugin).touch()

    assert api_versions.served(tmp_path) == [38, 44, 45]

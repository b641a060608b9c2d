"""Every importer's fixture is brought to a machine, and what an import loses on the way there is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from passerelle.imports import Imported
from passerelle_sandbox.site.serve import Site
from passerelle_sandbox.twins.model import load
from twins.door import Door
from twins.imported import FIXTURES, SOURCES, Source, brought, imported
from twins.verdicts import import_complaints

MEGATRON = "sbatch-megatron.sh"


def source(file: str) -> Source:
    (only,) = [each for each in SOURCES if each.file == file]
    return only


def account(of: Source) -> str:
    return load(of.machine).accounts[0].name


def changed(found: Imported, **spec: Any) -> Imported:
    """As a broken importer would have it; None takes a field away."""
    new = found.manifest["spec"] | spec
    return dataclasses.replace(
        found, manifest=found.manifest | {"spec": {key: value for key, value in new.items() if value is not None}}
    )


def asked(site: Site, of: Source, found: Imported) -> list[str]:
    """As `make twins` asks."""
    default = load(of.machine).accounts[0]
    door = Door(site)
    try:
        return list(import_complaints(of, found, default.name, default.qos[0] if default.default_qos else None, door))
    finally:
        door.close()


def test_every_fixture_is_brought_to_one_machine() -> None:
    assert sorted(each.file for each in SOURCES) == sorted(path.name for path in FIXTURES.iterdir())


@pytest.mark.parametrize("file", [each.file for each in SOURCES])
def test_what_preflight_refuses_was_told_by_a_note_and_the_plan_is_what_the_source_asks_for(file: str) -> None:
    each = source(file)

    assert brought(each, imported(each), account(each)).complaints == ()


@pytest.mark.parametrize(
    "file, lost, says",
    [
        (MEGATRON, {"nodes": 1}, "nodes: the source asks for (16, 16), the plan has (1, 1)"),
        (MEGATRON, {"gpusPerNode": 1}, "GPUs: the source asks for 64, the plan has 16"),
        (MEGATRON, {"timeLimit": "1h"}, "minutes: the source asks for 1440, the plan has 60"),
        ("pytorchjob-torchrun.yaml", {"gpus": 8}, "GPUs: the source asks for 32, the plan has 8"),
        ("sbatch-srun.sh", {"timeLimit": "1h"}, "preflight: no note told of TimeLimitTooLong"),
        ("pytorchjob-shell.yaml", {"command": ["python", "t.py"]}, "LauncherNested is expected, and isn't found"),
    ],
)
def test_what_an_import_loses_is_told_by_its_source(file: str, lost: Mapping[str, Any], says: str) -> None:
    each = source(file)
    complaints = brought(each, changed(imported(each), **lost), account(each)).complaints

    assert [told for told in complaints if says in told], complaints


def test_an_error_whose_note_is_missing_is_told() -> None:
    each = source("pytorchjob-shell.yaml")
    silent = dataclasses.replace(imported(each), notes=())

    assert [told.partition(" at ")[0] for told in brought(each, silent, account(each)).complaints] == [
        "preflight: no note told of LauncherNested"
    ]


def test_slurm_reads_a_script_as_its_import_and_not_as_one_that_lost_nodes(twin: Callable[[str], Site]) -> None:
    each = source(MEGATRON)
    site = twin(each.machine)

    assert asked(site, each, imported(each)) == []

    mistaken = dataclasses.replace(each, nodes=15, gpus=60)  # a table that errs with the importer
    assert asked(site, mistaken, changed(imported(each), nodes=15)) == [
        "the script itself: nodes: planned (15, 15), Slurm has (16, 16)",
        "the script itself: tasks: planned 15, Slurm has 16",
        "the script itself: GPUs: planned 60, Slurm has 64",
    ]

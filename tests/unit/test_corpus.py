"""The corpus of mistakes itself: it is as varied as it claims, and each manifest is what a user could send."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, get_args

import pytest

from mistakes.corpus import HERE, Case, Expected, load, merged, mistakes, odd
from passerelle import profiles
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

MISTAKES = mistakes()
ODD = odd()
ALL = [*MISTAKES, *ODD]
FINDINGS = [(case, each) for case in MISTAKES for each in case.expect]
LAUNCHERS = {"srun", "torchrun", "accelerate", "deepspeed", "jax", "mpi", "script"}
FIELDS = {field.alias or name for name, field in TrainingJobSpec.model_fields.items()} | {"data"}
SITE_FIELDS = {field.alias or name for name, field in SiteSpec.model_fields.items()}
BY_CASE = {
    "AccountSuffix",
    "ContainerNested",
    "ImageVendor",
    "LauncherNested",
    "PathNotOnComputeNodes",
    "RegistryUnreachable",
    "SecretInEnv",
    "ShellSyntax",
}
"""As bad as what is known of the site, or of the value: an error only where failure is certain."""

each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
each_finding = pytest.mark.parametrize(
    "case,expected", FINDINGS, ids=[f"{case.name}-{expected.id}" for case, expected in FINDINGS]
)


def known_launcher(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec, with srun in place of a launcher that the model has not got yet."""
    launcher = spec.get("launcher", "srun")
    assert launcher in LAUNCHERS
    there = get_args(TrainingJobSpec.model_fields["launcher"].annotation)
    return spec if launcher in there else spec | {"launcher": "srun"}


def test_the_corpus_is_large_and_varied() -> None:
    counted = Counter(expected.id for _, expected in FINDINGS)

    assert len(MISTAKES) >= 66
    assert len(ODD) >= 24
    assert len(counted) >= 34
    assert sum(len(case.expect) == 2 for case in MISTAKES) >= 16
    assert [found for found in counted.items() if found[1] > 3] == []


def test_every_machine_is_there() -> None:
    counted = Counter(case.site.profile for case in ALL)

    assert {
        name: counted[name] for name in profiles.names() if not name.startswith("sandbox") and counted[name] < 3
    } == {}
    assert counted.keys() <= set(profiles.names())


@pytest.mark.parametrize("cases", [MISTAKES, ODD], ids=["mistakes", "odd"])
def test_files_are_numbered_without_a_gap(cases: list[Case]) -> None:
    assert [case.number for case in cases] == [*range(1, len(cases) + 1)]


def test_a_mistake_deserves_something_and_an_odd_manifest_nothing() -> None:
    assert [case.name for case in MISTAKES if len(case.expect) not in {1, 2}] == []
    assert [case.name for case in ODD if case.expect] == []


def test_no_two_files_are_the_same_but_for_their_words() -> None:
    told = [repr((case.site, sorted(case.spec.items(), key=str))) for case in ALL]

    assert len(set(told)) == len(told)


@each_case
def test_the_manifest_is_one_that_the_api_server_could_see(case: Case) -> None:
    TrainingJobSpec.model_validate(known_launcher(case.spec))
    assert case.spec.keys() <= FIELDS
    assert case.manifest["metadata"].keys() == {"name"}


@each_case
def test_the_site_is_one_that_an_administrator_could_write(case: Case) -> None:
    site = case.site.spec()

    facts = profiles.load(site.profile)
    assert site.partition is None or facts.partition(site.partition) is not None
    assert case.spec.get("account", "").isascii()


def test_a_machine_has_one_name() -> None:
    names = defaultdict(set)
    for case in ALL:
        names[case.spec["site"]].add(case.site.profile)

    assert {len(found) for found in names.values()} == {1}


def test_an_id_is_as_bad_everywhere() -> None:
    severities = defaultdict(set)
    for _, expected in FINDINGS:
        severities[expected.id].add(expected.severity)

    assert {found for found, said in severities.items() if len(said) > 1} <= BY_CASE


@each_case
def test_a_finding_is_expected_once(case: Case) -> None:
    places = [(expected.id, expected.field) for expected in case.expect]

    assert len(set(places)) == len(places)


@each_finding
def test_the_field_is_one_that_a_person_can_write(case: Case, expected: Expected) -> None:
    owner, name, index = found(expected.field)

    assert name in (FIELDS if owner == "spec" else SITE_FIELDS)
    if owner == "spec" and index is not None:
        assert index < len(case.spec[name])


@each_finding
def test_what_is_fixed_is_another_valid_spec(case: Case, expected: Expected) -> None:
    if expected.fixed is None:
        return
    fixed = merged(case.spec, expected.fixed)

    TrainingJobSpec.model_validate(known_launcher(fixed))
    assert fixed != case.spec
    assert fixed.keys() <= FIELDS
    assert found(expected.field)[1] in expected.fixed
    assert "site" not in expected.fixed


def found(field: str) -> tuple[str, str, int | None]:
    """Whose field it is, its first name, and the index after that."""
    told = re.match(r"(?P<owner>spec|site\.spec)\.(?P<name>\w+)(\[(?P<index>[0-9]+)\])?", field)
    assert told
    return told["owner"], told["name"], None if told["index"] is None else int(told["index"])


@pytest.mark.parametrize(
    "value,patch,expected",
    [
        ({"a": 1}, {"a": None}, {}),
        ({"a": 1}, {"b": None}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [2]}, {"a": [2]}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": None}}, {"a": {"b": 3}}),
        ({"a": 1}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({}, {}, {}),
    ],
)
def test_a_merge_patch_is_applied_as_the_rfc_says(
    value: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = repr(value)

    assert merged(value, patch) == expected
    assert repr(value) == before


@pytest.mark.parametrize(
    "old,new",
    [
        ("severity: warning", "severity: fatal"),
        ("field: spec.image", "field: image"),
        ("id: ImageVendor", "id: image-vendor"),
        ("runRoot:", "runroot:"),
        ("kind: TrainingJob", "kind: Job"),
        ("---\n", ""),
    ],
)
def test_a_slip_in_a_file_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = (HERE / "02-rocm-image-on-nvidia.yaml").read_text(encoding="utf-8")
    assert old in text
    slipped = tmp_path / "01-slipped.yaml"
    slipped.write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(ValueError, match=r"."):
        load(slipped)

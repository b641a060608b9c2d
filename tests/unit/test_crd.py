"""The CRDs are fresh, structural, bounded and documented. What the API server makes of them: tests/apiserver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import samples
from passerelle.crd import KINDS, SITE, TRAINING_JOB, Kind, definition, file_name, render, schema, write
from passerelle.v1alpha1.meta import DURATION_HELP, seconds
from passerelle.v1alpha1.site import (
    CERTIFICATE_OF_ARC,
    DOOR_OF_ANOTHER,
    ENVIRONMENT_OF_ANOTHER,
    JUMP_OF_ANOTHER,
    TLS_OF_SSH,
    URL_INSECURE,
    URL_OF_ANOTHER,
    URL_OF_SSH,
    URL_WITH_QUERY,
    URL_WITH_USER,
    URL_WITH_VERSION,
    GatewaySpec,
    SiteSpec,
    SiteStatus,
)
from passerelle.v1alpha1.trainingjob import MUTABLE, RECORD, TrainingJobSpec
from passerelle.v1alpha1.trainingjob_status import Progress

CRDS = Path(__file__).parents[2] / "crds"
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def root(kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of a schema with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from nodes(schema[key], path + mark)


@by_kind
def test_what_is_checked_in_is_what_the_models_say(kind: Kind) -> None:
    assert (CRDS / file_name(kind)).read_text(encoding="utf-8") == render(kind), "run `make generate`"


def test_nothing_else_is_checked_in() -> None:
    assert {path.name for path in CRDS.iterdir()} == {file_name(kind) for kind in KINDS}


def test_writing_makes_the_same_files_anywhere(tmp_path: Path) -> None:
    write(tmp_path / "new")

    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {
        path.name: path.read_bytes() for path in CRDS.iterdir()
    }


@by_kind
def test_the_schema_is_structural(kind: Kind) -> None:
    for path, node in nodes(root(kind)):
        assert node.get("type") in {"object", "array", "string", "integer", "boolean"}, f"{path}: no floats, no unions"
        assert not node.keys() & {"$ref", "anyOf", "oneOf", "title", "const", "default", "nullable", "readOnly"}, path
        assert "x-kubernetes-preserve-unknown-fields" not in node, path


@by_kind
def test_every_string_list_and_map_is_bounded(kind: Kind) -> None:
    for path, node in nodes(root(kind)):
        if node["type"] == "string":
            assert "maxLength" in node or "enum" in node, path
        if node["type"] == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


@by_kind
def test_a_list_is_atomic_or_a_map_by_required_keys(kind: Kind) -> None:
    for path, node in nodes(root(kind)):
        if node["type"] != "array":
            continue
        if node["x-kubernetes-list-type"] == "map":
            assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), path
        else:
            assert node["x-kubernetes-list-type"] == "atomic", path


def test_lists_of_named_things_are_maps() -> None:
    keys = {
        path: node["x-kubernetes-list-map-keys"]
        for kind in KINDS
        for path, node in nodes(root(kind), kind.name)
        if node.get("x-kubernetes-list-type") == "map"
    }

    assert keys == {
        "TrainingJob.spec.imagePullSecrets": ["name"],
        "TrainingJob.spec.env": ["name"],
        "TrainingJob.spec.data": ["name"],
        "TrainingJob.spec.outputs": ["name"],
        "TrainingJob.status.transfers": ["name", "direction"],
        "TrainingJob.status.findings": ["id", "field"],
        "TrainingJob.status.conditions": ["type"],
        "TrainingJob.status.attempts": ["number"],
        "Site.status.conditions": ["type"],
    }


@by_kind
def test_a_description_is_a_sentence_that_starts_with_the_fields_name(kind: Kind) -> None:
    for path, node in nodes(root(kind)):
        name = path.rpartition(".")[2]
        if not name or name.endswith(("[]", "{}")):
            continue
        assert node["description"].startswith(f"{name} "), path
        assert node["description"].endswith("."), path


def test_every_field_of_spec_but_the_mutable_ones_is_frozen_by_one_rule_at_spec_that_names_it() -> None:
    spec = root(TRAINING_JOB)["properties"]["spec"]
    frozen = [name for name in spec["properties"] if name not in MUTABLE]

    (rule,) = [rule for rule in spec["x-kubernetes-validations"] if rule["message"] == RECORD]

    assert re.findall(r"self\.(\w+) == oldSelf\.(\w+)", rule["rule"]) == [(name, name) for name in frozen]
    assert re.findall(r"\? '' : ' (\w+)'", rule["messageExpression"]) == frozen
    assert set(MUTABLE) <= spec["properties"].keys()


def test_of_all_rules_of_a_trainingjob_one_looks_back() -> None:
    """The API server evaluates such a one at every write of a status, too."""
    every = [rule for _, node in nodes(root(TRAINING_JOB)) for rule in node.get("x-kubernetes-validations", [])]

    assert sum("oldSelf" in rule["rule"] for rule in every) == 1


def test_a_site_may_change() -> None:
    assert "x-kubernetes-validations" not in root(SITE)["properties"]["spec"]


@by_kind
def test_spec_is_required_and_status_is_a_subresource(kind: Kind) -> None:
    assert root(kind)["required"] == ["spec"]
    assert definition(kind)["spec"]["versions"][0]["subresources"] == {"status": {}}


@by_kind
@pytest.mark.parametrize("part", ["spec", "status"])
def test_a_model_reads_and_writes_what_the_schema_says(kind: Kind, part: str) -> None:
    model = getattr(kind, part)
    full = schema(model)
    for told in samples.sites(full) if model is SiteSpec else [samples.sample(full, which) for which in (0, 1)]:
        again = model.model_validate(told).model_dump(mode="json", by_alias=True, exclude_unset=part == "spec")

        if part == "status" and kind is TRAINING_JOB:
            again["progress"]["summary"] = told["progress"]["summary"]  # derived, whatever was read
        assert again == told


def test_what_a_newer_crd_knows_is_no_error() -> None:
    told = samples.sample(schema(TrainingJobSpec)) | {"ofTheFuture": 1}

    assert TrainingJobSpec.model_validate(told) == TrainingJobSpec.model_validate(samples.take(told, ("ofTheFuture",)))


@pytest.mark.parametrize(
    "text,expected", [("12h", 43_200), ("1h30m", 5400), ("90s", 90), ("1h1m1s", 3661), ("1h1s", 3601)]
)
def test_a_duration_has_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["1d", "1-12:00:00", "12", "", "1h\n", "1 h", "0s", "0h0m", "5m5m", "30s1m"])
def test_what_is_no_duration_is_answered_with_what_to_write(text: str) -> None:
    spec = samples.put(samples.sample(schema(TrainingJobSpec)), ("timeLimit",), text)

    with pytest.raises(ValidationError) as refused:
        TrainingJobSpec.model_validate(spec)

    assert DURATION_HELP in str(refused.value) or "at least one second" in str(refused.value)


@pytest.mark.parametrize(
    "url,answer",
    [
        ("http://a.example", URL_INSECURE),
        ("http://127.0.0.1@a.example", URL_INSECURE),
        ("ftp://a.example", URL_INSECURE),
        ("https://", URL_INSECURE),
        ("https://me:hush@a.example", URL_WITH_USER),
        ("https://a b", URL_WITH_QUERY),
        ("https://a.example?b", URL_WITH_QUERY),
        ("https://a.example/slurm/v0.0.40", URL_WITH_VERSION),
        ("https://a.example/x/slurmdb/v0.0.40/", URL_WITH_VERSION),
    ],
)
def test_a_url_that_can_t_be_is_answered_with_what_to_write(url: str, answer: str) -> None:
    spec = samples.put(samples.sample(schema(SiteSpec)), ("gateway", "url"), url)

    with pytest.raises(ValidationError) as refused:
        SiteSpec.model_validate(spec)

    assert [error["msg"] for error in refused.value.errors()] == [f"Value error, {answer}"]


@pytest.mark.parametrize(
    "gateway,answer",
    [
        ({"driver": "ssh", "url": "ssh://login.example/home"}, URL_OF_SSH),
        ({"driver": "ssh", "url": "https://login.example"}, URL_OF_SSH),
        ({"driver": "ssh", "url": "ssh://login.example", "tls": {"caSecret": {"name": "a"}}}, TLS_OF_SSH),
        ({"driver": "slurmrestd", "url": "ssh://login.example"}, URL_OF_ANOTHER),
        ({"driver": "slurmrestd", "url": "https://a.example", "jump": "ssh://jump.example"}, JUMP_OF_ANOTHER),
        ({"driver": "unicore", "url": "https://a.example", "runtimeEnvironment": "X"}, ENVIRONMENT_OF_ANOTHER),
        ({"driver": "unicore", "url": "https://a.example", "doorPartition": "cpu"}, DOOR_OF_ANOTHER),
        ({"driver": "arc", "url": "https://a.example", "tls": {"clientSecret": {"name": "a"}}}, CERTIFICATE_OF_ARC),
    ],
)
def test_what_belongs_to_another_driver_is_answered_with_what_to_write(gateway: dict[str, Any], answer: str) -> None:
    for spec in samples.sites(schema(SiteSpec)):
        SiteSpec.model_validate(spec)
    with pytest.raises(ValidationError) as refused:
        GatewaySpec.model_validate(gateway | {"credentials": {"name": "a"}})

    assert [error["msg"] for error in refused.value.errors()] == [f"Value error, {answer}"]
    rules = samples.at(schema(SiteSpec), ("gateway",))["x-kubernetes-validations"]
    assert answer in {rule["message"] for rule in rules}


def test_model_and_api_server_refuse_alike() -> None:
    """Whatever carries a rule in a schema is checked in the model, with the same words."""
    for kind in KINDS:
        told = samples.sample(schema(kind.spec))
        for path in samples.standing(schema(kind.spec)):
            child = samples.at(schema(kind.spec), path)
            if child["type"] != "string" or "x-kubernetes-validations" not in child:
                continue
            assert "pattern" not in child, f"{path}: the API server would answer with the regular expression first"
            with pytest.raises(ValidationError) as refused:
                kind.spec.model_validate(samples.put(told, path, " \n"))
            assert child["x-kubernetes-validations"][0]["message"] in str(refused.value)


def test_what_is_not_known_of_a_site_is_left_out() -> None:
    assert SiteStatus().model_dump(by_alias=True, exclude_none=True) == {
        "observedGeneration": 0,
        "conditions": [],
        "jobs": 0,
    }
    assert SiteStatus(cluster="c").model_dump(by_alias=True)["cluster"] == "c"


@pytest.mark.parametrize(
    "progress,expected",
    [
        (Progress(), ""),
        (Progress(step=5), "step 5"),
        (Progress(step=5, total_steps=20), "5/20"),
        (Progress(step=5, total_steps=20, percentage=25), "25%"),
    ],
)
def test_progress_sums_itself_up(progress: Progress, expected: str) -> None:
    assert progress.model_dump(by_alias=True)["summary"] == expected

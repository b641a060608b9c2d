"""What a real kube-apiserver takes, refuses and shows of a TrainingJob."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

import samples
from passerelle.bounds import STATUS_LIMIT, fit, size
from passerelle.crd import TRAINING_JOB, schema
from passerelle.v1alpha1.meta import (
    ABSOLUTE_PATH_HELP,
    DNS_LABEL_HELP,
    DNS_SUBDOMAIN_HELP,
    DURATION_HELP,
    DURATION_ZERO,
    SLURM_WORD_HELP,
)
from passerelle.v1alpha1.sources import KEY_HELP, VARIABLE_HELP
from passerelle.v1alpha1.trainingjob import (
    MEMORY_HELP,
    MUTABLE,
    RECORD,
    TrainingJobSpec,
)
from passerelle.v1alpha1.trainingjob_status import TrainingJobStatus

if TYPE_CHECKING:
    from apiserver.conftest import Api

pytestmark = pytest.mark.apiserver

SPEC = schema(TrainingJobSpec)
FROZEN = [path for path in samples.standing(SPEC) if path[0] not in MUTABLE]
SETTABLE = [path for path in FROZEN if not samples.required(SPEC, path) and not samples.one_of_two(SPEC, path)]
ALTERNATIVES = {"gpus": "nodes", "nodes": "gpus"}


def manifest(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "passerelle.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def full(*, sized_by: str = "gpus") -> dict[str, Any]:
    """A spec in which every field is set that may stand beside the others."""
    spec: dict[str, Any] = samples.take(samples.sample(SPEC), (ALTERNATIVES[sized_by],))
    return spec


SMALL = {"site": "lumi", "image": "/a.sif", "command": ["a"], "gpus": 8, "timeLimit": "1h"}


@pytest.fixture(scope="session")
def recorded(api: Api) -> dict[str, dict[str, Any]]:
    """One full TrainingJob by gpus, and one by nodes, as they stand in the cluster."""
    for sized_by in ALTERNATIVES:
        api.accepts("apply", manifest(f"full-{sized_by}", full(sized_by=sized_by)))
    return {sized_by: manifest(f"full-{sized_by}", full(sized_by=sized_by)) for sized_by in ALTERNATIVES}


def standing(recorded: dict[str, dict[str, Any]], path: samples.Path) -> dict[str, Any]:
    return recorded["nodes" if path[0] == "nodes" else "gpus"]


def forbidden(path: samples.Path) -> str:
    return f"spec: Forbidden: {RECORD}; changed here: {path[0]}"


@pytest.mark.parametrize("path", FROZEN, ids=samples.name_of)
def test_a_change_is_refused_and_the_answer_says_what_to_do(
    api: Api, recorded: dict[str, dict[str, Any]], path: samples.Path
) -> None:
    job = standing(recorded, path)
    changed = samples.put(job, ("spec", *path), samples.sample(samples.at(SPEC, path), 1))

    told = api.refuses("replace", changed)

    assert forbidden(path) in told


@pytest.mark.parametrize("path", FROZEN, ids=samples.name_of)
def test_to_unset_is_refused_and_the_answer_says_what_to_do(
    api: Api, recorded: dict[str, dict[str, Any]], path: samples.Path
) -> None:
    job = standing(recorded, path)

    told = api.refuses("replace", samples.take(job, ("spec", *path)))

    if samples.required(SPEC, path):
        assert f"spec.{samples.name_of(path)}: Required value" in told
    elif path == ("command", 0):
        assert "spec.command" in told  # a command has at least one word
    else:
        assert forbidden(path) in told


@pytest.mark.parametrize("path", SETTABLE, ids=samples.name_of)
def test_to_set_is_refused_and_the_answer_says_what_to_do(
    api: Api, recorded: dict[str, dict[str, Any]], path: samples.Path
) -> None:
    job = samples.put(standing(recorded, path), ("metadata", "name"), "without-" + "-".join(map(str, path)).lower())
    if path[0] in ALTERNATIVES:
        less = job = samples.put(recorded[ALTERNATIVES[str(path[0])]], ("metadata", "name"), f"without-{path[0]}")
    elif path == ("command", 0):
        less = samples.put(job, ("spec", "command"), ["first"])
    else:
        less = samples.take(job, ("spec", *path))
    api.accepts("apply", less)
    more = samples.put(less, ("spec", *path), samples.sample(samples.at(SPEC, path)))

    told = api.refuses("replace", more)

    assert forbidden(path) in told


@pytest.mark.parametrize("field", MUTABLE)
def test_a_mutable_field_can_be_set_changed_and_unset(api: Api, field: str) -> None:
    name = f"mutable-{field.lower()}"
    for value in (None, 0, 1, None):
        spec = SMALL if value is None else {**SMALL, field: samples.sample(samples.at(SPEC, (field,)), value)}
        api.accepts("apply", manifest(name, spec))


def test_every_field_may_be_unset_from_the_start_but_what_a_run_needs(api: Api) -> None:
    api.accepts("apply", manifest("small", SMALL))

    stored = json.loads(api.kubectl("get", "tj", "small", "-o", "json"))

    assert stored["spec"] == SMALL  # no default of ours was written into it


@pytest.mark.parametrize("words", ["1d", "1-12:00:00", "12", "1h 30m", "", "1.5h", "123456s", "5m5m", "30s1m"])
def test_what_is_no_duration_is_answered_with_what_to_write(api: Api, words: str) -> None:
    told = api.refuses("create", manifest("bad", {**SMALL, "timeLimit": words}))

    assert samples.complaints(told) == [f"spec.timeLimit: Invalid value: {json.dumps(words)}: {DURATION_HELP}"]


def test_no_time_at_all_is_refused(api: Api) -> None:
    told = api.refuses("create", manifest("bad", {**SMALL, "timeLimit": "0h0m"}))

    assert samples.complaints(told) == [f'spec.timeLimit: Invalid value: "0h0m": {DURATION_ZERO}']


@pytest.mark.parametrize(
    "path,value,answer",
    [
        (("site",), "Lumi", DNS_LABEL_HELP),
        (("site",), "", DNS_LABEL_HELP),
        (("runId",), "Run-1", DNS_LABEL_HELP),
        (("account",), "project 1", SLURM_WORD_HELP),
        (("account",), "-p gpu", SLURM_WORD_HELP),
        (("qos",), "a,b", SLURM_WORD_HELP),
        (("reservation",), "a b", SLURM_WORD_HELP),
        (("memory",), "480G", MEMORY_HELP),
        (("memory",), "0.5Gi", MEMORY_HELP),
        (("workingDir",), "workspace", ABSOLUTE_PATH_HELP),
        (("files", 0, "path"), "./workspace", ABSOLUTE_PATH_HELP),
        (("files", 0, "configMap"), "my_config", DNS_SUBDOMAIN_HELP),
        (("env", 0, "name"), "1ST", VARIABLE_HELP),
        (("env", 1, "valueFrom", "secretKeyRef", "key"), "a b", KEY_HELP),
        (("envFrom", 0, "prefix"), "1_", VARIABLE_HELP),
        (("envFrom", 0, "secretRef", "name"), "my_secret", DNS_SUBDOMAIN_HELP),
    ],
)
def test_a_mistyped_value_is_answered_with_what_to_write(api: Api, path: samples.Path, value: str, answer: str) -> None:
    whole = SMALL | {
        "files": [{"configMap": "a", "path": "/a"}],
        "env": [{"name": "A"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
        "envFrom": [{"secretRef": {"name": "a"}}],
    }

    told = api.refuses("create", manifest("bad", samples.put(whole, path, value)))

    assert samples.complaints(told) == [f"spec.{samples.name_of(path)}: Invalid value: {json.dumps(value)}: {answer}"]


@pytest.mark.parametrize(
    "fields,answer",
    [
        ({"files": [{"path": "/a"}]}, "write either configMap or secret"),
        ({"files": [{"path": "/a", "configMap": "a", "secret": "b"}]}, "write either configMap or secret"),
        ({"envFrom": [{"prefix": "A"}]}, "write either secretRef or configMapRef"),
        ({"env": [{"name": "A", "valueFrom": {}}]}, "write either secretKeyRef or configMapKeyRef"),
        (
            {"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]},
            "write either value or valueFrom",
        ),
    ],
)
def test_of_two_sources_one_is_written(api: Api, fields: dict[str, Any], answer: str) -> None:
    (told,) = samples.complaints(api.refuses("create", manifest("bad", SMALL | fields)))

    assert told.endswith(answer)
    with pytest.raises(ValidationError, match=answer):
        TrainingJobSpec.model_validate(SMALL | fields)


def test_an_empty_value_beside_a_source_is_no_second_one(api: Api) -> None:
    """As a Pod has it: kubectl's own defaults write it so."""
    source = {"secretKeyRef": {"name": "a", "key": "b"}}

    api.accepts("create", manifest("empty-value", SMALL | {"env": [{"name": "A", "value": "", "valueFrom": source}]}))


@pytest.mark.parametrize("words", ["12h", "1h30m", "1h1s", "90s", "99999h59m59s"])
def test_durations_are_taken(api: Api, words: str) -> None:
    api.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest("d", {**SMALL, "timeLimit": words})))


@pytest.mark.parametrize(
    "spec,answer",
    [
        pytest.param({**SMALL, "gpu": 3}, 'unknown field "spec.gpu"', id="unknown field"),
        pytest.param(
            {**SMALL, "env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]},
            'unknown field "spec.env[0].valueFrom.fieldRef"',
            id="deep",
        ),
        pytest.param({**SMALL, "gpus": "8"}, "spec.gpus in body must be of type integer", id="text for a number"),
        pytest.param(
            {**SMALL, "command": "python"}, "spec.command in body must be of type array", id="text for a list"
        ),
        pytest.param(
            {**SMALL, "nodes": 2}, "spec.nodes: Forbidden: write either gpus or nodes, not both", id="both sizes"
        ),
        pytest.param(samples.take(SMALL, ("gpus",)), "spec.gpus: Required value: write gpus,", id="no size"),
        pytest.param(
            {**SMALL, "launcher": "horovod"}, 'supported values: "srun", "torchrun"', id="launcher of a later release"
        ),
        pytest.param(
            {**SMALL, "env": [{"name": "A"}, {"name": "A"}]},
            'spec.env[1]: Duplicate value: {"name":"A"}',
            id="env twice",
        ),
        pytest.param(
            {**SMALL, "command": ["a\0b"]}, "spec.command[0]: Invalid value", id="NUL can't be in an argument"
        ),
    ],
)
def test_a_bad_spec_is_refused_with_the_fields_name(api: Api, spec: dict[str, Any], answer: str) -> None:
    assert answer in api.refuses("create", manifest("bad", spec))


def test_a_spec_is_required_and_stays(api: Api) -> None:
    job = manifest("stays", SMALL)
    api.accepts("apply", job)
    for verb, name in (("create", "never"), ("replace", "stays")):
        without = samples.take(samples.put(job, ("metadata", "name"), name), ("spec",))
        done = api.run(verb, "--dry-run=server", "-f", "-", stdin=json.dumps(without))
        assert "spec: Required value" in done.stderr


def test_a_name_fits_into_a_label(api: Api) -> None:
    assert "metadata.name has at most 63 characters" in api.refuses("create", manifest("n" * 64, SMALL))


@pytest.mark.parametrize("character", ["x", "ß", "𝄞"])
def test_a_status_at_its_bounds_fits_and_is_taken(api: Api, character: str) -> None:
    told = samples.status_at_bounds(schema(TrainingJobStatus), character)
    fitted = fit(TrainingJobStatus.model_validate(told))
    patch = json.dumps({"status": fitted.model_dump(mode="json", by_alias=True, exclude_none=True)}, ensure_ascii=False)
    name = f"bounds-{ord(character):x}"
    api.accepts("apply", manifest(name, SMALL))

    api.kubectl("patch", "tj", name, "--subresource=status", "--type=merge", "-p", patch)

    stored = json.loads(api.kubectl("get", "tj", name, "-o", "json"))["status"]
    assert size(fitted) <= STATUS_LIMIT
    assert fitted == TrainingJobStatus.model_validate(stored)


def test_the_unfitted_bounds_are_taken_too(api: Api) -> None:
    """So that a status of an older operator never becomes invalid."""
    patch = json.dumps({"status": samples.at_bounds(schema(TrainingJobStatus))})
    api.accepts("apply", manifest("unfitted", SMALL))

    api.kubectl("patch", "tj", "unfitted", "--subresource=status", "--type=merge", "-p", patch)


def test_kubectl_get_prints_the_columns(api: Api) -> None:
    attempt = samples.sample(samples.at(schema(TrainingJobStatus), ("attempts", 0)))
    status = {
        "summary": "Running",
        "reason": "Why",
        "plan": samples.sample(samples.at(schema(TrainingJobStatus), ("plan",))) | {"nodes": 2, "gpus": 8},
        "progress": {"percentage": 42, "summary": "42%"},
        "attempts": [attempt | {"number": 3, "jobId": "11"}, attempt | {"number": 4, "jobId": "12"}],
        "attemptsTotal": 4,
    }
    api.kubectl("create", "namespace", "columns")
    job = samples.put(manifest("printed", SMALL), ("metadata", "namespace"), "columns")
    api.accepts("apply", job)
    api.kubectl(
        "-n",
        "columns",
        "patch",
        "tj",
        "printed",
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": status}),
    )

    header, row = api.kubectl("-n", "columns", "get", "tj").splitlines()
    assert header.split() == ["NAME", "SITE", "NODES", "GPUS", "SUMMARY", "REASON", "PROGRESS", "AGE"]
    assert row.split()[:7] == ["printed", "lumi", "2", "8", "Running", "Why", "42%"]

    header, row = api.kubectl("-n", "columns", "get", "tj", "-o", "wide").splitlines()
    assert "PROGRESS   JOB ID   ATTEMPT   AGE" in header
    assert row.split()[7:9] == ["12", "4"]


def test_kubectl_explain_shows_every_field(api: Api) -> None:
    told = api.kubectl("explain", "tj.spec", "--recursive")

    for path in samples.places(SPEC):
        if isinstance(path[-1], str):
            assert f"{path[-1]}\t<" in told, samples.name_of(path)


def test_kubectl_explain_reads_like_documentation(api: Api) -> None:
    for field, child in SPEC["properties"].items():
        told = " ".join(api.kubectl("explain", f"tj.spec.{field}").split())
        assert f"FIELD: {field} <" in told
        assert child["description"] in told


def test_the_category_lists_both_kinds(api: Api) -> None:
    assert TRAINING_JOB.plural in api.kubectl("api-resources", "--categories=passerelle", "-o", "name")

"""Objects that don't fit: what is told of them, in the words of whoever writes manifests."""

from __future__ import annotations

from typing import Any

import pytest

from passerelle import objects
from passerelle.crd import KINDS, definition

SPEC: dict[str, Any] = {"site": "s", "image": "/x.sif", "command": ["python", "/t.py"], "gpus": 8, "timeLimit": "1h"}
META = {"name": "n", "namespace": "d", "uid": "u", "resourceVersion": "1"}


def told(**spec: Any) -> str:
    found = objects.trainingjob({"metadata": META, "spec": SPEC | spec})
    return str(found.invalid) if found.invalid is not None else ""


@pytest.mark.parametrize(
    "spec,said",
    [
        ({"gpus": 0}, "spec.gpus: write at least 1"),
        ({"gpus": 8.5}, "spec.gpus: write a whole number"),
        ({"gpus": "eight"}, "spec.gpus: write a whole number, without quotes"),
        ({"retry": {"maxAttempts": 1000}}, "spec.retry.maxAttempts: write at most 100"),
        ({"command": []}, "spec.command: it is empty; write at least one entry"),
        ({"command": "python"}, "spec.command: write a list, like [a, b]"),
        ({"command": ["a"] * 257}, "spec.command: write at most 256 entries"),
        ({"env": [{"name": "A", "value": 1}]}, 'spec.env[0].value: write text, in quotes: "1"'),
        ({"env": [{"name": "A", "value": True}]}, 'spec.env[0].value: write text, in quotes: "true"'),
        ({"checkpoint": "5m"}, "spec.checkpoint: write a mapping of fields"),
        (
            {"checkpoint": {"grace": 300}},
            "spec.checkpoint.grace: write hours, minutes and seconds, like 12h, 1h30m or 90s",
        ),
        ({"launcher": "x"}, "spec.launcher: write srun, torchrun, accelerate, deepspeed, jax, mpi or script"),
        ({"files": [{"configMap": "x"}]}, "spec.files[0].path is missing; write it"),
        ({"account": "<your-account>"}, "spec.account: it is a placeholder; write what belongs in its place"),
        ({"timeLimit": "CHANGE-ME"}, "spec.timeLimit: it is a placeholder; write what belongs in its place"),
        ({"account": "a" * 65}, "spec.account: write at most 64 characters"),
        ({"image": None, "gpus": -1}, "spec.image: write text; spec.gpus: write at least 1"),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_write(spec: dict[str, Any], said: str) -> None:
    assert told(**spec) == said


def test_a_value_that_may_be_a_secret_is_not_repeated() -> None:
    assert "hf_" not in told(env=[{"name": "A", "value": ["hf_" + "a" * 30]}], launcher="hf_" + "a" * 30)


@pytest.mark.parametrize("kind", [each.name for each in KINDS])
def test_no_words_of_the_librarys_are_left(kind: str) -> None:
    """Every field of a spec, with what it is not."""
    described = next(each for each in KINDS if each.name == kind)
    schema = definition(described)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    read = objects.trainingjob if kind == "TrainingJob" else objects.site
    said = []
    for name in schema["properties"]:
        wrongs: tuple[Any, ...] = (None, 1.5, -1, 10**9, "", "x" * 40_000, [], ["x"], {}, {"a": 1}, True, [{}], [1])
        for wrong in wrongs:
            found = read({"metadata": META, "spec": SPEC | {name: wrong}})
            said.append(str(found.invalid or ""))

    assert len(set(said)) > 20
    assert [each for each in said if "should" in each or "pydantic" in each or "Unable" in each] == []

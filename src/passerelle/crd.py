"""The custom resource definitions, generated from the models of v1alpha1: `python -m passerelle.crd` writes crds/.

What stands in a schema, and why:

- No `default`. The API server would write it into spec, which then no longer tells what the user wrote and which, being
  immutable, would keep a default of ours for ever. Descriptions name the defaults; the Plan holds what came of them.
- Immutability at the level of spec. A rule on a field runs only where the field was and stays: it misses one that is
  added or taken away.
- Rules instead of patterns where a person may mistype: of a pattern the API server shows the regular expression.
- Lists that two managers may share are maps; every other list has one owner, and is atomic.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from passerelle.v1alpha1 import GROUP, VERSION, site, trainingjob
from passerelle.v1alpha1.meta import Model, rule
from passerelle.v1alpha1.site import SiteSpec, SiteStatus
from passerelle.v1alpha1.trainingjob import TrainingJobSpec
from passerelle.v1alpha1.trainingjob_status import TrainingJobStatus

HEADER = "# Generated from src/passerelle/v1alpha1 by `make generate`. Change the models, not this file.\n"

NAME_LIMIT = 63
"""A TrainingJob's name stands in the values of labels, which end here, and so does what its spec.site may hold; to
loosen a limit later breaks nobody.
"""

Schema = dict[str, Any]

_FOR_PYTHON_ONLY = frozenset({"title", "default", "readOnly", "$defs"})
"""Keywords of JSON Schema that pydantic writes and a structural schema doesn't take, or must not have."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`. Those of priority 1 are shown by `-o wide`."""

    name: str
    json_path: str
    type: Literal["string", "integer", "date"] = "string"
    priority: int = 0
    description: str = ""

    def manifest(self) -> Schema:
        told: Schema = {"name": self.name, "type": self.type, "jsonPath": self.json_path}
        if self.description:
            told["description"] = self.description
        if self.priority:
            told["priority"] = self.priority
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One custom resource. `mutable` names the fields of spec that may change; None: all may."""

    name: str
    plural: str
    short_names: tuple[str, ...]
    scope: Literal["Namespaced", "Cluster"]
    description: str
    spec: type[Model]
    spec_description: str
    status: type[Model]
    status_description: str
    columns: tuple[Column, ...]
    rules: tuple[Schema, ...] = ()
    mutable: tuple[str, ...] | None = None
    frozen_message: str = ""


AGE = Column("Age", ".metadata.creationTimestamp", "date")

TRAINING_JOB = Kind(
    name="TrainingJob",
    plural=trainingjob.PLURAL,
    short_names=("tj",),
    scope="Namespaced",
    description="TrainingJob is one training run at one supercomputer, and the record of what became of it.",
    spec=TrainingJobSpec,
    spec_description="spec is what to run, where, and how large. It is the record of one run: only suspend, retry and "
    "ttlSecondsAfterFinished may change.",
    status=TrainingJobStatus,
    status_description="status is what became of the run.",
    columns=(
        Column("Site", ".spec.site"),
        Column("Nodes", ".status.plan.nodes", "integer"),
        Column("GPUs", ".status.plan.gpus", "integer"),
        Column("Summary", ".status.summary"),
        Column("Reason", ".status.reason"),
        Column("Progress", ".status.progress.summary"),
        Column("Job ID", ".status.attempts[-1:].jobId", priority=1, description="The newest attempt's job."),
        Column("Attempt", ".status.attemptsTotal", "integer", priority=1),
        AGE,
    ),
    rules=(
        rule(
            f"self.metadata.name.size() <= {NAME_LIMIT}",
            f"metadata.name has at most {NAME_LIMIT} characters, as many as the value of a label holds",
        ),
    ),
    mutable=trainingjob.MUTABLE,
    frozen_message=trainingjob.RECORD,
)

SITE = Kind(
    name="Site",
    plural=site.PLURAL,
    short_names=("hpcsite", "hpcsites"),
    scope="Cluster",
    description="Site is one supercomputer, the door to it, and who may use it.",
    spec=SiteSpec,
    spec_description="spec tells which supercomputer this is, how it is reached, and who may use it.",
    status=SiteStatus,
    status_description="status is the live truth about the site.",
    columns=(
        Column("Driver", ".spec.gateway.driver"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
        Column("Jobs", ".status.jobs", "integer"),
        # A column of the type date shows the time since; for a moment to come, kubectl prints <invalid>.
        Column("Credential Expiry", ".status.credentialExpiry"),
        AGE,
    ),
    rules=(
        rule(
            f"self.metadata.name.size() <= {NAME_LIMIT} && !self.metadata.name.contains('.')",
            f"write a metadata.name of at most {NAME_LIMIT} characters without dots: no TrainingJob could name another",
        ),
    ),
)

KINDS = (TRAINING_JOB, SITE)


def schema(model: type[Model]) -> Schema:
    """The structural schema of a model: as the API server wants it, and as the model serializes itself."""
    told = model.model_json_schema(mode="serialization")
    return _structural(told, told.get("$defs", {}))


def definition(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind."""
    spec = schema(kind.spec) | {"description": kind.spec_description}
    spec["x-kubernetes-validations"] = [*spec.get("x-kubernetes-validations", []), *_frozen(kind, spec)]
    if not spec["x-kubernetes-validations"]:
        del spec["x-kubernetes-validations"]
    root: Schema = {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": spec,
            "status": schema(kind.status) | {"description": kind.status_description},
        },
    }
    if kind.rules:
        root["x-kubernetes-validations"] = list(kind.rules)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": list(kind.short_names),
                "categories": ["passerelle"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.manifest() for column in kind.columns],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def render(kind: Kind) -> str:
    """The manifest as text: the same models give the same bytes."""
    return HEADER + yaml.dump(definition(kind), Dumper=_Dumper, allow_unicode=True, width=120)


def file_name(kind: Kind) -> str:
    return f"{GROUP}_{kind.plural}.yaml"


def write(folder: Path) -> None:
    """Write all CRDs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / file_name(kind)).write_text(render(kind), encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """Without anchors: a list that stands in two places is written twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # the base class's signature
        return True


def _structural(node: Schema, definitions: Schema) -> Schema:
    """One node without references, unions with null, titles and defaults, and with a type for each list and map."""
    node = dict(node)
    if "$ref" in node:
        node = definitions[node.pop("$ref").rpartition("/")[2]] | node
    if "anyOf" in node:
        choices = [choice for choice in node.pop("anyOf") if choice != {"type": "null"}]
        if len(choices) != 1:
            raise TypeError(f"a structural schema has one type a field, not {choices}")
        return _structural(choices[0] | node, definitions)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    computed = {name for name, child in node.get("properties", {}).items() if child.get("readOnly")}
    told = {key: value for key, value in node.items() if key not in _FOR_PYTHON_ONLY}
    if "properties" in told:
        told["properties"] = {name: _structural(child, definitions) for name, child in told["properties"].items()}
        told["required"] = [name for name in told.get("required", []) if name not in computed]
        if not told["required"]:
            del told["required"]
    if told.get("type") == "array":
        told["items"] = _structural(told["items"], definitions)
        told.setdefault("x-kubernetes-list-type", "atomic")
    if "additionalProperties" in told:
        told["additionalProperties"] = _structural(told["additionalProperties"], definitions)
        told.pop("propertyNames", None)  # a structural schema bounds keys by rules alone
        told.setdefault("x-kubernetes-map-type", "atomic")
    return told


def _frozen(kind: Kind, spec: Schema) -> list[Schema]:
    """One rule for all immutable fields, whose answer names those that differ.

    The API server evaluates a rule that looks back at every write, also where spec stays as it is: one for each field
    took a fifth of its time for a patch of a status.
    """
    if kind.mutable is None:
        return []
    required = set(spec.get("required", ()))
    unchanged = {
        name: _unchanged(name, optional=name not in required) for name in spec["properties"] if name not in kind.mutable
    }
    changed = " + ".join(f"({same} ? '' : ' {name}')" for name, same in unchanged.items())
    return [
        rule(
            f"self == oldSelf || ({' && '.join(f'({same})' for same in unchanged.values())})",
            kind.frozen_message,
            messageExpression=f'"{kind.frozen_message}; changed here:" + {changed}',
            reason="FieldValueForbidden",
        )
    ]


def _unchanged(name: str, *, optional: bool) -> str:
    """The field is as it was: set before and set now, with the same value, or in neither."""
    same = f"self.{name} == oldSelf.{name}"
    return f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})" if optional else same


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "crds"))

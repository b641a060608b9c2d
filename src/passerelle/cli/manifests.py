"""Manifests of a file, by kind, checked as the API server would: names, and no unknown field."""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from passerelle import objects
from passerelle.crd import KINDS, definition
from passerelle.errors import Invalid
from passerelle.imports.documents import documents
from passerelle.objects import TrainingJob
from passerelle.v1alpha1 import API_VERSION, GROUP
from passerelle.v1alpha1.site import SiteSpec

NAMESPACE = "default"
"""Of a manifest that names none, as kubectl has it."""
_NO_UID = "00000000-0000-0000-0000-000000000000"
"""Kubernetes gives an object its uid when it is created; until then a run has this one, and its marker is a sample."""
_SHOWN = 3
_INSTEAD = {
    "fieldRef": "there is no Pod; write value",
    "resourceFieldRef": "there is no Pod; write value",
    "resources": "write gpus",
    "volumes": "write data",
}
"""What stands here for fields of a Pod."""
_EXACT = {
    "integer": (int, "write a whole number, without quotes"),
    "boolean": (bool, "write true or false, without quotes"),
}
"""Of the schema's types, those that kube-apiserver takes no text for, and Python and what to write instead."""


@dataclass(slots=True)
class Manifests:
    """What a file holds. ConfigMaps and Secrets by namespace and name, Sites and the labels of Namespaces by name."""

    jobs: list[TrainingJob] = field(default_factory=list)
    sites: dict[str, SiteSpec] = field(default_factory=dict)
    config_maps: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    secrets: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict, repr=False)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)

    def job(self, name: str | None) -> TrainingJob:
        """The one TrainingJob, or the one of a name. Raises Invalid."""
        chosen = [job for job in self.jobs if name in {None, job.key.name}]
        match chosen:
            case [job]:
                return job
            case []:
                there = ", ".join(job.key.name for job in self.jobs)
                raise Invalid(
                    f"The file holds no TrainingJob {name}; it holds {there}."
                    if there
                    else "The file holds no TrainingJob; `passerelle init` writes one, `passerelle import` makes one."
                )
        told = ", ".join(job.key.name for job in chosen)
        raise Invalid(f"The file holds {len(chosen)} TrainingJobs ({told}); choose one with --name.")


def read(text: str, found: Manifests | None = None) -> Manifests:
    """Sort the documents of a text, to those that are found already; kinds that planning doesn't need are passed over.
    Raises Invalid.
    """
    found = found if found is not None else Manifests()
    for document in documents(text):
        for each in _items(document):
            _sort(found, each)
    return found


def _items(document: object) -> Iterator[Mapping[str, Any]]:
    """The document, or what a List of kubectl's holds."""
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise Invalid("The file holds a document without a kind; write Kubernetes manifests.")
    items = document.get("items")
    if document["kind"].endswith("List") and isinstance(items, list):
        for item in items:
            yield from _items(item)
    else:
        yield document


def _sort(found: Manifests, document: Mapping[str, Any]) -> None:
    kind = document["kind"]
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise Invalid(f"A {kind} of the file has no name; write metadata.name.")
    name, namespace = metadata["name"], str(metadata.get("namespace") or NAMESPACE)
    if kind in {each.name for each in KINDS} and _ours(document):
        _refuse_misfits(document, kind, name)
    match kind:
        case "TrainingJob" if _ours(document):
            found.jobs.append(_job(document, metadata, namespace))
        case "Site" if _ours(document):
            site = objects.site(_body(document, metadata, namespace))
            if site.spec is None:
                raise Invalid(f"Site {name}: {site.invalid}")
            found.sites[name] = site.spec
        case "ConfigMap":
            found.config_maps[namespace, name] = _data(document, name)
        case "Secret":
            found.secrets[namespace, name] = _secret_data(document, name)
        case "Namespace":
            found.labels[name] = {str(key): str(value) for key, value in _mapping(metadata.get("labels")).items()}


def _ours(document: Mapping[str, Any]) -> bool:
    """Whether the document is of our group. Raises Invalid for a version that this release lacks."""
    version = document.get("apiVersion")
    if not isinstance(version, str) or not version.startswith(f"{GROUP}/"):
        if document["kind"] == "TrainingJob":
            raise Invalid(f"A TrainingJob of the file has apiVersion {version!r}; write {API_VERSION}.")
        return False
    if version != API_VERSION:
        raise Invalid(f"{document['kind']}: apiVersion {version} is unknown; write {API_VERSION}.")
    return True


def _job(document: Mapping[str, Any], metadata: Mapping[str, Any], namespace: str) -> TrainingJob:
    job = objects.trainingjob(_body(document, metadata, namespace))
    if job.spec is None:
        raise Invalid(f"TrainingJob {job.key.name}: {job.invalid}")
    return job


def _body(document: Mapping[str, Any], metadata: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """The document as kube-apiserver would deliver it."""
    given = {"uid": _NO_UID, "resourceVersion": "0"} | dict(metadata) | {"namespace": namespace}
    return {"metadata": given, "spec": _mapping(document.get("spec"))}


def _mapping(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(f"{str(value)!r} stands where a mapping of fields is expected.")
    return value


def _data(document: Mapping[str, Any], name: str) -> dict[str, bytes]:
    """The files of a ConfigMap."""
    text = {str(key): str(value).encode() for key, value in _mapping(document.get("data")).items()}
    try:
        binary = {
            str(key): base64.b64decode(str(value), validate=True)
            for key, value in _mapping(document.get("binaryData")).items()
        }
    except binascii.Error:
        raise Invalid(f"ConfigMap {name}: binaryData is no base64; write data for text.") from None
    return text | binary


def _secret_data(document: Mapping[str, Any], name: str) -> dict[str, bytes]:
    """The keys of a Secret. No value stands in a message."""
    found: dict[str, bytes] = {}
    for field_, decode in (("data", partial(base64.b64decode, validate=True)), ("stringData", str.encode)):
        values = document.get(field_) or {}
        if not isinstance(values, dict):
            raise Invalid(f"Secret {name}: {field_} is no mapping; write a value for each key.")
        for key, value in values.items():
            try:
                found[str(key)] = decode(str(value))
            except ValueError:
                raise Invalid(f"Secret {name}: {key} is no base64; write it in stringData for text.") from None
    return found


def _refuse_misfits(document: Mapping[str, Any], kind: str, name: str) -> None:
    """Refuse what kube-apiserver refuses and a lenient reader wouldn't: a misspelt field, a number in quotes."""
    described = next(each for each in KINDS if each.name == kind)
    schema = definition(described)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    wrong = list(_misfits(document.get("spec"), schema, "spec"))
    if wrong:
        raise Invalid(f"{kind} {name}: {'; '.join(wrong[:_SHOWN])}.")


def _misfits(value: object, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Sentences on the fields of a value that its schema lacks, and on text in place of a number or a truth."""
    wanted, instead = _EXACT.get(schema.get("type", ""), (object, ""))
    given = int(value) if isinstance(value, float) and value.is_integer() else value  # as JSON writes it
    if given is not None and instead and type(given) is not wanted:
        yield f"{path}: {instead}"
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _misfits(item, schema.get("items", {}), f"{path}[{place}]")
    elif isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        for key, below in value.items():
            if key in known:
                yield from _misfits(below, known[key], f"{path}.{key}")
            else:
                near = difflib.get_close_matches(str(key), known, n=1)
                instead = _INSTEAD.get(str(key)) or (f"write {near[0]}" if near else "")
                yield f"{path}.{key} is no field" + (f"; {instead}" if instead else "")

"""What kube-apiserver delivers, parsed: a TrainingJob or a Site with the metadata that decides. Pure.

An object that an older or newer CRD let in may not fit the models; it is then carried with the reason instead of a
spec.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from passerelle.errors import Invalid
from passerelle.marker import Run
from passerelle.v1alpha1.site import SiteSpec, SiteStatus
from passerelle.v1alpha1.trainingjob import (
    ABANDON,
    FINALIZER,
    RETRY_REQUESTED_AT,
    RETRY_REQUESTED_AT_LIMIT,
    TrainingJobSpec,
)
from passerelle.v1alpha1.trainingjob_status import TrainingJobStatus

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """A TrainingJob's place."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One TrainingJob. `invalid` stands in for a spec that does not fit."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    finalizers: tuple[str, ...]
    annotations: Mapping[str, str]
    created: str
    site: str
    run_id: str | None
    spec: TrainingJobSpec | None
    invalid: Invalid | None
    status: TrainingJobStatus
    raw_status: Mapping[str, Any]

    @property
    def run(self) -> Run:
        """The uid's run, or the runId's."""
        if self.run_id is not None:
            return Run.of_run_id(self.key.namespace, self.key.name, self.run_id)
        return Run.of_uid(self.uid)

    @property
    def held_finalizer(self) -> bool:
        return FINALIZER in self.finalizers

    @property
    def abandon(self) -> bool:
        return self.annotations.get(ABANDON) == "true"

    @property
    def retry_requested_at(self) -> str | None:
        """The annotation's value while it is not yet honoured."""
        asked = self.annotations.get(RETRY_REQUESTED_AT, "")[:RETRY_REQUESTED_AT_LIMIT]
        return asked if asked and asked != self.status.last_handled_retry_at else None


def trainingjob(body: Body) -> TrainingJob:
    """Parse a TrainingJob; never raises for what the API server accepts."""
    meta = body["metadata"]
    raw_spec = body.get("spec") or {}
    raw_status = body.get("status") or {}
    spec, invalid = None, None
    try:
        spec = TrainingJobSpec.model_validate(raw_spec)
    except ValidationError as error:
        invalid = Invalid(_explain(error), reason="InvalidSpec")
    try:
        status = TrainingJobStatus.model_validate(raw_status)
    except ValidationError:
        status = TrainingJobStatus()  # rebuilt by marker, like an emptied one
    return TrainingJob(
        key=Key(meta["namespace"], meta["name"]),
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        deleting="deletionTimestamp" in meta,
        finalizers=tuple(meta.get("finalizers") or ()),
        annotations=meta.get("annotations") or {},
        created=meta.get("creationTimestamp", ""),
        site=str(raw_spec.get("site", "")),
        run_id=_run_id(raw_spec.get("runId")),
        spec=spec,
        invalid=invalid,
        status=status,
        raw_status=raw_status,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One Site."""

    name: str
    uid: str
    generation: int
    resource_version: str
    spec: SiteSpec | None
    invalid: Invalid | None
    status: SiteStatus
    raw_status: Mapping[str, Any]


def site(body: Body) -> Site:
    """Parse a Site; never raises for what the API server accepts."""
    meta = body["metadata"]
    raw_status = body.get("status") or {}
    spec, invalid = None, None
    try:
        spec = SiteSpec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        invalid = Invalid(_explain(error), reason="InvalidSpec")
    try:
        status = SiteStatus.model_validate(raw_status)
    except ValidationError:
        status = SiteStatus()
    return Site(
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        spec=spec,
        invalid=invalid,
        status=status,
        raw_status=raw_status,
    )


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns `old` into `new`.

    Only keys of `known` are ever removed: what a newer operator wrote and this one does not know stays.
    """
    patch: dict[str, Any] = {key: value for key, value in new.items() if old.get(key) != value}
    patch |= {key: None for key in old if key in known and key not in new}
    return patch


def _run_id(raw: object) -> str | None:
    """The runId as written, also of a spec that this release can't read: the run must not change with the release."""
    return raw if isinstance(raw, str) and raw and "/" not in raw else None


def _explain(error: ValidationError) -> str:
    """The first three complaints, each with its field and what to write there. No value is repeated but a number."""
    return "; ".join(_complaint(item) for item in error.errors(include_url=False)[:_SHOWN])


def _complaint(item: ErrorDetails) -> str:
    path = "spec" + "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in item["loc"])
    kind, given, told = item["type"], item["input"], item.get("ctx", {})
    if isinstance(given, str) and _PLACEHOLDER.search(given):
        return f"{path}: it is a placeholder; write what belongs in its place"
    if kind == "missing":
        return f"{path} is missing; write it"
    if kind == "string_type" and item["loc"][-1] in _DURATIONS:
        return f"{path}: {_DURATION}"
    if kind == "string_type" and isinstance(given, bool | int | float):
        return f'{path}: write text, in quotes: "{str(given).lower()}"'
    if kind == "literal_error":
        return f"{path}: write {str(told['expected']).replace(chr(39), '')}"
    if kind in _WANTED:
        return f"{path}: {_WANTED[kind].format(**told)}"
    return f"{path}: {item['msg'].removeprefix('Value error, ')}"


_SHOWN = 3
_PLACEHOLDER = re.compile(r"<[A-Za-z][^<>]*>|CHANGE[-_]?ME")
"""What an example leaves to be written; preflight says so of those that fit their field all the same."""
_DURATIONS = ("timeLimit", "grace")
_DURATION = "write hours, minutes and seconds, like 12h, 1h30m or 90s"
_WANTED = {
    "string_type": "write text",
    "string_too_short": "it is empty; write text",
    "string_too_long": "write at most {max_length} characters",
    "string_pattern_mismatch": "write text of the form {pattern}",
    "int_type": "write a whole number, without quotes",
    "int_parsing": "write a whole number, without quotes",
    "int_parsing_size": "write a smaller number",
    "int_from_float": "write a whole number",
    "finite_number": "write a whole number",
    "bool_type": "write true or false, without quotes",
    "bool_parsing": "write true or false, without quotes",
    "list_type": "write a list, like [a, b]",
    "model_type": "write a mapping of fields",
    "dict_type": "write a mapping of fields",
    "too_short": "it is empty; write at least one entry",
    "too_long": "write at most {max_length} entries",
    "greater_than": "write more than {gt}",
    "greater_than_equal": "write at least {ge}",
    "less_than": "write less than {lt}",
    "less_than_equal": "write at most {le}",
}
"""By pydantic's word for what is wrong."""

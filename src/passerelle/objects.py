"""What kube-apiserver delivers, parsed: a TrainingJob or a Site with the metadata that decides. Pure.

An object that an older or newer CRD let in may not fit the models; it is then carried with the reason instead of a
spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

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
    """The first three complaints, each with its field."""
    told = [
        f"spec.{'.'.join(str(place) for place in item['loc'])}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors()[:3]
    ]
    return "; ".join(told)

"""Finding: what is wrong, or will be regretted, with what to write instead. Its ids are the catalogue of docs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from passerelle.profiles import Cost
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

Severity = Literal["error", "warning", "info"]
"""error: the site would refuse the job, or it would certainly fail. warning: it costs or risks something. info: good to
know. An error refuses a job, and nothing overrides it: what may be wrong, even seldom, is a warning.
"""

Id = Literal[
    "AccountPattern",
    "AccountRequired",
    "AccountSuffix",
    "ChainEnds",
    "ChainUseless",
    "CheckpointMissing",
    "ContainerNested",
    "CpuRatio",
    "CpusBilled",
    "CpusExceedNode",
    "DevicesOverridden",
    "GpuMeansDie",
    "GpusUnused",
    "GraceTooShort",
    "ImageArchitecture",
    "ImageFormat",
    "ImageNotOnComputeNodes",
    "ImageNotPinned",
    "ImageVendor",
    "InternetNeeded",
    "LauncherNested",
    "LimitUnknown",
    "MemoryBilled",
    "MemoryNotAllowed",
    "MemoryTooLarge",
    "NetworkOverridden",
    "OfflineOverridden",
    "PathInHome",
    "PathInMemory",
    "PathNotInContainer",
    "PathNotOnComputeNodes",
    "PathPurged",
    "PathRelative",
    "Placeholder",
    "PortFixed",
    "Price",
    "RegistryLimited",
    "RegistryUnreachable",
    "RendezvousOverridden",
    "ReservationRequired",
    "SecretInCommand",
    "SecretInEnv",
    "ShellSyntax",
    "SiteRequeues",
    "ThreadsTooMany",
    "TrackerOnline",
    "TtlWithoutRunId",
    "VariableNameInvalid",
    "WorkerCount",
]
"""What preflight finds by itself. What planning refuses keeps planning's own word; refusals.py has the list."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a JSON Patch (RFC 6902) of the TrainingJob."""

    op: Literal["add", "replace", "remove"]
    path: str
    value: JsonValue = None

    def as_json(self) -> dict[str, Any]:
        return {"op": self.op, "path": self.path} | ({} if self.op == "remove" else {"value": self.value})


Patch = tuple[Operation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. `message` and `fix` are a sentence each.

    `field` is a path as kube-apiserver writes it, like spec.env[0]; one that begins with site.spec is for the Site's
    administrator. `patch` is there only where nothing else could be meant. `cost` is what an attempt that runs for its
    whole timeLimit pays for nothing; of Price, what it pays in all.
    """

    id: str
    severity: Severity
    field: str
    message: str
    fix: str = ""
    patch: Patch = ()
    cost: Cost | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".rstrip()


def error(id: Id, field: str, message: str, fix: str, *, patch: Patch = ()) -> Finding:  # noqa: A002 - Finding's word
    return Finding(id=id, severity="error", field=field, message=message, fix=fix, patch=patch)


def warning(
    id: Id,  # noqa: A002 - Finding's word
    field: str,
    message: str,
    fix: str,
    *,
    patch: Patch = (),
    cost: Cost | None = None,
) -> Finding:
    return Finding(id=id, severity="warning", field=field, message=message, fix=fix, patch=patch, cost=cost)


def graded(*, certain: bool) -> Callable[..., Finding]:
    """`error` where nothing but failure can follow, else `warning`."""
    return error if certain else warning


def removed(name: str) -> Patch:
    """A spec without a field."""
    return (Operation("remove", f"/spec/{name}"),)


def written(name: str, value: JsonValue) -> Patch:
    """A spec with a field of this value, whether it stood there or not: add replaces a member (RFC 6902, 4.1)."""
    return (Operation("add", f"/spec/{name}", value),)


def attempts(job: TrainingJobSpec, number: int) -> Patch:
    """A spec with so many attempts in all."""
    if "retry" in job.model_fields_set:
        return written("retry/maxAttempts", number)
    return written("retry", {"maxAttempts": number})

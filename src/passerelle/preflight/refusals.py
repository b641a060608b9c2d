"""What planning refuses, as findings under planning's own word: the field, and the patch where one thing was meant.

Nothing is judged here a second time; a patch is given only where planning takes what it leads to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from pydantic import ValidationError

from passerelle import grace, sizing
from passerelle.errors import Invalid
from passerelle.preflight.finding import Finding, Operation, Patch, attempts, removed, written
from passerelle.preflight.request import Request, time_limit
from passerelle.routing import Route
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.trainingjob import Retry

FIELDS = {
    "AccountNotAllowed": "spec.account",
    "ConfigMapNotFound": "spec.files",
    "CopiesOverlap": "spec.data",
    "FilesInvalid": "spec.files",
    "FilesNotSupported": "spec.files",
    "FilesTooLarge": "spec.files",
    "GraceTooLong": "spec.checkpoint.grace",
    "ImageFormat": "spec.image",
    "LoginInvalid": "spec.imagePullSecrets",
    "LoginNotSupported": "spec.imagePullSecrets",
    "NamespaceNotAdmitted": "site.spec.admission",
    "NeedsFiles": "spec.files",
    "NodesTooFew": "spec.qos",
    "NodesTooMany": "spec.nodes",
    "PartitionNotFound": "site.spec.partition",
    "QosNotAllowed": "spec.qos",
    "QosTooSmall": "spec.qos",
    "RegistryUnreachable": "spec.image",
    "RunRootInvalid": "site.spec.runRoot",
    "ScriptOptionRefused": "spec.files",
    "ScriptTooLong": "spec.args",
    "SecretForbidden": "spec.envFrom",
    "SecretNotFound": "spec.envFrom",
    "SecretTooLarge": "spec.envFrom",
    "SizeInvalid": "spec.nodes",
    "TimeLimitTooLong": "spec.timeLimit",
    "TooManyGpusPerNode": "spec.gpusPerNode",
    "TooManySources": "spec.envFrom",
    "TotalNotPossible": "spec.gpus",
    "VariableInvalid": "spec.env",
    "VariableReserved": "spec.env",
    "WholeNodesOnly": "spec.gpusPerNode",
}
"""Where the reason of a refusal stands, unless the refusal itself tells; elsewhere it is the spec as a whole."""

_FIX = re.compile(
    r"(?P<what>.+?)[;:] (?P<fix>(?:bring|build|create|give|its administrator|leave|put|remove|write) .+)",
    re.DOTALL,
)


def findings(request: Request, refused: Invalid | None) -> Iterator[Finding]:
    """The refusals of the steps, and `refused`, planning's own, where no step has met it."""
    met = {error.reason for _, error in request.refusals}
    for field, error in request.refusals:
        yield _refined(request, finding(error, field))
    if refused is not None and refused.reason not in met:
        yield finding(refused)


def finding(error: Invalid, field: str | None = None) -> Finding:
    """A refusal as it stands."""
    told = _FIX.fullmatch(error.message)
    what, fix = (f"{told['what']}.", told["fix"]) if told else (error.message, "")
    return Finding(
        id=error.reason,
        severity="error",
        field=field or error.field or FIELDS.get(error.reason, "spec"),
        message=what,
        fix=fix[:1].upper() + fix[1:],
    )


def _refined(request: Request, found: Finding) -> Finding:
    """The finding with a better field or fix, and a patch, where planning would take what it leads to."""
    refine = _REFINE.get(found.id)
    return found if refine is None else refine(request, found)


def _too_large(request: Request, found: Finding) -> Finding:
    other = _larger_qos(request)
    if other is not None:
        return replace(
            found, id="QosTooSmall", field="spec.qos", fix=f"Write qos: {other}.", patch=written("qos", other)
        )
    if found.id == "TimeLimitTooLong":
        return _chained(request, found)
    return replace(_reserved(request, found), field=_size(request))


def _too_small(request: Request, found: Finding) -> Finding:
    return _without_qos(request, found) if isinstance(request.qos, str) else replace(found, field=_size(request))


def _qos_refused(request: Request, found: Finding) -> Finding:
    return replace(found, patch=removed("qos") if _is_planned_without(request, "qos") else ())


def _account_refused(request: Request, found: Finding) -> Finding:
    one = request.entry is not None and len(request.entry.accounts) == 1
    return replace(found, patch=removed("account") if one else ())


def _image_refused(request: Request, found: Finding) -> Finding:
    scheme, colon, reference = request.job.image.partition("docker://")
    if scheme or not colon or "@" in reference.partition("@sha256:")[0]:  # a login is proposed to nobody
        return found
    text = "A registry's image is written as in a Pod, without docker:// in front."
    return replace(found, message=text, fix=f"Write image: {reference}.", patch=written("image", reference))


def _variable_refused(request: Request, found: Finding) -> Finding:
    return replace(found, patch=without_variable(request, found.field))


def _gpus_per_node_refused(request: Request, found: Finding) -> Finding:
    total = request.job.gpus is not None and _is_planned_without(request, "gpus_per_node")
    return replace(found, patch=removed("gpusPerNode") if total else ())


def without_variable(request: Request, field: str) -> Patch:
    """What takes an entry out of env, by its field like spec.env[0]."""
    if len(request.job.env) == 1:
        return removed("env")
    return removed(f"env/{field.removeprefix('spec.env[').removesuffix(']')}")


def _size(request: Request) -> str:
    return "spec.gpus" if request.job.gpus is not None else "spec.nodes"


def _default_qos(request: Request) -> str | None:
    """What counts where the job names none."""
    return request.entry.qos[0] if request.entry is not None and request.entry.qos else None


def _others(request: Request) -> list[str]:
    """The other admitted QoS of the partition that take the job; of those without known facts, nothing is said."""
    if request.entry is None or not isinstance(request.qos, str) or request.partition is None:
        return []
    facts = [each for each in request.entry.qos if request.profile.qos_of(request.partition, each) is not None]
    return [each for each in facts if each != request.qos and request.takes(request.job, each)]


def _larger_qos(request: Request) -> str | None:
    """The only one that takes the job."""
    others = _others(request)
    return others[0] if len(others) == 1 else None


def _without_qos(request: Request, found: Finding) -> Finding:
    if request.job.qos is not None and _is_planned_without(request, "qos"):
        return replace(found, fix=f"Leave qos out, or {_lowered(found.fix)}", patch=removed("qos"))
    other = _larger_qos(request)
    return found if other is None else replace(found, fix=f"Write qos: {other}.", patch=written("qos", other))


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _chained(request: Request, found: Finding) -> Finding:
    """A chain of the longest attempts; only where attempts take up each other's checkpoint."""
    job, placed = request.job, request.placed
    longest = placed.longest_minutes if placed is not None else None
    if job.checkpoint is None or longest is None or seconds(job.checkpoint.grace) > grace.longest_grace(longest):
        return found
    limit = sizing.duration(longest)
    shorter = Operation("replace", "/spec/timeLimit", limit)
    needed = -(-request.asked_minutes // longest)
    if job.retry.max_attempts >= needed:
        return replace(found, fix=f"Write timeLimit: {limit}.", patch=(shorter,))
    try:
        Retry(max_attempts=needed)
    except ValidationError:  # more than a TrainingJob may have
        return found
    fix = f"Write timeLimit: {limit} and retry: {{maxAttempts: {needed}}}."
    return replace(found, fix=fix, patch=(shorter, *attempts(job, needed)))


def _reserved(request: Request, found: Finding) -> Finding:
    """Larger jobs may be taken by a partition that opens to a reservation alone."""
    partition, job = request.partition, request.job
    larger = partition and partition.larger and request.profile.partition(partition.larger)
    if not larger or not larger.needs_reservation or job.reservation is not None or request.site.partition is not None:
        return found
    reserved = request.routed(job.model_copy(update={"reservation": "any"}), request.qos_name, request.account_name)
    if not isinstance(reserved, Route) or not isinstance(time_limit(job, request.profile, reserved), int):
        return found
    fix = found.fix.removesuffix(".")
    return replace(
        found, fix=f"{fix}, or reservation: larger jobs run in partition {larger.name}, in one that is made for them."
    )


def _total_refused(request: Request, found: Finding) -> Finding:
    also = or_sharing(request)
    return replace(found, fix=f"{found.fix.removesuffix('.')}{also}") if also else found


def or_sharing(request: Request) -> str:
    """The end of a fix, where another partition shares its nodes."""
    there = request.sharing
    if there is None:
        return "."
    return (
        f"; or the Site's administrator can write partition: {there.name}, where jobs share nodes and pay their part."
    )


def _one_size(request: Request, found: Finding) -> Finding:
    job, partition = request.job, request.partition
    if job.gpus is None or job.nodes is None:
        return replace(found, field="spec.gpus")
    each = job.gpus_per_node or (partition.gpus_per_node if partition is not None else None)
    return replace(found, patch=removed("nodes") if each is not None and job.nodes * each == job.gpus else ())


def _is_planned_without(request: Request, field: str) -> bool:
    qos = _default_qos(request) if field == "qos" else request.qos_name
    return request.takes(request.job.model_copy(update={field: None}), qos)


_REFINE: dict[str, Callable[[Request, Finding], Finding]] = {
    "AccountNotAllowed": _account_refused,
    "ImageFormat": _image_refused,
    "NodesTooFew": _too_small,
    "NodesTooMany": _too_large,
    "QosNotAllowed": _qos_refused,
    "SizeInvalid": _one_size,
    "TimeLimitTooLong": _too_large,
    "TotalNotPossible": _total_refused,
    "TooManyGpusPerNode": _gpus_per_node_refused,
    "VariableReserved": _variable_refused,
    "WholeNodesOnly": _gpus_per_node_refused,
}

"""What an A-REX says of itself: the versions of its interface, and its GLUE2 document. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from passerelle.errors import Invalid, Misaddressed, Unavailable
from passerelle.gateways.arc.decode import texts
from passerelle.gateways.surveys import SitePartition

KNOWN = ("1.1", "1.0")
"""Newest first. What is asked for here is the same in both."""

_SLURM = "slurm"

SERVING = {"production": "UP", "queueing": "DOWN", "draining": "DRAIN", "closed": "INACTIVE"}
"""GLUE2's word for what a queue does with jobs -> Slurm's for a partition that does so."""


@dataclass(frozen=True, slots=True)
class Service:
    """The cluster's name, Slurm's release, and the runtime environments that the site has switched on."""

    cluster: str
    slurm: str
    environments: frozenset[str]

    def lists(self, environment: str) -> bool:
        """Names are told as the administrator wrote them, with or without a version behind them."""
        return environment.upper() in {name.upper() for name in self.environments}

    def wants(self, environment: str | None) -> str:
        """What must be done before options reach sbatch by this runtime environment; "" where nothing."""
        if environment is None:
            return (
                "No runtime environment is named, by which options reach sbatch: a job that asks for GPUs, an account "
                "or a QoS is refused; have the site enable one, and write its name into gateway.runtimeEnvironment."
            )
        if self.lists(environment):
            return ""
        return (
            f"The site's ARC has no runtime environment {environment}, by which options reach sbatch (it has: "
            f"{', '.join(sorted(self.environments)) or 'none'}); have the site enable it, or correct "
            "gateway.runtimeEnvironment of the Site."
        )


def version(body: Mapping[str, Any] | None) -> str:
    """The newest version of `GET rest` that is spoken here. Raises Misaddressed where there is none."""
    offered = {str(each) for each in texts((body or {}).get("version"))}
    for word in KNOWN:
        if word in offered:
            return word
    found = f"it offers {', '.join(sorted(offered))}" if offered else "none is offered there"
    raise Misaddressed(
        f"The address serves no ARC REST interface {' or '.join(KNOWN)} ({found}); write A-REX's base address into "
        "gateway.url, like https://arc.example.eu/arex, without /rest behind it.",
        reason="NoKnownVersion",
    )


def service(body: Mapping[str, Any] | None) -> Service:
    """Of `GET info`. Raises Unavailable for what is no such document, and Invalid for a batch system beside Slurm."""
    found = _first(_first(_first(_first(body, "Domains"), "AdminDomain"), "Services"), "ComputingService")
    identity = str(found.get("ID") or "")
    manager = _first(found, "ComputingManager")
    product = str(manager.get("ProductName") or "")
    cluster = identity.removeprefix("urn:ogf:ComputingService:").rpartition(":")[0]
    if not cluster or not product:
        text = "ARC tells neither its name nor its batch system yet; its information system may have just started."
        raise Unavailable(text, reason="ClusterUnknown")
    if product.lower() != _SLURM:
        text = f"The site's ARC stands in front of {product}, and Passerelle knows Slurm alone; name another gateway."
        raise Invalid(text, reason="NotSlurm")
    environments = texts(_first(manager, "ApplicationEnvironments").get("ApplicationEnvironment"))
    return Service(
        cluster,
        str(manager.get("ProductVersion") or ""),
        frozenset(_environment(each) for each in environments if isinstance(each, dict)),
    )


def partitions(body: Mapping[str, Any] | None) -> tuple[SitePartition, ...]:
    """The queues of `GET info`. The nodes of one are those of the execution environments that name it."""
    found = _first(_first(_first(_first(body, "Domains"), "AdminDomain"), "Services"), "ComputingService")
    places = _objects(_first(_first(found, "ComputingManager"), "ExecutionEnvironments"), "ExecutionEnvironment")
    shares = _objects(found, "ComputingShare")
    return tuple(_partition(share, places) for share in shares if share.get("MappingQueue"))


def _partition(share: Mapping[str, Any], places: list[dict[str, Any]]) -> SitePartition:
    counts = [
        str(place.get("TotalInstances") or "")
        for place in places
        if share.get("ID") in texts(_first(place, "Associations").get("ComputingShareID"))
    ]
    seconds = str(share.get("MaxWallTime") or "")
    return SitePartition(
        name=str(share["MappingQueue"]),
        state=SERVING.get(str(share.get("ServingState") or ""), ""),
        nodes=sum(map(int, counts)) if counts and all(each.isdecimal() for each in counts) else None,
        max_time_minutes=int(seconds) // 60 if seconds.isdecimal() else None,
    )


def _environment(told: Mapping[str, Any]) -> str:
    """ENV/X-1.0 is told as a name and a version."""
    version = str(told.get("AppVersion") or "")
    return f"{told.get('AppName')}-{version}" if version else str(told.get("AppName"))


def _objects(holder: object, key: str) -> list[dict[str, Any]]:
    """The objects below another: 1.0 tells a single one without a list around it."""
    found = texts(holder.get(key)) if isinstance(holder, dict) else []
    return [each for each in found if isinstance(each, dict)]


def _first(holder: object, key: str) -> dict[str, Any]:
    """An object below another, the first where there are several, an empty one where there is none."""
    return next(iter(_objects(holder, key)), {})

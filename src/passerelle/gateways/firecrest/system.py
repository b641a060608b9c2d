"""What `GET status/systems` says of one system: how its scheduler is reached, and whether it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from passerelle.errors import Invalid, Unavailable
from passerelle.gateways.firecrest.errors import SCHEDULER_UNAVAILABLE

Mode = Literal["ssh", "hybrid", "rest"]

OPS_LIMIT = 5 * 1024 * 1024
"""Bytes that a file operation takes or gives at once, where the server does not tell."""

PART_LIMIT = 2 * 1024 * 1024 * 1024
"""Bytes of a part of a large file, where the server does not tell: its own default."""

_NEEDED = ("scheduler", "ssh")
_LINE = 200


@dataclass(frozen=True, slots=True)
class System:
    """`version` is the scheduler's, as the server's configuration has it. `large` is the way of large files, "" where
    it isn't told, as before 2.5; `part_limit` the most that a part of one takes.
    """

    name: str
    mode: Mode
    version: str
    ops_limit: int
    trouble: str = ""
    large: str = ""
    part_limit: int = PART_LIMIT

    def refuse(self, *, allow_rest: bool) -> None:
        """Raise Invalid for a mode in which jobs run without their options, Unavailable where a service is unwell."""
        if self.mode == "rest" and not allow_rest:
            text = (
                f"FirecREST's system {self.name} is in rest mode, which drops a job's nodes, GPUs and time limit: it "
                "would run on its partition's defaults. Ask the site for another door; where the defaults suffice, "
                "write allowRestMode: true into the Site's gateway."
            )
            raise Invalid(text, reason="RestModeRefused")
        if self.trouble:
            text = f"FirecREST passes nothing on to {self.name}: {self.trouble}."
            raise Unavailable(text, reason=SCHEDULER_UNAVAILABLE, sent=False)


def find(body: dict[str, Any], name: str) -> System:
    """The system of this name, in the answer. Raises Invalid with the names that there are."""
    systems = [each for each in body.get("systems") or [] if isinstance(each, dict)]
    entry = next((each for each in systems if str(each.get("name")).lower() == name.lower()), None)
    if entry is None:
        names = ", ".join(sorted(str(each.get("name")) for each in systems)) or "none"
        text = f"FirecREST has no system {name}; write one of {names} into gateway.system."
        raise Invalid(text, reason="SystemNotFound")
    scheduler = _object(entry.get("scheduler"))
    kind = str(scheduler.get("type") or "slurm").lower()
    if kind != "slurm":
        raise Invalid(f"The scheduler of FirecREST's system {name} is {kind}, and must be slurm.", reason="NotSlurm")
    operation = _object(entry.get("dataOperation"))
    told, large = operation.get("max_ops_file_size"), _object(operation.get("data_transfer"))
    multipart = _object(large.get("multipart"))
    most = multipart.get("max_part_size", multipart.get("maxPartSize"))
    return System(
        name=name.lower(),
        mode=_mode(scheduler),
        version=str(scheduler.get("version") or ""),
        ops_limit=told if isinstance(told, int) and told > 0 else OPS_LIMIT,
        trouble=_trouble(entry.get("servicesHealth")),
        large=str(large.get("serviceType") or large.get("service_type") or ("none" if _has_none(operation) else "")),
        part_limit=most if isinstance(most, int) and most > 0 else PART_LIMIT,
    )


def _has_none(operation: dict[str, Any]) -> bool:
    """Whether the server says that it has no way for large files."""
    return "data_transfer" in operation and operation["data_transfer"] is None


def _mode(scheduler: dict[str, Any]) -> Mode:
    """Before 2.4 a system with an apiUrl was asked by REST, and nothing was said about it."""
    match scheduler.get("connectionMode"):
        case "ssh":
            return "ssh"
        case "hybrid":
            return "hybrid"
        case None if not scheduler.get("apiUrl"):
            return "ssh"
    return "rest"


def _trouble(services: object) -> str:
    """The services without which no job can be handed over, and what is wrong with them."""
    found = [each for each in services if isinstance(each, dict)] if isinstance(services, list) else []
    sick = [each for each in found if each.get("serviceType") in _NEEDED and each.get("healthy") is False]
    words = [f"{each['serviceType']} is unhealthy, {_line(each.get('message'))}" for each in sick]
    return "; ".join(words).rstrip(".")


def _line(message: object) -> str:
    return str(message or "without a word")[:_LINE].partition("\n")[0]


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

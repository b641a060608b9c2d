"""`passerelle check`: what preflight has to say of a TrainingJob, at one Site or at many."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from passerelle import profiles
from passerelle.cli import machines, offline
from passerelle.cli.manifests import Manifests
from passerelle.errors import Invalid
from passerelle.objects import TrainingJob
from passerelle.preflight import Finding
from passerelle.v1alpha1.site import SiteSpec

FINDINGS = 1
"""The exit code where the site would refuse the job, or the job would fail."""
_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_SANDBOX = "sandbox"


class Format(StrEnum):
    """How findings are printed."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class _Place:
    """A Site under its name. `known`: it is a manifest's, so that its admission counts."""

    name: str
    spec: SiteSpec
    known: bool


_Told = tuple[TrainingJob, _Place, tuple[Finding, ...]]


def check(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="TrainingJobs, and their ConfigMaps and Secrets, as YAML; - reads standard input.", metavar="FILE..."
        ),
    ],
    *,
    site: Annotated[str | None, typer.Option(help="Another Site than the TrainingJob names.", metavar="NAME")] = None,
    all_sites: Annotated[
        bool, typer.Option("--all-sites", help="Every Site of the files; every machine, where they hold none.")
    ] = False,
    site_file: Annotated[
        Path | None, typer.Option(help="Sites as YAML; a FILE may hold them, too.", metavar="SITE.yaml")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="A machine, where there is no Site yet.", metavar="NAME")] = None,
    name: Annotated[str | None, typer.Option(help="One of several TrainingJobs.")] = None,
    output: Annotated[Format, typer.Option("--format", help="For people, or for programs.")] = Format.TABLE,
) -> None:
    """Say what would go wrong at a site, and what to write instead. Exits with 1 where there are errors."""
    if sum((site is not None, all_sites, profile is not None)) > 1:
        raise Invalid("Write one of --site, --all-sites and --profile.")
    read = offline.read(files, site_file)
    jobs = [read.job(name)] if name is not None or len(read.jobs) < 2 else read.jobs  # noqa: PLR2004 - several
    told: list[_Told] = []
    for job in jobs:
        places = _all(job, read) if all_sites else [_one(job, read, site, profile)]
        told += [(job, place, offline.findings(job, place.spec, read, known=place.known)) for place in places]
    for line in _unchecked(told, read):
        typer.echo(f"note: {line}", err=True)
    if output is Format.JSON:
        typer.echo(json.dumps([_as_json(*each) for each in told], indent=2, ensure_ascii=False))
    else:
        _print(told)
    if any(finding.severity == "error" for _, _, found in told for finding in found):
        raise typer.Exit(FINDINGS)


def _unchecked(told: list[_Told], read: Manifests) -> Iterator[str]:
    """What the files were too few for."""
    if any(not place.known for _, place, _ in told):
        yield "No Site was given, so account, QoS and run root were not checked; name a file with it as --site-file."
    for job in dict.fromkeys(job.key for job, _, _ in told):
        missing = offline.missing(next(each for each, _, _ in told if each.key == job), read)
        if missing:
            yield (
                f"TrainingJob {job.name}: what no file holds was not checked: {', '.join(missing)}; "
                "name their files, too."
            )


def _one(job: TrainingJob, read: Manifests, site: str | None, profile: str | None) -> _Place:
    """Raises Invalid where there is no such Site."""
    if site is not None and site in read.sites:
        return _Place(site, read.sites[site], known=True)
    asked = profile if profile is not None else site
    machine = machines.named(asked) if asked is not None else machines.of_site(job.site, read.sites)
    known = machine is None and job.site in read.sites
    return _Place(machine or job.site, offline.site_of(job, read, machine), known=known)


def _all(job: TrainingJob, read: Manifests) -> list[_Place]:
    if read.sites:
        return [_Place(name, spec, known=True) for name, spec in sorted(read.sites.items())]
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    names = [each for each in profiles.names() if not each.startswith(_SANDBOX)]
    return [_Place(each, offline.made(each, job.spec, job.key.namespace), known=False) for each in names]


def _as_json(job: TrainingJob, place: _Place, found: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        "trainingJob": {"namespace": job.key.namespace, "name": job.key.name},
        "site": place.name,
        "profile": place.spec.profile,
        "findings": [
            {
                "id": each.id,
                "severity": each.severity,
                "field": each.field,
                "message": each.message,
                "fix": each.fix,
                "patch": [operation.as_json() for operation in each.patch],
                "cost": None if each.cost is None else dataclasses.asdict(each.cost),
            }
            for each in found
        ],
    }


def _print(told: list[_Told]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for number, (job, place, found) in enumerate(told):
        if number:
            console.print()
        machine = f" ({place.spec.profile})" if place.name != place.spec.profile else ""
        console.print(Text(f"{job.key.name} at {place.name}{machine}: {_counted(found)}", style="bold"))
        for each in found:
            place_of_it = Text(f"  {each.severity:<7}  {each.id}", style=_STYLES[each.severity])
            console.print(place_of_it, Text(each.field), sep="  ")
            console.print(Text(f"           {each}"))


def _counted(found: tuple[Finding, ...]) -> str:
    counted = Counter(each.severity for each in found)
    words = [f"{counted[each]} {each}{'' if counted[each] == 1 else 's'}" for each in ("error", "warning")]
    return ", ".join(each for each in words if not each.startswith("0")) or "nothing to change"

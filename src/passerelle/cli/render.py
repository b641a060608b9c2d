"""`passerelle render`: the batch script and the options that a TrainingJob comes to."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from passerelle import render as rendering
from passerelle.batch import Batch
from passerelle.cli import machines, offline
from passerelle.errors import Invalid
from passerelle.header import header
from passerelle.shell import assignment


class Format(StrEnum):
    """What is printed."""

    SCRIPT = "script"
    OPTIONS = "options"
    SBATCH = "sbatch"


def render(
    file: Annotated[
        Path, typer.Argument(help="A TrainingJob, and its ConfigMaps, as YAML; - reads standard input.", metavar="FILE")
    ],
    site_file: Annotated[
        Path | None, typer.Option(help="A Site as YAML; FILE may hold it, too.", metavar="SITE.yaml")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="A machine, where there is no Site yet.", metavar="NAME")] = None,
    name: Annotated[str | None, typer.Option(help="Which TrainingJob, where FILE holds several.")] = None,
    output: Annotated[
        Format,
        typer.Option(
            "--format",
            help="script: what runs. options: what is asked of Slurm, as JSON. sbatch: both, as one script for sbatch.",
        ),
    ] = Format.SCRIPT,
) -> None:
    """Print the batch script that a TrainingJob comes to, with no cluster at hand."""
    if site_file is not None and profile is not None:
        raise Invalid("Write either --site-file or --profile, not both.")
    read = offline.read([file], site_file)
    job = read.job(name)
    machine = machines.named(profile) if profile is not None else machines.of_site(job.site, read.sites)
    site = offline.site_of(job, read, machine)
    plan = offline.planned(job, site, read)
    batch, payload = rendering.packed(plan, carried=offline.carried(site))
    if payload is not None:
        typer.echo(f"note: The files don't fit into the script; they travel beside it, to {payload.path}.", err=True)
    if plan.is_sealed:
        typer.echo(f"note: What comes of Secrets travels beside the script, to {plan.sealed_path}.", err=True)
    typer.echo({Format.SCRIPT: script, Format.OPTIONS: options, Format.SBATCH: sbatch}[output](batch), nl=False)


def script(batch: Batch) -> str:
    return batch.script


def options(batch: Batch) -> str:
    """Options and environment as JSON."""
    told = {"options": dataclasses.asdict(batch.options), "environment": dict(batch.environment)}
    return json.dumps(told, indent=2) + "\n"


def sbatch(batch: Batch) -> str:
    """The script with its options as #SBATCH lines, and its environment in front of the first command."""
    first, _, rest = batch.script.partition("\n")
    exports = [f"export {assignment(name, value)}" for name, value in batch.environment]
    try:
        lines = [first, *header(batch.options), *exports, rest]
    except ValueError as error:
        raise Invalid(f"sbatch can't take {error}; use another name, or --format options.") from None
    return "\n".join(lines)

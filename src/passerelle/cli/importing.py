"""`passerelle import`: what people have already, as TrainingJobs. (`import.py` could not be imported.)"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from passerelle.cli import files
from passerelle.cli.written import written
from passerelle.confidential import hosts_only
from passerelle.imports import convert


class Kind(StrEnum):
    """What a file is; the others are the kinds of `imports`."""

    AUTO = "auto"
    PYTORCHJOB = "pytorchjob"
    MPIJOB = "mpijob"
    TRAINJOB = "trainjob"
    JOB = "job"
    SBATCH = "sbatch"
    SKYPILOT = "skypilot"


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A PyTorchJob, MPIJob, TrainJob or Job, an sbatch script, or a SkyPilot task; - reads standard input.",
            metavar="FILE",
        ),
    ],
    kind: Annotated[Kind, typer.Option(help="What FILE is.", case_sensitive=False)] = Kind.AUTO,
    site: Annotated[str | None, typer.Option(help="The Site that shall run it.", metavar="NAME")] = None,
) -> None:
    """Turn what you have into a TrainingJob, and say what could not be carried over.

    The manifest goes to standard output, with the notes as comments; the notes alone go to standard error.
    """
    found = convert(files.read(file), None if kind is Kind.AUTO else kind.value, site)
    texts = []
    for each in found:
        title = f"From {each.source}." + (" Look at these before you apply it:" if each.notes else "")
        notes = [hosts_only(note) for note in each.notes]
        texts.append(written(each.manifest, notes, title))
        for note in notes:
            typer.echo(f"note: {note}", err=True)
    typer.echo("---\n".join(texts), nl=False)

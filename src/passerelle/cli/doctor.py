"""`passerelle sites doctor`: whether a Site can be used, and what to do where it can't."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from passerelle.cli import cluster, files, manifests
from passerelle.cli.cluster import Cluster
from passerelle.doctor import Check
from passerelle.errors import Invalid
from passerelle.examination import Subject, Trial, examine
from passerelle.flight import Flight
from passerelle.settings import Settings

WRONG = 1
"""The exit code where something is wrong; what is only a warning leaves it 0."""

WAIT_MINUTES = 10
"""For a canary, where nobody says otherwise: a site's queue may be longer."""

_PROVEN_BY_A_JOB = frozenset({"accounts", "qos", "partition", "run root", "canary"})

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red", "open": "cyan"}
_WORDS = {"open": "-"}


def doctor(
    name: Annotated[
        str | None, typer.Argument(help="The Site, as `kubectl get hpcsites` lists it.", metavar="NAME")
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option(help="A Site as YAML, where there is no cluster yet.", metavar="SITE.yaml")
    ] = None,
    secret_dir: Annotated[
        Path | None,
        typer.Option(help="With --file: its Secrets, a directory for each, a file for each key.", metavar="DIR"),
    ] = None,
    canary: Annotated[
        bool, typer.Option("--canary", help="Run a job of one minute at the site, too, once you agree to its price.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to the canary's price.")] = False,
    wait: Annotated[int, typer.Option(help="Minutes to wait for the canary, at most.", min=1)] = WAIT_MINUTES,
    operator_namespace: Annotated[
        str,
        typer.Option(help="The operator's namespace, which holds the Sites' Secrets.", envvar="PASSERELLE_NAMESPACE"),
    ] = Settings.namespace,
) -> None:
    """Ask a Site and its site all that must be right before a job runs. Exits with 1 where something is wrong."""
    trial = _trial(wait, agreed=yes) if canary else None
    if file is not None:
        subject = _of_file(name, file, secret_dir)
        _conclude(subject.name, asyncio.run(_tell(subject, trial)))
        return
    if name is None:
        raise Invalid("Name a Site, as `kubectl get hpcsites` lists it, or a file that holds one: --file SITE.yaml.")

    async def look(here: Cluster) -> list[Check]:
        return await _tell(await _of_cluster(here, name), trial)

    _conclude(name, cluster.ask(look, operator_namespace))


def _trial(minutes: int, *, agreed: bool) -> Trial:
    def agree(price: str) -> bool:
        _say(price)
        if agreed:
            return True
        if not sys.stdin.isatty():
            raise Invalid("Nobody is here to agree to the canary's price; write --yes.")
        return typer.confirm("Send it?", err=True)

    return Trial(agree=agree, flight=Flight(patience=minutes * 60.0, say=_say))


def _say(text: str) -> None:
    typer.echo(text, err=True)


async def _of_cluster(here: Cluster, name: str) -> Subject:
    found = await here.site_object(name)
    if found.spec is None:
        raise Invalid(f"Site {name} can't be used: {found.invalid}")
    return Subject(
        name=name,
        spec=found.spec,
        secret=lambda secret: here.secret(name, secret),
        home=f"{here.secrets}/",
        status=found.status,
        generation=found.generation,
    )


def _of_file(name: str | None, file: Path, secrets: Path | None) -> Subject:
    """Raises Invalid where the file has no such Site, or no Secret is given."""
    sites = manifests.read(files.read(file)).sites
    chosen = name or (next(iter(sites)) if len(sites) == 1 else None)
    if chosen is None or chosen not in sites:
        there = f"the Sites {', '.join(sites)}: name one" if sites else "no Site"
        raise Invalid(f"{file} holds {there}.")
    if secrets is None:
        raise Invalid("Name the directory of the Site's Secrets with --secret-dir: DIR/SECRET/KEY.")

    async def read(secret: str) -> dict[str, bytes] | None:
        place = secrets / secret
        if not place.is_dir():
            return None
        return {each.name: each.read_bytes() for each in place.iterdir() if each.is_file()}

    return Subject(name=chosen, spec=sites[chosen], secret=read, home=f"{secrets}/")


async def _tell(subject: Subject, trial: Trial | None) -> list[Check]:
    """Print each check as it comes."""
    console = Console(highlight=False, soft_wrap=True)
    told: list[Check] = []
    async for each in examine(subject, trial=trial):
        told.append(each)
        _print(console, each)
    return told


def _print(console: Console, check: Check) -> None:
    word = _WORDS.get(check.verdict, check.verdict)
    cause = f"{check.id}: " if check.id else ""
    console.print(Text(f"{word:<8}", style=_STYLES[check.verdict]), Text(f"{check.subject:<11}"), sep="", end="")
    console.print(Text(f"{cause}{check}"))


def _conclude(name: str, told: list[Check]) -> None:
    wrong, warnings = (sum(each.verdict == verdict for each in told) for verdict in ("wrong", "warning"))
    said = f"{wrong} thing{'' if wrong == 1 else 's'} to put right" if wrong else _well(told)
    typer.echo(f"Site {name}: {said}" + (f", {warnings} warning{'' if warnings == 1 else 's'}" if warnings else ""))
    if wrong:
        raise typer.Exit(WRONG)


def _well(told: list[Check]) -> str:
    """What may be said where nothing is wrong: what only a job can tell is open until one has come back."""
    unasked = [subject for each in told if each.verdict == "open" for subject in (each.subject, *each.others)]
    left = [subject for subject in dict.fromkeys(unasked) if subject in _PROVEN_BY_A_JOB]
    if not left or any(each.subject == "canary" and each.verdict == "ok" for each in told):
        return "ready for TrainingJobs"
    return f"nothing wrong found; only a job can tell: {', '.join(left)} (--canary sends one)"

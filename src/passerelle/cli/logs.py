"""`passerelle logs`: the end of a TrainingJob's log, read at the site through the Site's own door."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from passerelle.cli import cluster
from passerelle.cli.cluster import Cluster
from passerelle.errors import Invalid, Missing, PasserelleError
from passerelle.gateways.base import Files, Gateway
from passerelle.objects import Key, TrainingJob
from passerelle.periods import periods
from passerelle.profiles import load
from passerelle.profiles.machine import LEAST_PERIOD_SECONDS
from passerelle.settings import Settings
from passerelle.tail import Pace, follow, last_lines
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob_status import Attempt

LINES = 100
"""Shown where nothing else is asked for: a training's whole log can be gigabytes, and is read over a login node."""

LEAST_PAUSE = 2.0
"""Seconds between two looks at a log, at least: a login node serves others, too."""


def logs(
    name: Annotated[str, typer.Argument(help="The TrainingJob.", metavar="NAME")],
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Its namespace; the kubeconfig's where unset.")
    ] = None,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written, until the attempt has ended.")
    ] = False,
    attempt: Annotated[int | None, typer.Option(help="Which attempt; the newest where unset.", min=1)] = None,
    tail: Annotated[int, typer.Option(help="Lines from the end.", min=0)] = LINES,
    operator_namespace: Annotated[
        str,
        typer.Option(help="The operator's namespace, which holds the Sites' Secrets.", envvar="PASSERELLE_NAMESPACE"),
    ] = Settings.namespace,
) -> None:
    """Show the end of a TrainingJob's log, as it stands at the site."""

    async def show(here: Cluster) -> None:
        key = Key(namespace or await here.kube.default_namespace(), name)
        await _show(here, key, attempt, tail, following=following, write=_Screen().write)

    cluster.ask(show, operator_namespace)


async def _show(
    here: Cluster, key: Key, number: int | None, lines: int, *, following: bool, write: Callable[[bytes], None]
) -> None:
    job = await here.trainingjob(key)
    chosen = _attempt(job, number)
    spec = await here.site(job.site)
    async with here.door(job.site, spec) as gateway:
        if not isinstance(gateway, Files):
            raise Invalid(_elsewhere(job, chosen, spec))
        await _read_job(gateway, chosen)
        if not following:
            try:
                text, _ = await last_lines(gateway, chosen.log_path, lines)
            except Missing:
                raise Invalid(await _missing(gateway, job.site, chosen)) from None
            write(text)
            return
        period = _period(spec)
        pace = Pace(max(LEAST_PAUSE, period / 10), period)
        offset = await _begin(gateway, job.site, chosen, lines, write)

        async def ended() -> bool:
            now = await here.trainingjob(key)
            found = next((each for each in now.status.attempts if each.number == chosen.number), chosen)
            return found.end_time is not None

        async def wait() -> None:
            await asyncio.sleep(pace.pause())

        async for piece in follow(gateway, chosen.log_path, offset, ended=ended, pause=wait):
            pace.grew()
            write(piece)


def _period(spec: SiteSpec) -> float:
    """Seconds between two looks of the operator: a log that does not grow is asked for no more often."""
    try:
        return periods(spec, load(spec.profile)).look
    except Invalid:  # the operator's image may have profiles of its own
        return max(seconds(spec.polling_period), LEAST_PERIOD_SECONDS)


async def _read_job(gateway: Gateway, attempt: Attempt) -> None:
    """ARC shows a log through its job: where that is not known, all of the user's are read, a week of them."""
    if attempt.job_id is not None:
        with contextlib.suppress(PasserelleError):
            await gateway.get([attempt.job_id])


async def _begin(gateway: Gateway, site: str, attempt: Attempt, lines: int, write: Callable[[bytes], None]) -> int:
    """The log so far; a job that waits has none yet, and its log is followed from the first byte on. Raises Invalid
    where the Site leads to somebody who may never see it.
    """
    assert isinstance(gateway, Files)  # noqa: S101 -- asked before
    try:
        text, offset = await last_lines(gateway, attempt.log_path, lines)
    except Missing:
        if elsewhere := await _of_another(gateway, site, attempt):
            raise Invalid(elsewhere) from None
        typer.echo(f"{_nothing_yet(attempt)} Waiting for it.", err=True)
        return 0
    write(text)
    return offset


def _attempt(job: TrainingJob, number: int | None) -> Attempt:
    """Raises Invalid where there is none with a log."""
    attempts = job.status.attempts
    if not attempts:
        text = f"TrainingJob {job.key.name} has no attempt yet; `kubectl describe tj {job.key.name}` tells why."
        raise Invalid(text)
    found = attempts[-1] if number is None else next((each for each in attempts if each.number == number), None)
    if found is None:
        known = ", ".join(str(each.number) for each in attempts)
        raise Invalid(f"TrainingJob {job.key.name} has no attempt {number} on record; write one of {known}.")
    if not found.log_path:
        raise Invalid(f"Attempt {found.number} of {job.key.name} is not at the site yet; it has no log.")
    return found


async def _missing(gateway: Gateway, site: str, attempt: Attempt) -> str:
    return await _of_another(gateway, site, attempt) or _nothing_yet(attempt)


async def _of_another(gateway: Gateway, site: str, attempt: Attempt) -> str:
    """Whom the Site leads to, where that is not who submitted the attempt; else "". A site shows nobody another's."""
    who = (await gateway.probe()).identity
    if (who.cluster, who.user) == (attempt.cluster, attempt.user):
        return ""
    return (
        f"Attempt {attempt.number} is of {attempt.user} on cluster {attempt.cluster}, and Site {site} leads to cluster "
        f"{who.cluster} as {who.user} now, to whom its log is not shown. Point the Site back, or read "
        f"{attempt.log_path} at the site."
    )


def _nothing_yet(attempt: Attempt) -> str:
    return f"Attempt {attempt.number} has written no log yet: there is no {attempt.log_path} at the site."


def _elsewhere(job: TrainingJob, attempt: Attempt, spec: SiteSpec) -> str:
    """Where the log is to be read, and what of it is known here."""
    said = next((each.message for each in job.status.conditions if each.type == "Succeeded"), "")
    known = f" What is known here: {said}" if said and job.status.attempts[-1].number == attempt.number else ""
    return (
        f"Site {job.site} is reached through {spec.gateway.driver}, which has no files. The log of attempt "
        f"{attempt.number} is {attempt.log_path} at the site.{known}"
    )


class _Screen:
    """Bytes as text: a character of several bytes may come in two pieces."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def write(self, piece: bytes) -> None:
        sys.stdout.write(self._decode(piece))
        sys.stdout.flush()

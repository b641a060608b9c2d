"""The flight of a canary: submitted once, watched to its end within bounds, and cancelled wherever we leave it early.

A submit is never tried again: where nobody knows what became of it, the site is looked at for its name. Whoever
interrupts the wait leaves no job behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from passerelle.doctor.canary import Canary, landed
from passerelle.doctor.check import Check, refused
from passerelle.errors import PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import DAY_SECONDS, Accounting, Gateway
from passerelle.gateways.courtesy import LONGEST_PATIENCE
from passerelle.profiles import Profile
from passerelle.reports import Reports
from passerelle.slurm import RemoteJob, Stage
from passerelle.waiting import wait as why_it_waits

LOOK_SECONDS, LONGEST_LOOK_SECONDS = 5.0, 60.0
"""Between two looks at one job, for some minutes; twice as long each time where the site does not answer."""

LOST_LOOKS = 3
"""How often a job that neither listing shows is looked for, before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """How long it is waited for, and who hears of it meanwhile."""

    patience: float
    say: Callable[[str], None]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = lambda: asyncio.get_running_loop().time()


async def fly(gateway: Gateway, canary: Canary, profile: Profile, flight: Flight) -> AsyncIterator[Check]:
    """What becomes of it."""
    job_id: str | None = None
    over = False
    try:
        try:
            job_id = await _submitted(gateway, canary, flight)
        except PasserelleError as error:
            over = True
            yield _not_taken(error, canary)
            return
        flight.say(f"Canary: job {job_id} is submitted; Ctrl-C cancels it.")
        job = await _ended(gateway, job_id, flight)
        if job is None:
            yield _lost(job_id, canary)
        elif job.stage is not Stage.ENDED:
            text = f"Job {job_id} did not end within {flight.patience / 60:g} min, and is cancelled."
            reason = why_it_waits(job.state_reason, job_id)
            fix = f"{reason.message} Ask again with a longer --wait." if job.stage is Stage.QUEUED else "See its log."
            yield Check("canary", "wrong" if reason.in_vain else "warning", text, fix, reason.reason)
        else:
            over = True
            reports = Reports(canary.plan.name, lambda *_: canary.plan.run_directory, flight.clock)
            (job,) = await reports.ended(gateway, [job])
            for each in landed(job, profile, canary.plan):
                yield each
    finally:
        if not over:
            await _cancelled(gateway, job_id, canary, flight)


async def _submitted(gateway: Gateway, canary: Canary, flight: Flight) -> str:
    """The job's id. A submit whose answer is lost is looked for by its name, once all is settled."""
    try:
        return await gateway.submit(canary.batch)
    except Unavailable as error:
        if not error.sent:
            raise
        flight.say("Canary: the answer to its submit was lost; it is looked for by its name.")
        await flight.sleep(gateway.settle_seconds)
        found = await _named(gateway, canary)
        if found is None:
            raise
        return found


async def _named(gateway: Gateway, canary: Canary) -> str | None:
    name = canary.plan.marker
    jobs = list(await gateway.find())
    if isinstance(gateway, Accounting) and all(job.name != name for job in jobs):
        jobs = list(await gateway.accounted(names=[name], within=DAY_SECONDS))
    return next((job.job_id for job in jobs if job.name == name), None)


async def _ended(gateway: Gateway, job_id: str, flight: Flight) -> RemoteJob | None:
    """Its last record: of a job that has ended, or that still lives when patience ends. None: the site lost it."""
    until, said, missed, pause = flight.clock() + flight.patience, "", 0, LOOK_SECONDS
    last: RemoteJob | None = None
    while True:
        try:
            found = next(iter(await gateway.get([job_id])), None)
            if found is None and isinstance(gateway, Accounting):
                found = next(iter(await gateway.accounted(job_ids=[job_id])), None)
        except Unavailable as error:
            found, told = last, f"{error.message} It is asked again."
            pause = max(min(pause * 2, LONGEST_LOOK_SECONDS), min(error.retry_after or 0.0, LONGEST_PATIENCE))
        else:
            pause = LOOK_SECONDS
            missed = missed + 1 if found is None else 0
            told = "is not listed yet" if found is None else _how(found)
        last = found or last
        if told != said:
            flight.say(f"Canary: job {job_id}: {told}")
            said = told
        if (last is not None and last.stage is Stage.ENDED) or flight.clock() >= until:
            return last
        if missed >= LOST_LOOKS and last is None:
            return None
        await flight.sleep(pause)


def _how(job: RemoteJob) -> str:
    if job.stage is Stage.QUEUED and job.state_reason:
        return f"waits ({job.state_reason})"
    return {Stage.QUEUED: "waits", Stage.RUNNING: "runs", Stage.ENDING: "ends", Stage.ENDED: "has ended"}[job.stage]


def _not_taken(error: PasserelleError, canary: Canary) -> Check:
    if isinstance(error, Rejected):
        fix = "The Site's partition, accounts and QoS are what it asked with; put right what the message names."
        return Check("canary", "wrong", error.message, fix, error.reason)
    if isinstance(error, Unavailable) and error.sent:
        text = f"It isn't known whether the site took the canary: {error.message}"
        fix = f"Look for it at the site: squeue --name={canary.plan.marker}. It ends by itself within a minute."
        return Check("canary", "wrong", text, fix, error.reason)
    return refused("canary", error)


def _lost(job_id: str, canary: Canary) -> Check:
    text = f"The site took job {job_id}, and shows it in no listing."
    fix = f"Ask the site whether your user may see its own jobs: squeue --name={canary.plan.marker}."
    return Check("canary", "wrong", text, fix, "JobNotShown")


async def _cancelled(gateway: Gateway, job_id: str | None, canary: Canary, flight: Flight) -> None:
    """End it, wherever it is; a submit that was interrupted may have been taken."""
    try:
        found = job_id or await _named(gateway, canary)
        if found is None:
            flight.say(f"Canary: the site shows no job {canary.plan.marker}; it may take it yet, for a minute at most.")
            return
        await gateway.cancel(found)
        flight.say(f"Canary: job {found} is cancelled.")
    except PasserelleError as error:
        flight.say(f"Canary: it could not be cancelled: {error.message} It ends by itself after a minute.")

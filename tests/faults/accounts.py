"""What a site says of the jobs of some runs: its queue, its accounting, and the trainers themselves.

A-REX gives Slurm a name that it has cut short, with the attempt's number: its own log knows the whole one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Protocol

from faults.events import Row
from faults.history import Job, run_of
from passerelle_sandbox.site import arc_server

_EPOCH = ("env", "SLURM_TIME_FORMAT=%s")
_AREX_JOB = re.compile(r'Started - job id: (\w+), .*? name: "([^"]*)"')
LIVE, ALL = "PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING", "all"


class Shell(Protocol):
    """Whoever can run a command at a site as root."""

    async def on_site(self, *words: str) -> str: ...


async def queue(shell: Shell, runs: Collection[str], states: str = LIVE) -> list[Row]:
    """The jobs of these runs that the scheduler has, in these states."""
    words = ("squeue", "--noheader", f"--states={states}", "--format=%A|%j|%T|%V|%N|%Z")
    return queued(await shell.on_site(*_EPOCH, *words), runs, await _arex(shell))


async def accounted(shell: Shell, runs: Collection[str], root: str = "") -> list[Row]:
    """Every life of every job that accounting has heard of and that is of these runs, or lies below their root."""
    words = ("sacct", "--allusers", "--parsable2", "--noheader", "--allocations", "--duplicates")
    fields = "--format=jobid,jobname,state,submit,end,nodelist,workdir"
    return rows(await shell.on_site(*_EPOCH, *words, fields, "--starttime=now-1days"), runs, await _arex(shell), root)


async def _arex(shell: Shell) -> dict[str, str]:
    """Of A-REX's jobs, by their ids there, what they were submitted as; none where there is no A-REX."""
    return dict(_AREX_JOB.findall(await shell.on_site("sh", "-c", f"cat {arc_server.JOB_LOG} || true")))


async def words(shell: Shell, root: str, kind: str) -> dict[str, list[str]]:
    """By marker, the jobs whose trainers wrote a line of this kind (executed, ended) into their run's directory."""
    said = await shell.on_site("sh", "-c", f"grep -H . {root}/*/{kind}-* /dev/null || true")
    return written(said)


def queued(said: str, runs: Collection[str], arex: Mapping[str, str]) -> list[Row]:
    """squeue's lines."""
    found = []
    for line in said.splitlines():
        job_id, written, state, submitted, node, place = line.split("|")
        if run_of(name := _marker(written, place, arex)) in runs:
            found.append(Row(Job(job_id, name, state, _number(submitted)), node))
    return found


def rows(said: str, runs: Collection[str], arex: Mapping[str, str], root: str = "") -> list[Row]:
    """sacct's lines."""
    found = []
    for line in said.splitlines():
        job_id, written, state, submitted, ended, node, place = line.split("|")
        if run_of(name := _marker(written, place, arex)) in runs or (root and place.startswith(f"{root}/")):
            word, _, by = state.partition(" by ")
            end = _number(ended)
            job = Job(job_id, name, word.split()[0], _number(submitted), over=end > 0, ended=end, by=by)
            found.append(Row(job, node))
    return found


def written(said: str) -> dict[str, list[str]]:
    """grep's lines."""
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        path, _, word = line.rpartition(":")
        run, file = path.split("/")[-2:]
        found.setdefault(f"{run}-{file.rpartition('-')[2]}", []).append(word)
    return found


def compared(accounting: Collection[Row], scheduler: Collection[Row]) -> list[Job]:
    """Accounting's rows, each of which tells whether the scheduler has the job still."""
    known = {_life(row.job) for row in scheduler}
    return [replace(row.job, known=_life(row.job) in known) for row in accounting]


def behind(accounting: Collection[Row], scheduler: Collection[Row], lost: Collection[tuple[str, int]]) -> list[Job]:
    """Jobs of which accounting has not heard the end yet: alive there, and not at the scheduler. Of those of `lost`,
    by id and submit time, it never will.
    """
    found = compared(accounting, scheduler)
    return [job for job in found if job.live and not job.known and (job.job_id, job.submitted) not in lost]


def _life(job: Job) -> tuple[str, str, int]:
    return job.job_id, job.name, job.submitted


def _marker(name: str, place: str, arex: Mapping[str, str]) -> str:
    """The marker that a job was submitted under: one of A-REX's has its id there for a working directory."""
    return arex.get(place.rpartition("/")[2], name)


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else 0

"""What jobs write into their report files: read through the site's Files, for jobs whose records lack it.

Some gateways tell no comment, UNICORE loses one with blanks, accounting keeps none, and Slurm takes none for a job that
it has cancelled. What is heard is what counts, not the kind of gateway: a running job whose comment says nothing of
ours, and one that has ended and whose end nobody has explained, is looked for in its file. The file's path is known
from the attempt, and its content goes where a comment goes.

A file that is missing is no error. One that can't be read now holds an end back, for a while: the job counts as ending,
and what a chain goes on from is not guessed. Then the end is told without it, and says so. A look reads so many files
and no more, and stops at the first that can't be had.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from passerelle.errors import Missing, PasserelleError, Unauthorized, Unavailable
from passerelle.gateways.base import Files, Gateway
from passerelle.marker import Run, parse
from passerelle.onsite import places
from passerelle.progress import parse_comment
from passerelle.slurm import JobState, RemoteJob

log = logging.getLogger("passerelle.reports")

READ_BYTES = 16 * 1024
"""A record has 900 bytes, escaped at most six times as many."""

READS_AT_ONCE = 4
READS_PER_LOOK = 32
"""A bound that does not grow with the number of jobs: of more that run, each is read less often."""

READ_SECONDS = 15.0

PATIENCE_SECONDS = 60.0
"""How long an end is held back for its report."""

RunDirectory = Callable[[Run, int], str | None]
"""Of an attempt; None where nobody knows it."""


class Reports:
    """Of one site. `clock` is monotonic, in seconds."""

    def __init__(self, site: str, run_directory: RunDirectory, clock: Callable[[], float]) -> None:
        self._site = site
        self._run_directory = run_directory
        self._clock = clock
        self._read: dict[str, float] = {}  # job id -> when its file was last read, of those that run
        self._held: dict[str, float] = {}  # job id -> since when its end is held back
        self._trouble = ""

    async def running(self, gateway: Gateway, jobs: Sequence[RemoteJob]) -> list[RemoteJob]:
        """These jobs, which run and are due to report, with what their files tell; of too many, others another time. An
        end in the file is told with the job's, or is that of an earlier life.
        """
        if not isinstance(gateway, Files):
            return list(jobs)
        silent = [job for job in jobs if not parse_comment(job.comment).heard]
        self._read = {job.job_id: self._read.get(job.job_id, 0.0) for job in silent}
        chosen = sorted(silent, key=lambda job: self._read[job.job_id])[:READS_PER_LOOK]
        self._read |= dict.fromkeys((job.job_id for job in chosen), self._clock())
        found = await self._texts(gateway, chosen)
        texts = {job_id: text for job_id, text in found.items() if isinstance(text, str) and not _has_end(text)}
        return [replace(job, comment=texts.get(job.job_id) or job.comment) for job in jobs]

    async def ended(self, gateway: Gateway, jobs: Sequence[RemoteJob]) -> list[RemoteJob]:
        """These jobs, which have ended, with what their files tell; still ending are those whose files are not read
        yet. What never started has none.
        """
        if not isinstance(gateway, Files):
            return list(jobs)
        silent = [job for job in jobs if job.start_time is not None and parse_comment(job.comment).exit is None]
        found = await self._texts(gateway, silent[:READS_PER_LOOK])
        told = {job.job_id: self._end(job, found[job.job_id]) for job in silent[:READS_PER_LOOK]}
        told |= {job.job_id: _ending(job) for job in silent[READS_PER_LOOK:]}
        return [told.get(job.job_id, job) for job in jobs]

    def _end(self, job: RemoteJob, found: str | PasserelleError) -> RemoteJob:
        since = self._held.setdefault(job.job_id, self._clock())
        if isinstance(found, Unavailable | Unauthorized) and self._clock() - since < PATIENCE_SECONDS:
            return _ending(job)
        del self._held[job.job_id]
        if isinstance(found, str):
            return replace(job, comment=found or job.comment)
        return replace(job, report_trouble=found.message)

    async def _texts(self, files: Files, jobs: Sequence[RemoteJob]) -> dict[str, str | PasserelleError]:
        """What each job's file tells, `""` where it tells nothing; or why it can't be read."""
        found: dict[str, str | PasserelleError] = {}
        trouble: PasserelleError | None = None
        for start in range(0, len(jobs), READS_AT_ONCE):
            piece = jobs[start : start + READS_AT_ONCE]
            texts = await asyncio.gather(*(self._text(files, job) for job in piece)) if trouble is None else ()
            found |= dict(zip((job.job_id for job in piece), texts, strict=False))
            trouble = next((each for each in texts if isinstance(each, Unavailable | Unauthorized)), trouble)
        if trouble is not None:
            found = {job.job_id: found.get(job.job_id, trouble) for job in jobs}
        self._say(next((each.message for each in found.values() if isinstance(each, PasserelleError)), ""))
        return found

    async def _text(self, files: Files, job: RemoteJob) -> str | PasserelleError:
        named = parse(job.name)
        directory = self._run_directory(*named) if named is not None else None
        if named is None or directory is None:
            return ""
        try:
            async with asyncio.timeout(READ_SECONDS):
                content = await files.read(places.report(directory, named[1]), 0, READ_BYTES)
        except Missing:
            return ""
        except PasserelleError as error:
            return error
        except TimeoutError:
            return Unavailable(f"The site did not give it within {READ_SECONDS:.0f} s.", reason="FileFailed")
        return record(content, job)

    def _say(self, trouble: str) -> None:
        """One line a change."""
        if trouble and trouble != self._trouble:
            log.warning("reports can't be read", extra={"site": self._site, "error": trouble})
        self._trouble = trouble


def record(content: bytes, job: RemoteJob) -> str:
    """The record of a report file, if it is this job's: a surplus job of the attempt has none, and neither has a life
    that has begun since.
    """
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    restarts = told.get("restartCount")
    older = isinstance(restarts, int) and restarts < job.restart_count
    others = bool(job.slurm_number) and told.get("jobId") != job.slurm_number
    found = told.get("record")
    return json.dumps(found, ensure_ascii=False) if isinstance(found, dict) and not older and not others else ""


def _has_end(text: str) -> bool:
    return parse_comment(text).exit is not None


def _ending(job: RemoteJob) -> RemoteJob:
    """Its end is known and not told yet."""
    return replace(job, state=JobState(job.state.base, job.state.flags | {"COMPLETING"}))

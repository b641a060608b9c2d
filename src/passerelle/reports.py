"""What jobs write into their report files: read through the site's Files, for jobs whose records lack it.

Some gateways tell no comment, UNICORE loses one with blanks, accounting keeps none, and Slurm takes none for a job that
it has cancelled. What is heard is what counts, not the kind of gateway: a running job whose comment says nothing of
ours, or nothing new for a while, and one that has ended and whose end nobody has explained, is looked for in its file.
The file's path is known from the attempt, and its content goes where a comment goes; of both, what was told later.

A file that is missing is no error. One that can't be read now holds an end back, for a while: the job counts as ending,
and what a chain goes on from is not guessed. Then the end is told without it, and says so. A look reads so many files
and no more, in turns; it goes on behind one that can't be had, and stops where the site gives none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from passerelle.errors import Deferred, Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Files, Gateway
from passerelle.gateways.http import BUSY, UNREACHABLE
from passerelle.gateways.together import together
from passerelle.marker import Run, parse
from passerelle.onsite import places
from passerelle.progress import newest, parse_comment
from passerelle.slurm import JobState, RemoteJob

log = logging.getLogger("passerelle.reports")

READ_BYTES = 16 * 1024
"""A record has 900 bytes, escaped at most six times as many."""

READS_AT_ONCE = 4
READS_PER_LOOK = 32
"""A bound that does not grow with the number of jobs: of more that run, each is read less often."""

READ_SECONDS = 15.0
SLOW = "ReadSlow"

PATIENCE_SECONDS = 60.0
"""How long an end is held back for its report, from when that was first asked for."""

STILL = 2
"""So many times in a row a comment was as old as before: the file is read, too, since the site may take none now."""

RunDirectory = Callable[[Run, int], str | None]
"""Of an attempt; None where nobody knows it."""

_Key = tuple[str, str]
"""RemoteJob's."""


@dataclass(slots=True)
class _File:
    """One job's report file, and what is known of it. `turn` is when it was last read, counted in reads. `held` is the
    end that waits for it, `since` when that was first asked for in vain.
    """

    run: Run | None
    turn: int = 0
    trouble: str = ""
    told_at: int | None = None
    still: int = 0
    held: RemoteJob | None = None
    since: float | None = None


class Reports:
    """Of one site. `clock` is monotonic, in seconds."""

    def __init__(self, site: str, run_directory: RunDirectory, clock: Callable[[], float]) -> None:
        self._site = site
        self._run_directory = run_directory
        self._clock = clock
        self._files: dict[_Key, _File] = {}
        self._turns = 0

    async def running(
        self, gateway: Gateway, jobs: Sequence[RemoteJob], among: Collection[str] = ()
    ) -> list[RemoteJob]:
        """These jobs, which run and are due to report, with what their files tell; of too many, others another time. An
        end in the file is told with the job's, or is that of an earlier life. To be asked once a progress period;
        `among` are the ids of all that run, where it is not the turn of each.
        """
        if not isinstance(gateway, Files):
            return list(jobs)
        known, others = {job.key for job in jobs}, set(among)
        self._files = {
            key: file for key, file in self._files.items() if key in known or key[0] in others or file.held is not None
        }
        found = await self._texts(gateway, [job for job in jobs if self._silent(job)])
        texts = {key: text for key, text in found.items() if isinstance(text, str) and not _has_end(text)}
        return [replace(job, comment=newest(job.comment, texts.get(job.key, ""))) for job in jobs]

    async def ended(self, gateway: Gateway, jobs: Sequence[RemoteJob]) -> list[RemoteJob]:
        """These jobs, which have ended, with what their files tell; still ending are those whose files are not read
        yet. What never started has none.
        """
        if not isinstance(gateway, Files):
            return list(jobs)
        silent = [job for job in jobs if job.start_time is not None and not _has_end(job.comment)]
        found = await self._texts(gateway, silent)
        told = {job.key: self._end(job, found.get(job.key)) for job in silent}
        return [told.get(job.key, job) for job in jobs]

    def held(self, jobs: Iterable[RemoteJob]) -> list[RemoteJob]:
        """Of these jobs, which the site no longer knows, the ends that were read and wait for their reports."""
        files = [(job, self._files.get(job.key)) for job in jobs]
        held = [(job, file.held) for job, file in files if file is not None and file.held is not None]
        return [end for job, end in held if _life(job) == _life(_ending(end))]

    def forget(self, run: Run) -> None:
        """Nothing more is wanted of this run."""
        self._files = {key: file for key, file in self._files.items() if file.run != run}

    def _silent(self, job: RemoteJob) -> bool:
        """Whether a running job's comment tells nothing, or nothing new."""
        report, file = parse_comment(job.comment), self._file(job)
        file.still = file.still + 1 if report.heard and report.told_at == file.told_at else 0
        file.told_at = report.told_at
        return not report.heard or file.still >= STILL

    def _end(self, job: RemoteJob, found: str | PasserelleError | None) -> RemoteJob:
        """An end with what was found; None where it was not this one's turn."""
        file, now = self._file(job), self._clock()
        passing = isinstance(found, Unavailable | Unauthorized)
        if file.held is None or file.held.restart_count != job.restart_count:
            file.since = None
        if passing and file.since is None:
            file.since = now
        if passing or found is None:
            file.held = job
            if file.since is None or now - file.since < PATIENCE_SECONDS:
                return _ending(job)
        del self._files[job.key]
        if isinstance(found, str):
            return replace(job, comment=found if _has_end(found) else newest(job.comment, found))
        return replace(job, report_trouble=file.trouble)

    async def _texts(self, files: Files, jobs: Sequence[RemoteJob]) -> dict[_Key, str | PasserelleError]:
        """What the files of those jobs tell whose turn it is, `""` where one tells nothing; or why it can't be read."""
        turn = sorted(jobs, key=lambda job: self._file(job).turn)[:READS_PER_LOOK]
        found: dict[_Key, str | PasserelleError] = {}
        for start in range(0, len(turn), READS_AT_ONCE):
            piece = turn[start : start + READS_AT_ONCE]
            texts = await together(self._text(files, job) for job in piece)
            found |= zip((job.key for job in piece), texts, strict=True)
            if any(_of_the_site(each) for each in texts):
                break
        read = [job for job in turn if job.key in found]
        for job in sorted(read, key=lambda job: isinstance(found[job.key], PasserelleError)):  # those come last
            self._note(self._file(job), found[job.key])
        return found

    async def _text(self, files: Files, job: RemoteJob) -> str | PasserelleError:
        named = parse(job.name)
        directory = self._run_directory(*named) if named is not None else None
        if named is None or directory is None:
            return ""
        try:
            async with asyncio.timeout(READ_SECONDS):
                content = await files.read(places.report(directory, named[1]), 0, READ_BYTES)
            return record(content, job)
        except Missing:
            return ""
        except PasserelleError as error:
            return error
        except TimeoutError:
            return Unavailable(f"The site did not give it within {READ_SECONDS:.0f} s.", reason=SLOW)
        except Exception:  # a defect of ours: the file of one job must not stop the look at all of its site
            log.exception("a report can't be read", extra={"site": self._site, "job_id": job.job_id})
            return Rejected("The operator failed to read it; see its log.", reason="Defect")

    def _file(self, job: RemoteJob) -> _File:
        named = parse(job.name)
        return self._files.setdefault(job.key, _File(named[0] if named is not None else None))

    def _note(self, file: _File, found: str | PasserelleError) -> None:
        """It was read, or why not: one line a trouble, however many files have it."""
        trouble = found.message if isinstance(found, PasserelleError) else ""
        if trouble and all(each.trouble != trouble for each in self._files.values()):
            log.warning("reports can't be read", extra={"site": self._site, "error": trouble})
        self._turns += 1
        file.turn, file.trouble = self._turns, trouble


def record(content: bytes, job: RemoteJob) -> str:
    """The record of a report file, if it is this job's: a surplus job of the attempt has none, and neither has a life
    that has begun since.
    """
    try:
        told = json.loads(content)
        if not isinstance(told, dict):
            return ""
        restarts = told.get("restartCount")
        older = isinstance(restarts, int) and restarts < job.restart_count
        others = bool(job.slurm_number) and told.get("jobId") != job.slurm_number
        found = told.get("record")
        return json.dumps(found, ensure_ascii=False) if isinstance(found, dict) and not older and not others else ""
    except (ValueError, RecursionError):
        return ""


def _of_the_site(found: str | PasserelleError) -> bool:
    """Whether the others need not be tried now."""
    if isinstance(found, Unavailable):
        return isinstance(found, Deferred) or found.reason in (UNREACHABLE, BUSY, SLOW) or found.retry_after is not None
    return isinstance(found, Unauthorized)


def _has_end(text: str) -> bool:
    return parse_comment(text).exit is not None


def _life(job: RemoteJob) -> tuple[str, int, JobState]:
    return job.name, job.restart_count, job.state


def _ending(job: RemoteJob) -> RemoteJob:
    """Its end is known and not told yet."""
    return replace(job, state=JobState(job.state.base, job.state.flags | {"COMPLETING"}))

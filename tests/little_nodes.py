"""A site in memory with nodes, users and a past: what its jobs do where they run, and what is true whatever it tells.

Memory says how jobs stand. Here each of them also begins: it takes its run's claim, on a directory of this machine and
by the very code that does it at a site (onsite/claim.py); who fails leaves with the code of a duplicate, and who
runs looks every 30 s for a later owner, as the batch script's watcher does. Whose trainer has begun stands in `ever`,
which no loss of the site's state shortens.

What is left out: no process runs, so a trainer that ends at a signal's time ends at once; a job that the site has lost
is ended on its nodes, as slurmd does; the run directory outlives the scheduler's state, as a file system does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from passerelle.attempts import rfc3339
from passerelle.batch import Batch
from passerelle.gateways.memory import Fate, Memory, MemoryCredential, _Job
from passerelle.marker import Run, parse
from passerelle.onsite import claim
from passerelle.onsite.codes import DUPLICATE, SITE_FAULT
from passerelle.slurm import JobState, RemoteJob, Stage

WATCH_SECONDS = 30.0
"""Between two looks of a running job at its claim, as in onsite/batch.sh."""
LEAVE_SECONDS = 1.0
"""How long a job takes to leave that has no claim."""
NEVER = float("inf")


@dataclass
class Life:
    """A job that the site has ever taken. `began`: in which of its lives (restart counts) its trainer began."""

    job: _Job = field(repr=False)
    user: str
    taken: float  # when the site took it, whatever became of it since
    began: list[int] = field(default_factory=list)
    turned_away: bool = False  # by the claim: another job is the attempt
    surplus: bool = False  # one call came twice
    ended_by: str = ""  # who cancelled it: `operator`, `somebody`
    stopped: float | None = None  # what it had still to run when an administrator suspended it

    @property
    def marker(self) -> str:
        return self.job.batch.options.name

    @property
    def lost(self) -> bool:
        """Whether the site has lost its state since."""
        return self.job.lost is not None


class HardSite(Memory):
    """One cluster. `root` is its file system; whoever asks is told by `asked_by` before each call."""

    def __init__(self, *, root: Path, **facts: Any) -> None:
        super().__init__(**facts)
        self.root = root
        self.ever: list[Life] = []
        self.trespasses: list[str] = []  # what was asked for with another user's job
        self._lives: dict[int, Life] = {}
        self._senders: dict[int, str] = {}

    def asked_by(self, credential: MemoryCredential) -> None:
        """Who makes the call that comes now: here every user is known, and none but with the right token."""
        self.credentials = lambda: credential
        self.user = credential.user

    # Memory's calls, with users

    async def submit(self, batch: Batch) -> str:
        self._senders[id(batch)] = self.user
        return await super().submit(batch)

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        return [job for job in await super().find(ended_of) if job.user == self.user]

    async def accounted(
        self, *, names: Collection[str] = (), job_ids: Collection[str] = (), **how: float
    ) -> Sequence[RemoteJob]:
        rows = await super().accounted(names=names, job_ids=job_ids, **how)
        return [row for row in rows if row.user == self.user]

    async def cancel(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        before = None if job is None else self._state(job).stage
        if job is not None and (parse(job.batch.options.name) is None or self._lives[id(job)].user != self.user):
            self.trespasses.append(f"{self.user} ends job {job_id}, {job.batch.options.name}")
        await super().cancel(job_id)
        if job is not None and before is not Stage.ENDED:
            self._lives[id(job)].ended_by = "operator"

    # What happens at the site without us

    def cancel_outside(self, life: Life) -> None:
        """Its user, or an administrator, cancels a job by hand."""
        if self.lives(life):
            life.job.cancelled, life.ended_by = self.clock(), "somebody"

    def requeue(self, job_id: str, fate: Fate | None = None) -> None:
        super().requeue(job_id, fate)
        life = self._lives[id(self._jobs[job_id])]
        life.stopped, life.ended_by = None, ""
        self._await(life)

    def hold(self, life: Life) -> None:
        """A waiting job waits for its release."""
        if self._state(life.job).base == "PENDING":
            life.job.fate = replace(life.job.fate, queued=NEVER, state_reason="JobHeldUser")

    def release(self, life: Life) -> None:
        if life.job.fate.queued == NEVER:
            waited = self.clock() - life.job.submitted
            life.job.fate = replace(life.job.fate, queued=waited, state_reason="Priority")
            self._await(life)

    def suspend(self, life: Life) -> None:
        """A running job stands still, and keeps its nodes."""
        if self._state(life.job).base == "RUNNING":
            life.stopped = life.job.end - self.clock()
            life.job.fate = replace(life.job.fate, running=NEVER)

    def resume(self, life: Life) -> None:
        if life.stopped is not None:
            left, life.stopped = life.stopped, None
            life.job.fate = replace(life.job.fate, running=self.clock() - life.job.start + left)

    def hurry(self, life: Life, seconds: float) -> None:
        """What still has long to wait or to run, has so much left."""
        now, job = self.clock(), life.job
        if not self.lives(life):
            return
        if job.start > now + seconds:
            job.fate = replace(job.fate, queued=now + seconds - job.submitted)
            self._await(life)
        if job.end > max(job.start, now) + seconds:
            job.fate = replace(job.fate, running=max(job.start, now) + seconds - job.start)

    def lose_state(self, *, accounting: bool = True) -> None:
        """What ran is ended where it ran, too. Accounting keeps its rows, unless it loses them as well."""
        super().lose_state()
        if not accounting:
            self._former.clear()

    def of_a_colleague(self, like: Batch) -> None:
        """Somebody else submits something as the same user, as accounts of projects are shared."""
        self._accept(replace(like, options=replace(like.options, name="thesis")))

    # What is true

    def lives(self, life: Life) -> bool:
        return not life.lost and self._state(life.job).stage is not Stage.ENDED

    def base(self, life: Life) -> str:
        """How a job stands, or stood when the site lost it."""
        return self._state(life.job).base

    def of_marker(self, marker: str) -> list[Life]:
        return [life for life in self.ever if life.marker == marker]

    # How it is done

    def _accept(self, batch: Batch) -> str:
        job_id = super()._accept(batch)
        job = self._jobs[job_id]
        life = self._lives[id(job)] = Life(job, self._senders.get(id(batch), self.user), self.clock())
        self.ever.append(life)
        self._await(life)
        return job_id

    def _state(self, job: _Job) -> JobState:
        state = super()._state(job)
        return JobState("SUSPENDED") if self._lives[id(job)].stopped is not None and state.base == "RUNNING" else state

    def _record(self, job: _Job, *, live: bool = True) -> RemoteJob:
        life = self._lives[id(job)]
        return replace(super()._record(job, live=live), user=life.user)

    def _await(self, life: Life) -> None:
        if life.job.start != NEVER:
            # A moment later: a timer may fire within its clock's resolution ahead of time.
            asyncio.get_running_loop().call_at(life.job.start + 0.001, self._begin, life, life.job.restarts)

    def _begin(self, life: Life, restarts: int) -> None:
        """The batch script's first act."""
        job, named = life.job, parse(life.marker)
        begun = restarts in life.began or life.turned_away
        if named is None or begun or job.restarts != restarts or life.lost or self._state(job).base != "RUNNING":
            return
        run, attempt = named
        me: claim.Owner = {
            "cluster": self.cluster,
            "jobId": job.job_id,
            "restartCount": restarts,
            "submitTime": rfc3339(int(job.submitted)) or "",
        }
        directory = self.root / run.key
        directory.mkdir(exist_ok=True)
        try:
            with patch.object(os, "fsync", lambda _: None):  # this machine loses no power while it is asked
                claim.take(str(directory), attempt, me)
        except claim.Lost:
            self._leave(life, DUPLICATE)
        except (claim.Unknown, OSError):
            self._leave(life, SITE_FAULT)
        else:
            life.began.append(restarts)
            self.files.pop(sealed(run.key, life.marker), None)
            asyncio.get_running_loop().call_later(WATCH_SECONDS, self._watch, life, str(directory), attempt, me)

    def _watch(self, life: Life, directory: str, attempt: int, me: claim.Owner) -> None:
        if life.lost or life.job.restarts != me["restartCount"] or self._state(life.job).stage is not Stage.RUNNING:
            return
        if claim.superseded(directory, attempt, me):
            self._leave(life, DUPLICATE)
        else:
            asyncio.get_running_loop().call_later(WATCH_SECONDS, self._watch, life, directory, attempt, me)

    def _leave(self, life: Life, code: int) -> None:
        life.turned_away = code == DUPLICATE
        life.stopped = None
        running = self.clock() - life.job.start + LEAVE_SECONDS
        life.job.fate = replace(life.job.fate, running=running, end="FAILED", exit_code=code)


def sealed(run: str, marker: str, root: str = "/scratch/passerelle") -> str:
    """Where an attempt's Secrets lie until its job takes them."""
    return f"{root}/{run}/{marker}.sealed"

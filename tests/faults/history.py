"""What became of a run, by three truths: Slurm's accounting, what began by its own word, and the TrainingJobs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Wanted = Literal["ok", "fails", "deleted", "cancelled", "lost"]
"""How a TrainingJob must end. `cancelled`: somebody ended its job, which may not have begun; `lost`: the site has lost the
job, and nobody knows its end.
"""
_SUCCEEDED: dict[Wanted, str] = {"ok": "True", "fails": "False", "cancelled": "False", "lost": "Unknown"}
LIVE = frozenset({"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "RESIZING"})


@dataclass(frozen=True, slots=True)
class Job:
    """A row of Slurm's accounting."""

    job_id: str
    name: str
    state: str

    @property
    def live(self) -> bool:
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class Told:
    """What a TrainingJob says at the end."""

    finished: bool
    succeeded: str
    reason: str
    attempts: int
    job_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A TrainingJob that was created, whose run is `run`. `wanted`: how it must end, after how many attempts."""

    name: str
    run: str
    wanted: Wanted
    attempts: int = 1


@dataclass(slots=True)
class Verdict:
    """Names of markers and TrainingJobs, each with its sentence. All but `submitted_twice` are defects."""

    submitted_twice: list[str] = field(default_factory=list)
    executed_twice: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong_end: list[str] = field(default_factory=list)

    @property
    def defects(self) -> list[str]:
        return [*self.executed_twice, *self.orphans, *self.lost, *self.wrong_end]


def check(
    tasks: Sequence[Task],
    jobs: Collection[Job],
    executed: Mapping[str, Sequence[str]],
    told: Mapping[str, Told],
) -> Verdict:
    """`executed`: marker -> the ids of jobs whose trainer began, in order. `told`: by name, where it is still."""
    verdict = Verdict()
    runs = {task.run for task in tasks}
    by_marker: dict[str, list[Job]] = {}
    for job in jobs:
        by_marker.setdefault(job.name, []).append(job)
    for marker, rows in by_marker.items():
        if len(rows) > 1:
            verdict.submitted_twice.append(f"{marker}: jobs {', '.join(row.job_id for row in rows)}")
        if _run(marker) not in runs:
            verdict.orphans.append(f"{marker} is of no TrainingJob: job {rows[0].job_id}, {rows[0].state}")
    for marker, ids in executed.items():
        if len(set(ids)) > 1:
            verdict.executed_twice.append(f"{marker}: its trainer began in jobs {', '.join(ids)}")
    for task in tasks:
        rows = [job for marker, found in by_marker.items() if _run(marker) == task.run for job in found]
        verdict.orphans += [f"{job.name} of {task.name} is {job.state}, at the end" for job in rows if job.live]
        _judge(task, rows, executed, told.get(task.name), verdict)
    return verdict


def _judge(
    task: Task, rows: Sequence[Job], executed: Mapping[str, Sequence[str]], told: Told | None, verdict: Verdict
) -> None:
    if task.wanted == "deleted":
        if told is not None:
            verdict.lost.append(f"{task.name} was deleted, and is there still")
        return
    if told is None:
        verdict.lost.append(f"{task.name} is gone")
        return
    if not told.finished:
        verdict.lost.append(f"{task.name} has not come to its end: {told.reason}")
        return
    if not rows:
        verdict.lost.append(f"{task.name} says {told.reason}, and Slurm has no job of it")
        return
    if told.attempts != task.attempts:
        asked = "one was" if task.attempts == 1 else f"{task.attempts} were"
        verdict.wrong_end.append(f"{task.name} has {told.attempts} attempts, where {asked} asked for")
    ran = {job_id for marker, ids in executed.items() if _run(marker) == task.run for job_id in ids}
    if not ran and task.wanted in ("ok", "fails"):
        verdict.wrong_end.append(f"{task.name} says {told.reason}, and its trainer never began")
    if task.wanted in ("ok", "fails") and ran and told.job_ids and told.job_ids[-1] not in ran:
        verdict.wrong_end.append(f"{task.name} tells of job {told.job_ids[-1]}, and its trainer began in {sorted(ran)}")
    if told.succeeded != _SUCCEEDED[task.wanted]:
        verdict.wrong_end.append(f"{task.name} says Succeeded={told.succeeded} ({told.reason}), and it {task.wanted}")


def _run(marker: str) -> str:
    return marker.rpartition("-")[0]

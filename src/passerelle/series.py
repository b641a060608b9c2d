"""Which series a TrainingJob has, read from its status alone: `kubectl get` and Prometheus show the same. Pure.

A state, a condition's status or a trainer's metric has a series only while it holds, so the number of series of a job
is bounded by what a status can hold: 16 conditions, 8 metrics, and one of each other family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from passerelle.attempts import epoch
from passerelle.objects import TrainingJob
from passerelle.onsite.report import METRICS
from passerelle.v1alpha1.trainingjob_status import Progress

JOB_LABELS = ("namespace", "trainingjob", "site")
"""Never `job`, which is Prometheus' own: the name of the scrape job."""


@dataclass(frozen=True, slots=True)
class Family:
    """A gauge of TrainingJobs. `labels` stand beside JOB_LABELS."""

    meaning: str
    labels: tuple[str, ...] = ()


STATE = "passerelle_trainingjob_state"
CONDITION = "passerelle_trainingjob_condition"
ATTEMPTS = "passerelle_trainingjob_attempts"
GPUS = "passerelle_trainingjob_requested_gpus"
QUEUE_WAIT = "passerelle_trainingjob_queue_wait_seconds"
PROGRESS = "passerelle_training_progress_ratio"
STEP = "passerelle_training_step"
METRIC = "passerelle_training_metric"
REPORTED = "passerelle_training_report_timestamp_seconds"

FAMILIES: dict[str, Family] = {
    STATE: Family("1 for the state that the TrainingJob is in.", ("state",)),
    CONDITION: Family("1 for the status that each condition has.", ("condition", "status")),
    ATTEMPTS: Family("Attempts so far."),
    GPUS: Family("GPUs that the site is asked for."),
    QUEUE_WAIT: Family("Seconds between submission and start of the last attempt that has started."),
    PROGRESS: Family("How much of the training is done, from 0 to 1."),
    STEP: Family("The training step that was reported last."),
    METRIC: Family("A number that the trainer reported.", ("metric",)),
    REPORTED: Family("When the trainer's last report was written, in epoch seconds of the site's clock."),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a family; `labels` are those beside JOB_LABELS."""

    family: str
    value: float
    labels: tuple[str, ...] = ()


Stamps = Mapping[int, tuple[int | None, int | None]]
"""Attempt -> Slurm's start and end, epoch seconds."""


def samples(job: TrainingJob) -> Iterator[Sample]:
    """What this TrainingJob's status says now."""
    status = job.status
    if status.summary:
        yield _one(STATE, status.summary)
    for condition in status.conditions:
        yield _one(CONDITION, condition.type, condition.status)
    yield Sample(ATTEMPTS, status.attempts_total)
    if status.plan is not None:
        yield Sample(GPUS, status.plan.gpus)
    for attempt in reversed(status.attempts):
        submitted, started = epoch(attempt.submit_time), epoch(attempt.start_time)
        if submitted is not None and started is not None:
            yield Sample(QUEUE_WAIT, max(0, started - submitted))
            break
    if status.progress is not None:
        yield from _progress(status.progress)


@lru_cache(maxsize=512)
def _one(family: str, *labels: str) -> Sample:
    """1, of words that thousands of TrainingJobs have in common: all of them hold the same object."""
    return Sample(family, 1, labels)


def finished_at(job: TrainingJob) -> int | None:
    """When the run's end was written down, by the operator's clock; None while it has not ended."""
    for condition in job.status.conditions:
        if condition.type == "Finished" and condition.status == "True":
            return epoch(condition.last_transition_time)
    return None


def stamps(job: TrainingJob) -> Stamps:
    """Slurm's times of each attempt, as the status has them."""
    return {attempt.number: (epoch(attempt.start_time), epoch(attempt.end_time)) for attempt in job.status.attempts}


def news(before: Stamps, after: Stamps) -> Iterator[tuple[str, int]]:
    """Starts and ends that a write has just told. An attempt that was not on record before is adopted, not news."""
    for number, (start, end) in after.items():
        if number not in before:
            continue
        old_start, old_end = before[number]
        if start is not None and old_start is None:
            yield "start", start
        if end is not None and old_end is None:
            yield "end", end


def _progress(progress: Progress) -> Iterator[Sample]:
    if progress.percentage is not None:
        yield Sample(PROGRESS, progress.percentage / 100)
    if progress.step is not None:
        yield Sample(STEP, progress.step)
    for metric in progress.metrics[:METRICS]:
        yield Sample(METRIC, float(metric.value), (metric.name,))
    reported = epoch(progress.updated_at)
    if reported is not None:
        yield Sample(REPORTED, reported)

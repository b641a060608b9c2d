"""How an attempt ended and why none follows, in sentences for a person. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from passerelle.decide import RETRIED
from passerelle.onsite.codes import IMAGE_NOT_FOUND, SITE_FAULT
from passerelle.progress import Report
from passerelle.reach import furthest
from passerelle.slurm import STOPPED, Blame, Ending, RemoteJob
from passerelle.v1alpha1.trainingjob_status import Attempt


def failure(current: Attempt, job: RemoteJob, told: Report, why: str = "", qos: str = "") -> str:
    """Slurm's reason, exit code or signal, why no attempt follows, the last lines of the failing rank's stderr. What
    explains most stands in the first line: kubectl shows no more of an event. `qos` is what the job asked for.
    """
    name = f"Attempt {current.number} (Slurm job {job.slurm_id or job.job_id})"
    exit_, also = current.exit, f" {why}" if why else ""
    root = current.log_path.rpartition("/")[0] or "the run root"
    if job.log_refused:
        text = f"{name} did not start: Slurm could not open its log"
        return f"{text}; create {root} at the site, writable for {job.user}."
    if job.refused:
        said = (job.refusal or job.state_reason).rstrip(". ")
        return f"{name} was refused after it had been taken: {said}.{also} {_sent(current, qos)} {_BY_HAND}"
    by = f" by {job.cancelled_by}" if job.cancelled_by else ""
    if job.state.base == "CANCELLED" and not job.node_count:
        return f"{name} was cancelled{by} before it started.{also}"
    text = f"{name} ended with {job.state}"
    if job.state.base == "TIMEOUT":
        text += f" after its time limit of {count(job.time_limit_minutes or 0, 'minute')}"
    if by:
        text += f", cancelled{by}"
    if exit_ is not None and (exit_.signal or exit_.code):
        who = "the batch script" if exit_.rank is None else f"rank {exit_.rank}"
        text += f": {who} " + (
            f"was ended by signal {exit_.signal}" if exit_.signal else f"exited with code {exit_.code}"
        )
    text += f".{also}"
    if told.stderr and exit_ is not None and exit_.code in (SITE_FAULT, IMAGE_NOT_FOUND):
        return f"{text} {told.stderr}"
    *before, last = told.stderr.rstrip().splitlines() or [""]
    if not last:
        return f"{text} {_untold(current, job, root)}"
    return f"{text} Last line of stderr: {last}" + ("\nThe lines before it:\n" + "\n".join(before) if before else "")


_BY_HAND = (
    "Nothing is tried by itself: once it is mended, ask for another attempt with the annotation "
    "passerelle.dev/retry-requested-at."
)


def _sent(attempt: Attempt, qos: str) -> str:
    """What most refusals are about, and who names it."""
    partition = f"partition {attempt.partition}" if attempt.partition else "the default partition"
    account = f"account {attempt.account}" if attempt.account else "no account"
    return (
        f"It was sent to {partition} with {account} and {f'QoS {qos}' if qos else 'no QoS'}: what the spec leaves out "
        "is the Site's choice, by admission and partition."
    )


def _untold(current: Attempt, job: RemoteJob, root: str) -> str:
    """Where to look for what no report tells. A batch script that could not report has most often found no run root:
    then there is no log either.
    """
    log = current.log_path or "the log"
    if job.report_trouble:
        return f"Its report could not be read: {job.report_trouble} Read {log} at the site."
    if current.exit is not None and current.exit.code == SITE_FAULT:
        why = f"most often {root} is missing at the site, or not writable for {job.user}"
        return f"It could not tell why: {why}; where {log} is there, it tells more."
    return f"The job's epilogue left no lines of stderr; read {log} at the site."


def last_allowed(ending: Ending, *, chain: bool, max_attempts: int) -> str:
    """Why an end after which another attempt could follow is the last one; `""` for the others."""
    if ending.blame in RETRIED or (ending.blame is Blame.TIME_LIMIT and chain):
        return f"retry.maxAttempts, {max_attempts}, allows no other attempt; it may be raised at any time."
    if ending is STOPPED:
        return "The trainer asked for another attempt, which only a TrainingJob with checkpoint gets."
    return ""


def stuck(current: Attempt, reached: Mapping[int, int]) -> str:
    """Both steps of a chain that stands still."""
    now, before = reached.get(current.number, -1), furthest(reached, current.number)
    came = f"came to step {now}" if now >= 0 else "reported no step"
    if current.checkpoint_step is None and current.last_step not in (None, now):
        came = "told of no checkpoint" + (f" after its start at step {now}" if now >= 0 else "")
    earlier = f"and an earlier one had come to step {before}" if before >= 0 else "nor did one before it"
    return (
        f"Attempt {current.number} ended at its time limit and {came}, {earlier}: another one would come no further. "
        "Save checkpoints more often, load the newest one at the start, and report step; docs/trainer.md "
        "tells how."
    )


def count(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

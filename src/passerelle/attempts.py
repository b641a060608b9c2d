"""One attempt as a status keeps it: its intent, and then what the site's records tell of its job. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from passerelle.current import OUTCOME_LOST
from passerelle.plan import Plan
from passerelle.progress import Report, parse_comment
from passerelle.slurm import ENDING_BY_REASON, NO_REASON, STOPPED, RemoteJob, Stage, first_nodes
from passerelle.v1alpha1.trainingjob_status import NODES_KEPT, Attempt, Exit

SUSPENDED = "Suspended"


def rfc3339(epoch: float | None) -> str | None:
    """A site's epoch seconds as Kubernetes writes times; None stays None."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch(time: str | None) -> int | None:
    """The inverse of rfc3339."""
    return None if time is None else int(datetime.fromisoformat(time).timestamp())


def intended(plan: Plan, cluster: str, user: str, digest: str) -> Attempt:
    """The intent: what is written down before the POST."""
    return Attempt(
        number=plan.attempt,
        marker=plan.marker,
        cluster=cluster,
        user=user,
        run_directory=plan.run_directory,
        script_digest=digest,
        partition=plan.partition,
        account=plan.account or "",
    )


def with_job(attempt: Attempt, job: RemoteJob) -> Attempt:
    """The attempt as the site's record tells it. An end, once written, is not unwritten by a poorer record."""
    ending = job.ending
    told = parse_comment(job.comment)
    step, saved = (told.progress.step, told.progress.checkpoint_step) if told.progress else (None, None)
    reason = "" if job.state_reason in NO_REASON else job.state_reason
    ended = job.stage is Stage.ENDED and ending is not None
    if ended and ending is not None:
        asked = job.state.base == "CANCELLED" or ending is STOPPED
        ours = (attempt.suspended and asked) or (attempt.suspend_time is not None and ending is STOPPED)
        reason = SUSPENDED if ours else ending.reason
    elif job.stage is not Stage.QUEUED:
        reason = ""
    return attempt.model_copy(
        update={
            "job_id": job.job_id,
            "submit_time": rfc3339(job.submit_time) if job.submit_time else attempt.submit_time,
            "restart_count": max(job.restart_count, attempt.restart_count),
            "start_time": rfc3339(job.start_time) if job.stage is not Stage.QUEUED else None,
            "end_time": rfc3339(job.end_time or job.start_time or job.submit_time) if ended else None,
            "log_path": (job.standard_output or attempt.log_path).replace("%j", job.slurm_number or "%j")[:1200],
            "partition": (job.partition or attempt.partition)[:64],
            "account": (job.account or attempt.account)[:64],
            "nodes": [name[:64] for name in first_nodes(job.nodes, NODES_KEPT)] or attempt.nodes,
            "node_count": job.node_count or attempt.node_count,
            "state": str(job.state)[:128],
            "reason": reason[:128],
            "exit": _exit(job, told) if ending is not None and not ending.succeeded else None,
            "first_step": attempt.first_step if told.first_step is None else told.first_step,
            "last_step": attempt.last_step if step is None else step,
            "checkpoint_step": attempt.checkpoint_step if saved is None else saved,
        }
    )


def is_final(attempt: Attempt) -> bool:
    """Whether this attempt's end is written down."""
    if attempt.end_time is None:  # Slurm has waiting reasons of the same names: a requeued job waits for TimeLimit
        return attempt.reason == OUTCOME_LOST
    return attempt.reason in ENDING_BY_REASON or attempt.reason == SUSPENDED


def _exit(job: RemoteJob, told: Report) -> Exit | None:
    """The trainers' own word where the epilogue left one, else Slurm's."""
    if told.exit is not None:
        return told.exit
    if job.exit_code is None and job.exit_signal is None:
        return None
    return Exit(code=job.exit_code, signal=job.exit_signal or None)

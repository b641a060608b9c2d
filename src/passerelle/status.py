"""What happened -> Status. Pure: every condition is recomputed from the facts of this pass, nothing is edited in place.

`Accepted`   the spec can be planned
`Submitted`  the site knows the job
`Running`    the trainers' nodes are allocated
`Succeeded`  True or False at the end, Unknown while the run is active or its outcome is lost
`Finished`   True on either end, so that `kubectl wait` returns
`ProgressAvailable` stands only while it is False: a running job of whose progress nothing is heard
`SiteReachable` likewise: an attempt is open, and the site can't be asked; what is shown is what it said last

What became of each attempt stands in attempts.py, what is copied for a run in staged.py, the one word of it all in
summary.py, and what GitOps tools read besides in kstatus.py.
"""

from __future__ import annotations

from passerelle import kstatus, preflight, staged
from passerelle.actions import Action, Intend, Rest, Submit
from passerelle.attempts import SUSPENDED, is_final
from passerelle.chain import unlisted
from passerelle.current import OUTCOME_LOST
from passerelle.decide import NO_PROGRESS
from passerelle.ends import count, failure, last_allowed, stuck
from passerelle.errors import Rejected
from passerelle.facts import IDENTITY_CHANGED, Facts, Word
from passerelle.plan import Plan
from passerelle.progress import Report, parse_comment
from passerelle.slurm import ENDING_BY_REASON, Stage
from passerelle.summary import STOPPING, summary
from passerelle.v1alpha1.meta import Condition
from passerelle.v1alpha1.trainingjob_status import (
    ATTEMPTS_KEPT,
    FINDINGS_KEPT,
    Attempt,
    Finding,
    PlanSummary,
    TrainingJobStatus,
)
from passerelle.waiting import wait

_FINAL_RESTS = frozenset({"Succeeded", "Finished", NO_PROGRESS, OUTCOME_LOST})
"""Reasons of a Rest after which nothing more happens by itself."""


def report(old: TrainingJobStatus, facts: Facts) -> TrainingJobStatus:
    """The status after a pass."""
    current = facts.attempts[-1] if facts.attempts else None
    told = parse_comment(facts.job.comment) if facts.job is not None else Report()
    words: dict[str, Word] = {"Accepted": _accepted(old, facts)}
    words["Submitted"] = _submitted(facts, current)
    words["Running"] = _running(old, facts, current)
    words["Succeeded"] = _succeeded(old, facts, current, told)
    words["Finished"] = _finished(facts, words["Succeeded"])
    words |= staged.words(old, facts, succeeded=words["Succeeded"], finished=words["Finished"])
    words |= kstatus.deletion(facts, current) if facts.deleting else kstatus.of(facts, words)
    if facts.unseen is not None and current is not None and not is_final(current):
        since = f" since {facts.unseen.seen_at}" if facts.unseen.seen_at else ""
        text = f"The site can't be asked{since}; what stands here is what it said last. {facts.unseen.why.message}"
        words["SiteReachable"] = Word("False", facts.unseen.why.reason, text)
    if facts.progress_silent:
        words["ProgressAvailable"] = _silent(facts.report_path)
    word, why = summary(facts, words)
    return old.model_copy(
        update={
            "observed_generation": facts.generation,
            "conditions": _timed(old.conditions, words, facts),
            "summary": word,
            "reason": why,
            "plan": _plan_summary(facts.plan) if facts.plan is not None else old.plan,
            "script_digest": facts.digest or old.script_digest,
            "findings": old.findings if facts.findings is None else _findings(facts.findings),
            "attempts": list(facts.attempts[-ATTEMPTS_KEPT:]),
            "earlier_attempts": unlisted(old, facts.attempts[:-ATTEMPTS_KEPT]),
            "attempts_total": max(facts.attempts_total, old.attempts_total, current.number if current else 0),
            "attempts_suspended": max(facts.attempts_suspended, old.attempts_suspended),
            "excluded_nodes": list(facts.excluded) or old.excluded_nodes,
            "transfers": staged.transfers(old, facts),
            "progress": told.progress or old.progress,
            "last_handled_retry_at": facts.retry_handled or old.last_handled_retry_at,
        }
    )


def _accepted(old: TrainingJobStatus, facts: Facts) -> Word:
    if facts.invalid is not None:
        return Word("False", facts.invalid.reason, facts.invalid.message)
    if facts.plan is not None:
        plan = facts.plan
        each = " each" if plan.nodes > 1 else ""
        size = f"{count(plan.nodes, 'node')} with {count(plan.gpus_per_node, 'GPU')}{each}"
        limit = count(plan.time_limit_minutes, "minute")
        return Word("True", "Planned", f"{size} in partition {plan.partition}, for at most {limit}.")
    before = next((condition for condition in old.conditions if condition.type == "Accepted"), None)
    if before is not None:
        return Word(before.status, before.reason, before.message)
    if facts.attempts:
        return Word("True", "Planned", "The site has a job of this run.")
    return Word("Unknown", "Waiting", "Not planned yet.")


def _submitted(facts: Facts, current: Attempt | None) -> Word:
    if current is not None and is_final(current) and not _is_final_rest(facts.action):
        return _between(facts, current)
    if current is not None and current.job_id is not None:
        return Word("True", "Submitted", f"Slurm job {current.job_id} on cluster {current.cluster}, as {current.user}.")
    if facts.invalid is not None:
        return Word("False", "NotPlanned", "The job can't be planned; see Accepted.")
    if facts.suspend and facts.action.reason != "AnswerMissing":
        return Word("False", SUSPENDED, "spec.suspend is true: nothing is submitted.")
    if facts.hold is not None:
        return facts.hold
    if facts.unseen is not None and facts.unseen.why.reason == IDENTITY_CHANGED:
        return Word("Unknown", IDENTITY_CHANGED, facts.unseen.why.message)
    if facts.trouble is not None:
        unsure = current is not None and not isinstance(facts.trouble, Rejected)
        return Word("Unknown" if unsure else "False", facts.trouble.reason, facts.trouble.message)
    if isinstance(facts.action, Intend | Submit):
        return Word("Unknown", "Submitting", "The intent is written down; the job is being sent.")
    if current is not None:
        return Word(
            "Unknown", "AnswerMissing", "The answer to the submission is missing; the site is asked for the job."
        )
    return Word("False", "Waiting", "Not submitted yet.")


def _between(facts: Facts, last: Attempt) -> Word:
    """`Submitted` while one attempt has ended and another is to come."""
    if facts.suspend:
        return Word("False", SUSPENDED, "spec.suspend is true: the job was ended; set it to false to go on.")
    if facts.unseen is not None and facts.action.reason == IDENTITY_CHANGED:
        way_out = 'Where that is gone for good, set the annotation passerelle.dev/abandon="true".'
        return Word("False", IDENTITY_CHANGED, f"{facts.unseen.why.message} {way_out}")
    if facts.hold is None and facts.trouble is not None:
        return Word("False", facts.trouble.reason, facts.trouble.message)
    return facts.hold or Word("Unknown", "Submitting", f"Attempt {last.number} has ended; the next one follows.")


def _running(old: TrainingJobStatus, facts: Facts, current: Attempt | None) -> Word:
    job = facts.job
    if job is None or current is None:
        if current is not None and is_final(current):
            return Word("False", "Ended", f"The job has ended: {current.reason}.")
        before = next((condition for condition in old.conditions if condition.type == "Running"), None)
        if current is not None and current.job_id is not None and before is not None:
            return Word(before.status, before.reason, before.message)  # not seen since this process began: no news
        return Word("False", "NotSubmitted", "The site has no job of this run.")
    if job.stage is Stage.QUEUED:
        waits = wait(job.state_reason, job.scontrol_word)
        return Word("False", waits.reason, waits.message)
    if job.stage is Stage.RUNNING:
        if job.state.base == "SUSPENDED":
            return Word("False", "SuspendedBySite", "Slurm has suspended the job; it keeps its nodes.")
        if facts.suspend and facts.chain and current.suspend_time is not None:
            return Word("True", STOPPING, "The trainer may save and stop; the job is cancelled when its grace is over.")
        return Word("True", "Running", f"On {count(job.node_count, 'node')}: {job.nodes}"[:1024])
    if job.stage is Stage.ENDING:
        return Word("False", "Ending", "The job has ended and the site cleans up.")
    return Word("False", "Ended", f"The job has ended: {current.reason}.")


def _succeeded(old: TrainingJobStatus, facts: Facts, current: Attempt | None, told: Report) -> Word:
    if current is not None and current.reason == OUTCOME_LOST:
        which = f"Slurm job {current.job_id}" if current.job_id is not None else f"The job of attempt {current.number}"
        return Word(
            "Unknown",
            OUTCOME_LOST,
            f"{which} is known neither to the scheduler nor to accounting; "
            f"read {current.log_path or 'its log'} at the site.",
        )
    if not _is_final_rest(facts.action) or current is None or current.reason not in ENDING_BY_REASON:
        return Word("Unknown", "Active", "The run has not ended.")
    ending = ENDING_BY_REASON[current.reason]
    if ending.succeeded:
        return Word("True", ending.reason, f"Attempt {current.number} ended with Slurm's state {current.state}.")
    if facts.action.reason == NO_PROGRESS:
        return Word("False", NO_PROGRESS, stuck(current, facts.reached))
    if facts.job is not None:
        why = last_allowed(ending, chain=facts.chain, max_attempts=facts.max_attempts)
        return Word("False", ending.reason, failure(current, facts.job, told, why, old.plan.qos if old.plan else ""))
    # The site is asked no more about what has ended: what was told when it ended stands.
    before = next((condition for condition in old.conditions if condition.type == "Succeeded"), None)
    if before is not None and before.reason == ending.reason:
        return Word("False", ending.reason, before.message)
    return Word("False", ending.reason, f"Attempt {current.number} ended with Slurm's state {current.state}.")


def _finished(facts: Facts, succeeded: Word) -> Word:
    if _is_final_rest(facts.action) and facts.attempts:
        return Word("True", succeeded.reason, "The run has ended.")
    return Word("False", "Active", "The run has not ended.")


def _silent(report_path: str) -> Word:
    """Why nothing is heard of a job that runs."""
    refused = "the site refuses scontrol update, or has no scontrol on its nodes"
    rest = "The training is not affected; its log tells the reason."
    if report_path:
        text = f"The job runs, and tells nothing: no comment comes, and {report_path} is not there or can't be read."
        return Word("False", "ReportMissing", f"{text} {rest}")
    return Word("False", "CommentRefused", f"The job runs, and nothing came through its comment: {refused}. {rest}")


def _timed(old: list[Condition], words: dict[str, Word], facts: Facts) -> list[Condition]:
    """Conditions with their times: the time moves only when the status does."""
    before = {condition.type: condition for condition in old}
    timed = []
    for kind, word in words.items():
        same = kind in before and before[kind].status == word.status
        timed.append(
            Condition(
                type=kind,
                status=word.status,
                observed_generation=facts.generation,
                last_transition_time=before[kind].last_transition_time if same else facts.now,
                reason=word.reason[:64],
                message=word.message[:2048],
            )
        )
    return timed


def _is_final_rest(action: Action) -> bool:
    return isinstance(action, Rest) and action.reason in _FINAL_RESTS


def _plan_summary(plan: Plan) -> PlanSummary:
    return PlanSummary(
        nodes=plan.nodes,
        gpus=plan.nodes * plan.gpus_per_node,
        gpus_per_node=plan.gpus_per_node,
        tasks=plan.world_size,
        cpus_per_task=plan.cpus_per_task,
        partition=plan.partition,
        account=plan.account or "",
        qos=plan.qos or "",
        time_limit_minutes=plan.time_limit_minutes,
    )


def _findings(found: tuple[preflight.Finding, ...]) -> list[Finding]:
    return [
        Finding(
            id=each.id[:64],
            severity=each.severity,
            field=each.field[:64],
            message=each.message[:512],
            fix=each.fix[:512],
        )
        for each in found[:FINDINGS_KEPT]
    ]

"""What the attempts of a run leave to the next one: how far they came, and which nodes to keep away from. Pure.

Both are read from the status and from what the site shows now, which is newer: an operator that starts anew knows what
the one before knew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from passerelle.current import Seen
from passerelle.progress import NODE_NAME, parse_comment
from passerelle.slurm import ENDING_BY_REASON, ENDINGS, Blame, Ending, RemoteJob, first_nodes
from passerelle.v1alpha1.trainingjob_status import NODES_KEPT, Attempt, Reached, TrainingJobStatus

UNLISTED = 0
"""Stands for all attempts that the status lists no longer: before the first one that it does."""


def reached(status: TrainingJobStatus, seen: Seen) -> dict[int, int]:
    """The step to which each attempt came: its last one, where the run tells of no checkpoint; else that of its newest
    checkpoint. An attempt of such a run that had all its time, and tells of none, came to its first step: what it began
    from was saved, and another one that begins there has come no further.
    """
    first = {each.number: each.first_step for each in status.attempts if _had_its_time(_ending(each))}
    last = {each.number: each.last_step for each in status.attempts}
    saved = {each.number: each.checkpoint_step for each in status.attempts}
    if status.earlier_attempts is not None:
        last[UNLISTED] = status.earlier_attempts.last_step
        saved[UNLISTED] = status.earlier_attempts.checkpoint_step
    told = [(number, job, parse_comment(job.comment)) for number, job in seen.jobs]
    first |= _furthest((number, found.first_step) for number, job, found in told if _had_its_time(job.ending))
    last |= _furthest((number, found.progress.step) for number, _, found in told if found.progress)
    saved |= _furthest((number, found.progress.checkpoint_step) for number, _, found in told if found.progress)
    with_checkpoint = _told(saved)
    return _told(first) | with_checkpoint if with_checkpoint else _told(last)


def _told(steps: Mapping[int, int | None]) -> dict[int, int]:
    return {number: step for number, step in steps.items() if step is not None}


def _ending(attempt: Attempt) -> Ending | None:
    return ENDING_BY_REASON.get(attempt.reason)


def _had_its_time(ending: Ending | None) -> bool:
    return ending is not None and ending.blame is Blame.TIME_LIMIT


def _furthest(told: Iterable[tuple[int, int | None]]) -> dict[int, int]:
    """Of each attempt: beside its job there may be a duplicate, which mostly has nothing to tell."""
    found: dict[int, int] = {}
    for number, step in told:
        if step is not None:
            found[number] = max(step, found.get(number, step))
    return found


def unlisted(status: TrainingJobStatus, gone: Iterable[Attempt]) -> Reached | None:
    """How far the unlisted attempts came, these among them."""
    known: list[Attempt | Reached] = [*gone]
    if status.earlier_attempts is not None:
        known.append(status.earlier_attempts)
    last = [each.last_step for each in known if each.last_step is not None]
    saved = [each.checkpoint_step for each in known if each.checkpoint_step is not None]
    if not last and not saved:
        return None
    return Reached(last_step=max(last, default=None), checkpoint_step=max(saved, default=None))


def excluded(status: TrainingJobStatus, seen: Seen) -> tuple[str, ...]:
    """The nodes that the run keeps away from: the newest last, at most NODES_KEPT."""
    failed = [node for _, job in seen.jobs for node in failed_nodes(job)]
    return tuple(dict.fromkeys([*status.excluded_nodes, *failed]))[-NODES_KEPT:]


def failed_nodes(job: RemoteJob) -> tuple[str, ...]:
    """The nodes through which a job failed, as far as somebody tells: the batch script, Slurm, or that it had but one.
    The fault of a site is not its node's.
    """
    ending = job.ending
    if ending is None or ending.blame is not Blame.INFRASTRUCTURE:
        return ()
    told = parse_comment(job.comment).nodes
    if told or ending is not ENDINGS["NODE_FAIL"]:
        return told
    names = first_nodes(job.failed_node or (job.nodes if job.node_count == 1 else ""), NODES_KEPT)
    return tuple(name for name in names if NODE_NAME.fullmatch(name))

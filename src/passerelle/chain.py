"""What the attempts of a run leave to the next one: how far they came, and which nodes to keep away from. Pure.

Both are read from the status and from what the site shows now, which is newer: an operator that starts anew knows what
the one before knew.
"""

from __future__ import annotations

from passerelle.decide import Seen
from passerelle.progress import NODE_NAME, parse_comment
from passerelle.slurm import ENDINGS, Blame, RemoteJob, first_nodes
from passerelle.v1alpha1.trainingjob_status import NODES_KEPT, Progress, TrainingJobStatus


def reached(status: TrainingJobStatus, seen: Seen) -> dict[int, int]:
    """The step to which each attempt came: of its newest checkpoint where the run tells of any, else its last one."""
    told = {number: parse_comment(job.comment).progress or Progress() for number, job in seen.jobs}
    last = {each.number: each.last_step for each in status.attempts}
    saved = {each.number: each.checkpoint_step for each in status.attempts}
    last |= {number: each.step for number, each in told.items() if each.step is not None}
    saved |= {number: each.checkpoint_step for number, each in told.items() if each.checkpoint_step is not None}
    steps = saved if any(step is not None for step in saved.values()) else last
    return {number: step for number, step in steps.items() if step is not None}


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

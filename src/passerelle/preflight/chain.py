"""Time limits and attempts: is the limit known, what is lost when a run is cut, and does the chain lead anywhere?"""

from __future__ import annotations

from collections.abc import Iterator

from passerelle.grace import RESOLUTION_SECONDS
from passerelle.preflight.finding import Finding, attempts, warning
from passerelle.preflight.request import Request
from passerelle.profiles import Cost
from passerelle.v1alpha1.meta import seconds

SAFE_MINUTES = 4 * 60
"""The shortest limit of an ordinary queue of these machines (Discoverer+'s): whoever asks for no more is safe."""
SAFE_NODES = 4
"""The smallest limit of an ordinary queue of these machines (Deucalion's)."""
ATTEMPTS = 4
"""Of a chain whose length nobody knows."""
_LONG_MINUTES = 12 * 60
"""What is worth a checkpoint in any case; less, where the site's longest limit is less."""


def findings(request: Request) -> Iterator[Finding]:
    yield from _limits(request)
    yield from _checkpoint(request)
    yield from _ends(request)
    yield from _grace(request)
    yield from _ttl(request)
    yield from _price(request)


def _limits(request: Request) -> Iterator[Finding]:
    placed, minutes = request.placed, request.minutes
    if placed is None:
        return
    if placed.longest_minutes is None and isinstance(minutes, int) and minutes > SAFE_MINUTES:
        text = f"The longest time limit of {placed.where} is not known: the site may refuse {request.job.time_limit}."
        fix = f"Write at most {SAFE_MINUTES // 60}h, or ask the site."
        yield warning("LimitUnknown", "spec.timeLimit", text, fix)
    if placed.limits.max_nodes is None and placed.size.nodes > SAFE_NODES:
        text = f"The largest job of {placed.where} is not known: the site may refuse {placed.size.nodes} nodes."
        fix = f"Write at most {SAFE_NODES} nodes, or ask the site."
        yield warning("LimitUnknown", "spec.gpus" if request.job.gpus is not None else "spec.nodes", text, fix)


def _checkpoint(request: Request) -> Iterator[Finding]:
    """The first that holds: what a run without checkpoints may lose."""
    job, placed = request.job, request.placed
    if job.checkpoint is not None:
        return
    partition = request.partition
    preempts = placed.limits.preempts if placed is not None else partition is not None and partition.preempts
    chain = f"checkpoint: {{grace: 5m}} and retry: {{maxAttempts: {ATTEMPTS}}}"
    fix = f"Have the trainer save and resume, and write {chain}, or more."
    if preempts:
        where = placed.where if placed is not None else f"partition {partition.name}" if partition is not None else ""
        text = f"The site may requeue a job in {where} at any time, and without checkpoint it starts from nothing."
        yield warning("SiteRequeues", "spec.checkpoint", text, fix)
        return
    longest = placed.longest_minutes if placed is not None else None
    long = max(SAFE_MINUTES, min(_LONG_MINUTES, longest or _LONG_MINUTES))
    if not isinstance(request.minutes, int) or request.minutes < long:
        return
    if job.retry.max_attempts > 1:
        text = "Without checkpoint each attempt starts from nothing, and none comes further than the first."
        fix = "Have the trainer save and resume, and write checkpoint: {grace: 5m}; or leave retry out."
        yield warning("ChainUseless", "spec.retry.maxAttempts", text, fix)
    else:
        text = f"Without checkpoint the time limit or a failed node loses up to {job.time_limit} of training."
        yield warning("CheckpointMissing", "spec.checkpoint", text, fix)


def _ends(request: Request) -> Iterator[Finding]:
    job = request.job
    if job.checkpoint is None or job.retry.max_attempts > 1 or not isinstance(request.minutes, int):
        return
    text = "One attempt is all there is: none goes on from the checkpoint that is saved before the time limit."
    fix = f"Write retry: {{maxAttempts: {ATTEMPTS}}}, or as many as the run needs; or leave checkpoint out."
    yield warning("ChainEnds", "spec.retry.maxAttempts", text, fix, patch=attempts(job, ATTEMPTS))


def _grace(request: Request) -> Iterator[Finding]:
    checkpoint = request.job.checkpoint
    if checkpoint is not None and seconds(checkpoint.grace) < RESOLUTION_SECONDS:
        text = f"grace {checkpoint.grace} is less than the minute in which Slurm looks at time limits."
        fix = "Write at least grace: 60s, and more than the trainer takes to save."
        yield warning("GraceTooShort", "spec.checkpoint.grace", text, fix)


def _ttl(request: Request) -> Iterator[Finding]:
    job = request.job
    if job.ttl_seconds_after_finished is not None and job.run_id is None:
        text = "Where Git holds this TrainingJob, it is created again once it is deleted, and trains again."
        fix = "Write a runId, by which a second copy knows the finished run; or leave ttlSecondsAfterFinished out."
        yield warning("TtlWithoutRunId", "spec.ttlSecondsAfterFinished", text, fix)


def _price(request: Request) -> Iterator[Finding]:
    job = request.job
    cost = request.cost() if isinstance(request.minutes, int) else None
    if cost is None:
        return
    text = f"An attempt that runs for its whole timeLimit costs {cost}"
    most = Cost(cost.amount * job.retry.max_attempts, cost.unit)
    also = f", and all {job.retry.max_attempts} together {most}" if job.retry.max_attempts > 1 else ""
    yield Finding(id="Price", severity="info", field="spec.timeLimit", message=f"{text}{also}.", cost=cost)

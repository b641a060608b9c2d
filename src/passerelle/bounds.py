"""A status that fits: at most 16 KiB as JSON, whatever the site, the trainer or a message brought.

The models bound each field generously, since a field's limit can't be lowered later; all fields at their limits would
be some five times what a status may be. So what is worth least goes first, and only as much as must: the nodes of
earlier attempts, the messages of transfers (a condition has the worst), the ends of long messages, all but the worst
findings, the oldest attempts, the trainer's metrics, the nodes of the newest attempt, the older ones of those to keep
away from, the last findings, and all of transfers. That attempt itself is never dropped, since it may still be running;
nor is it forgotten how far the others came. A rich status (ten attempts on 32 nodes each, nine conditions, three of
them with 600 bytes of stderr) loses nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from passerelle.chain import unlisted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passerelle.v1alpha1.meta import Condition
    from passerelle.v1alpha1.trainingjob_status import TrainingJobStatus

STATUS_LIMIT = 16 * 1024
"""Bytes of a status. Ten thousand TrainingJobs stay within 160 MiB in etcd and in a watch's first list."""

_EXCLUDED_LEAST = 6
_FINDINGS_LEAST = 4

_MESSAGE_STEPS = (1024, 512, 256, 128)
"""Bytes of a message, tried in this order; the message of a failure holds up to 600 bytes of stderr."""


def size(status: TrainingJobStatus) -> int:
    """Bytes of a status as it is sent."""
    told = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return len(json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode())


def fit(status: TrainingJobStatus, limit: int = STATUS_LIMIT) -> TrainingJobStatus:
    """The status, or as much of it as fits."""
    least = status
    for least in _ever_less(status):
        if size(least) <= limit:
            break
    return least


def _ever_less(status: TrainingJobStatus) -> Iterator[TrainingJobStatus]:
    yield status
    earlier = [attempt.model_copy(update={"nodes": []}) for attempt in status.attempts[:-1]]
    newest = status.attempts[-1:]
    status = status.model_copy(update={"attempts": earlier + newest})
    yield status
    silent = [each.model_copy(update={"message": ""}) for each in status.transfers]
    status = status.model_copy(update={"transfers": silent})
    yield status
    for length in _MESSAGE_STEPS:
        status = status.model_copy(update={"conditions": [_shortened(each, length) for each in status.conditions]})
        yield status
    status = status.model_copy(update={"findings": status.findings[:_FINDINGS_LEAST]})
    yield status
    for place, gone in enumerate(earlier, 1):
        left = {"attempts": earlier[place:] + newest, "earlier_attempts": unlisted(status, [gone])}
        status = status.model_copy(update=left)
        yield status
    status = status.model_copy(
        update={
            "attempts": [attempt.model_copy(update={"nodes": []}) for attempt in newest],
            "progress": status.progress and status.progress.model_copy(update={"metrics": []}),
            "excluded_nodes": status.excluded_nodes[-_EXCLUDED_LEAST:],
            "findings": [],
            "transfers": [],
        }
    )
    yield status


def _shortened(condition: Condition, length: int) -> Condition:
    told = condition.message.encode()
    if len(told) <= length:
        return condition
    return condition.model_copy(update={"message": told[: length - len("…".encode())].decode(errors="ignore") + "…"})

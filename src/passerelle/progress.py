"""The record in a job's comment -> what a status says of it. Pure, and tolerant: others may write comments, too.

The record is onsite/report.py's. Whatever does not fit is left out, never an error.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from passerelle.onsite.report import METRIC_NAME, METRICS
from passerelle.v1alpha1.trainingjob_status import Exit, Metric, Progress

log = logging.getLogger("passerelle.progress")

VERSION = 1
NODES = 4
NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ERR_LIMIT = 600
_LARGEST = 2**53
_LAST_SECOND = 253402300799
"""The end of the year 9999, where date arithmetic ends."""
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Report:
    """What the comment told. `exit` is there once the epilogue has spoken; `heard`: a record of ours is there.

    `first_step` is the first one of this attempt. `nodes` are those through which it failed. `told_at` is the job's own
    clock, in epoch seconds.
    """

    progress: Progress | None = None
    first_step: int | None = None
    exit: Exit | None = None
    nodes: tuple[str, ...] = ()
    stderr: str = ""
    heard: bool = False
    told_at: int | None = None


def parse_comment(comment: str) -> Report:
    """Read a comment; an empty Report where it holds no record of ours."""
    if not comment:
        return Report()
    try:
        return _parsed(comment)
    except (ValueError, RecursionError):
        return Report()
    except Exception:  # a defect of ours: the words of one job must not stop the look at all of its site
        log.exception("a job's record can't be read")
        return Report()


def newest(one: str, other: str) -> str:
    """Of two comments of a job the one that was told later; the first, where that can't be said."""
    if one == other or not other:
        return one
    first, second = parse_comment(one), parse_comment(other)
    if not first.heard:
        return other if second.heard or not one else one
    return other if _moment(second) > _moment(first) else one


def _moment(report: Report) -> int:
    return -1 if report.told_at is None else report.told_at


def _parsed(comment: str) -> Report:
    told = json.loads(comment)
    if not isinstance(told, dict) or told.get("v") != VERSION:
        return Report()
    end = told.get("end")
    report = Report(
        progress=_progress(told), first_step=_natural(told.get("f")), heard=True, told_at=_natural(told.get("t"))
    )
    if not isinstance(end, dict):
        return report
    found = Exit(code=_whole(end.get("code")), signal=_whole(end.get("signal")), rank=_whole(end.get("rank")))
    stderr = end.get("err")
    text = _clean(stderr) if isinstance(stderr, str) else ""
    return replace(report, exit=found, nodes=_nodes(end.get("nodes")), stderr=text)


def _nodes(told: object) -> tuple[str, ...]:
    """Only what can be a node's name: it is going to stand in an option."""
    names = told if isinstance(told, list) else []
    return tuple(name for name in names if isinstance(name, str) and NODE_NAME.fullmatch(name))[:NODES]


def _progress(told: Mapping[str, Any]) -> Progress | None:
    """None while the trainer has told nothing."""
    step, total = _natural(told.get("s")), _natural(told.get("n"))
    percentage = _natural(told.get("p"))
    if percentage is None and step is not None and total:
        percentage = step * _HUNDRED // total
    metrics = told.get("m")
    found = Progress(
        step=step,
        total_steps=total,
        checkpoint_step=_natural(told.get("c")),
        percentage=None if percentage is None else min(percentage, _HUNDRED),
        eta_seconds=_natural(told.get("e")),
        metrics=_metrics(metrics) if isinstance(metrics, dict) else [],
    )
    return None if found == Progress() else found.model_copy(update={"updated_at": _time(told.get("t"))})


def _metrics(told: Mapping[str, Any]) -> list[Metric]:
    pairs = [(name, decimal(value)) for name, value in sorted(told.items()) if METRIC_NAME.fullmatch(name)]
    return [Metric(name=name, value=value) for name, value in pairs if value is not None][:METRICS]


def decimal(value: object) -> str | None:
    """A number as a CRD carries it, or None where it is none."""
    if _whole(value) is not None:
        return str(value)
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return f"{number:.6g}" if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return value if good and isinstance(value, int) else None


def _natural(value: object) -> int | None:
    whole = _whole(value)
    return whole if whole is not None and whole >= 0 else None


def _time(value: object) -> str | None:
    whole = _natural(value)
    if whole is None or whole > _LAST_SECOND:
        return None
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clean(text: str) -> str:
    """What may stand in a condition's message: printable, at most 600 bytes, the last ones."""
    printable = "".join(c for c in text if c in "\n\t" or c.isprintable())
    return printable.encode("utf-8", "ignore")[-_ERR_LIMIT:].decode("utf-8", "ignore").strip()

"""The one record of a job: progress while it runs, the end beside the last progress when it has run.

    {"v": 1, "t": time, "f": first step of the attempt, "s": step, "c": step of the newest checkpoint,
     "n": steps in all, "p": percentage, "e": seconds left, "m": {name: number},
     "end": {"code": 3, "signal": null, "rank": 1, "nodes": ["n2"], "err": "the last of the rank's standard error"}}

`nodes` are those through which the attempt failed, where one did.

Plain JSON in UTF-8, as one argument of scontrol: Slurm 22.05 to 26.05 keep each byte of it and refuse more than 1024.

The report file holds the same record, and whose it is:

    {"jobId": "4711", "restartCount": 0, "record": {"v": 1, ...}}
"""

import json
import math
import re
from typing import Any, Dict, List, Optional

LIMIT_BYTES = 900
ERR_BYTES = 600
METRICS = 8
NODES = 4
"""Of the nodes at fault: more of them, and it is not the nodes."""
_NODE = 64

_KEYS = {"step": "s", "checkpointStep": "c", "totalSteps": "n", "percentage": "p", "etaSeconds": "e"}
METRIC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,63}")
_LARGEST = 2**53
"""Beyond it an integer is not the same number to every reader of JSON."""


class Progress:
    """What the trainer told last, key by key: a line need not repeat what an earlier one said."""

    def __init__(self) -> None:
        self.values: Dict[str, float] = {}
        self.metrics: Dict[str, float] = {}

    def take(self, line: str) -> bool:
        """Read one line; False where it is no JSON object. Other trouble is the line's own and is passed over."""
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(told, dict):
            return False
        for key, value in told.items():
            number = _number(value)
            if number is None:
                continue
            if key in _KEYS:
                self.values[_KEYS[key]] = int(max(-_LARGEST, min(number, _LARGEST)))
                if key == "step":
                    self.values.setdefault("f", self.values["s"])
            elif METRIC_NAME.fullmatch(key) and (key in self.metrics or len(self.metrics) < METRICS):
                self.metrics[key] = number
        return True

    def record(self, now: float, end: Optional[Dict[str, Any]] = None) -> str:
        """The record, in at most LIMIT_BYTES: the last metrics go first, then the beginning of the error."""
        told: Dict[str, Any] = dict(self.values, v=1, t=int(now))
        metrics = list(self.metrics.items())
        err = ""
        if end is not None:
            told["end"] = {key: end[key] for key in ("code", "signal", "rank")}
            if end.get("nodes"):
                told["end"]["nodes"] = [node[:_NODE] for node in end["nodes"][:NODES]]
            err = _last(end.get("err") or "", ERR_BYTES)
        while True:
            text = _compact(told, metrics, err)
            over = len(text.encode("utf-8")) - LIMIT_BYTES
            if over <= 0:
                return text
            if metrics:
                metrics.pop()
            else:
                err = err[max(1, over // 6) :]  # a character takes at most 6 bytes of JSON, so this never cuts too much


def _compact(told: Dict[str, Any], metrics: List[Any], err: str) -> str:
    whole = dict(told)
    if metrics:
        whole["m"] = dict(metrics)
    if err:
        whole["end"] = dict(told["end"], err=err)
    return json.dumps(whole, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _last(text: str, limit: int) -> str:
    """The last bytes of a text, whole characters, without what a terminal would act on."""
    clean = "".join(c for c in text.replace("\r\n", "\n").replace("\r", "\n") if c in "\n\t" or c.isprintable())
    return clean.strip().encode("utf-8")[-limit:].decode("utf-8", "ignore").strip()


def _number(value: Any) -> Optional[float]:
    """A number that JSON can carry and people can read: no truth value, no NaN, six digits of a fraction."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float("%.6g" % value)
    return None

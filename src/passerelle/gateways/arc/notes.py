"""The two notes that our own first lines leave in the session directory (payload.py), read back. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Given:
    """What Slurm gave to the job, as the job's first line of ours wrote it down; see payload.py."""

    began: int
    standard_output: str
    report: str
    fields: Mapping[str, str]

    @property
    def gpus(self) -> int:
        found = re.search(r"gres/gpu=(\d+)", self.fields.get("AllocTRES") or self.fields.get("TRES", ""))
        return int(found[1]) if found else 0

    @property
    def time_limit_minutes(self) -> int | None:
        """Of `2-03:04:05`; None for UNLIMITED."""
        found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", self.fields.get("TimeLimit", ""))
        if found is None:
            return None
        days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
        return (days * 24 + hours) * 60 + minutes + (seconds > 0)


def given(text: str) -> Given | None:
    """Of the note: a moment, the paths of the log and the report file, and what `scontrol --oneliner show job` said."""
    began, log, report, *said = [*text.splitlines(), "", "", ""]
    if not began.isdecimal() or not log:
        return None
    if not report.startswith("/"):  # none, or a note of a release that had no report files
        said, report = [report, *said], ""
    told = " ".join(said)  # scontrol may have failed
    return Given(int(began), log, report, dict(re.findall(r"(?:^|\s)([A-Za-z/:]+)=(\S*)", told)))


@dataclass(frozen=True, slots=True)
class Left:
    """How the script ended, by its own note."""

    code: int
    moment: int


def left(text: str) -> Left | None:
    """Of the note: a code and a moment."""
    words = text.split()
    return Left(*map(int, words)) if len(words) == 2 and all(map(str.isdecimal, words)) else None  # noqa: PLR2004

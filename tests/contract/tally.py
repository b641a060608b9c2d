"""What a run of the contract proved, a key for each driver and server version. Pure.

`live` says whether a server answered at all. `passed` and `failed` count rows that ran against it; `recorded` counts
rows that passed on answers which were written down: those prove that we read them as we mean to, and nothing of a
server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Protocol

SERVER = "server"
SPEED = "speed"
"""Of a row, told in words: what a person wants to read at the end."""


class Report(Protocol):
    """What pytest tells of a phase of a test."""

    @property
    def nodeid(self) -> str: ...
    @property
    def when(self) -> str | None: ...
    @property
    def outcome(self) -> str: ...
    @property
    def user_properties(self) -> list[tuple[str, Any]]: ...


def tally(reports: Iterable[Report], *, live: Collection[str]) -> dict[str, dict[str, bool | int]]:
    """A row that failed in any of its phases failed. `live` names the gateways that are no make-believe."""
    told = [(dict(report.user_properties), report) for report in reports]
    names = {facts["gateway"]: facts[SERVER] for facts, _ in told if SERVER in facts}
    rows: dict[tuple[str, str, bool], str] = {}
    for facts, report in told:
        if "gateway" not in facts:
            continue
        key = (facts["gateway"], report.nodeid, facts["recorded"])
        if report.outcome == "failed" or report.when == "call":
            rows[key] = "failed" if "failed" in (report.outcome, rows.get(key)) else report.outcome
        elif report.outcome == "skipped":
            rows[key] = "skipped"
    found: dict[str, dict[str, bool | int]] = {}
    for (word, _, recorded), outcome in sorted(rows.items()):
        counts = found.setdefault(
            names.get(word, word), {"live": word in live and word in names, **dict.fromkeys(_COUNTS, 0)}
        )
        counts["recorded" if recorded and outcome == "passed" else outcome] += 1
    return found


_COUNTS = ("passed", "failed", "recorded", "skipped")

"""docs/faults/runs.jsonl: a line a run, with the hash of what was tried. Runs of one hash add up, whoever made them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.history import Verdict
from faults.run import Ran
from tree import REPOSITORY, tree_hash

RUNS = REPOSITORY / "docs" / "faults" / "runs.jsonl"
TRIED = ("src", "operator", "tests/faults")
"""What a run tries, and what tries it: another tree of these has to be tried anew."""
_DEFECTS = ("submittedAgain", "executedTwice", "orphans", "lost", "wrongEnd")


@dataclass(frozen=True, slots=True)
class Sum:
    """The runs of one hash: how many different seeds counted, and all that was found in any run."""

    runs: int
    found: Mapping[str, int]

    def __str__(self) -> str:
        found = ", ".join(f"{name} {self.found.get(name, 0)}" for name in ("submittedTwice", *_DEFECTS))
        return f"{self.runs} runs: {found}"


def key() -> str:
    """The hash of what is tried, as it lies here: its first 16 digits."""
    return tree_hash(*TRIED)[:16]


def row(tried: str, ran: Ran) -> dict[str, Any]:
    """A run, as it is on record."""
    return {
        "key": tried,
        "seed": ran.plan.seed,
        "door": ran.plan.door,
        "counts": ran.counts,
        "happened": [*ran.events, *map(str, ran.plan.happened)],
        **figures([ran.verdict]),
        "stoppingSeconds": round(ran.verdict.stopping_seconds),
    }


def figures(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How much was found."""
    every = list(verdicts)
    return {
        "submittedTwice": sum(len(each.submitted_twice) for each in every),
        "submittedAgain": sum(len(each.submitted_again) for each in every),
        "executedTwice": sum(len(each.executed_twice) for each in every),
        "orphans": sum(len(each.orphans) for each in every),
        "lost": sum(len(each.lost) for each in every),
        "wrongEnd": sum(len(each.wrong_end) for each in every),
    }


def append(made: Mapping[str, Any], path: Path = RUNS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(made) + "\n")


def summed(tried: str, path: Path = RUNS) -> Sum:
    """What is on record of this hash. A seed that was run twice counts once; whatever was found counts each time."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [each for each in map(json.loads, lines) if each["key"] == tried]
    found: Counter[str] = Counter()
    for each in rows:
        found.update({name: each[name] for name in ("submittedTwice", *_DEFECTS)})
    return Sum(len({each["seed"] for each in rows if each["counts"]}), found)

"""`make faults SEEDS=n`: runs in which calls are lost, answers lie and operators die; its last line is JSON.

`sample` instead of seeds is a few of them, drawn from the commit's hash, those mishaps that ever led to a defect, one
of the seeds that once failed, and one of the mutants. It leaves no record.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tree
from faults import record
from faults.kept import FAILED, KEPT
from faults.mutation import MUTANTS, Mutant
from faults.plan import Fault, Plan, drawn
from faults.suite import LIFE_EVERY, Suite
from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError

SAMPLE, OF = 5, 1000
SLOW = frozenset({Fault.FREEZE})
"""What is noticed after minutes only."""


def seeds(words: str) -> range:
    """`n` is 1 to n, `a-b` is a to b. Raises SandboxError."""
    found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", words)
    if found is None:
        raise SandboxError(f"{words!r} are no seeds; write a number, for 1 to that, or two: 11-20.")
    first, last = (1, found[1]) if found[2] is None else (found[1], found[2])
    return range(int(first), int(last) + 1)


def sampled(commit: str) -> list[Plan]:
    """A few seeds through slurmrestd's door, the same ones for the same commit, and over time all of them."""
    quick = [str(plan.seed) for plan in map(drawn, range(1, OF + 1)) if _is_quick(plan)]
    return [drawn(int(seed)) for seed in tree.drawn(commit, quick, SAMPLE)]


def _is_quick(plan: Plan) -> bool:
    """Within the sandbox that is up anyway, and without minutes of waiting."""
    of_calls = plan.door == "slurmrestd" and plan.seed % LIFE_EVERY != 0
    return of_calls and not any(each.fault in SLOW for each in plan.mishaps)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is run: plans by their names, and mutants. `tried` is the name of the tree in the record; empty: none."""

    plans: Sequence[tuple[str, Plan]]
    mutants: Sequence[Mutant]
    tried: str = ""


def chosen(words: str) -> Chosen:
    """By seeds, or `sample`. Raises SandboxError."""
    if words != "sample":
        return Chosen([(f"seed-{seed}", drawn(seed)) for seed in seeds(words)], MUTANTS, record.key())
    commit = tree.commit()
    (failed,) = tree.drawn(commit, [str(seed) for seed in FAILED], 1)
    plans = [(f"seed-{plan.seed}", plan) for plan in (*sampled(commit), drawn(int(failed)))]
    kept = [(name, Plan(0, mishaps)) for name, mishaps in KEPT.items()]
    say.line(f"left out: {', '.join(str(seed) for seed in FAILED if str(seed) != failed)}, which failed once, too")
    return Chosen(plans + kept, random.Random(commit).sample(MUTANTS, 1))  # noqa: S311 -- it draws a test


async def main(what: Chosen) -> int:
    suite = Suite(what.tried)
    await suite.play(what.plans, what.mutants)
    for each in suite.wrongly:
        say.line(each)
    if what.tried:
        say.line(f"on record for this tree ({what.tried}): {record.summed(what.tried)}")
    say.line(json.dumps(suite.figures(len(what.mutants))))
    return 0 if suite.well(len(what.mutants)) else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(chosen(sys.argv[1] if len(sys.argv) > 1 else "4"))))
    except (SandboxError, TimeoutError) as error:
        say.warn(f"faults: {error}")
        sys.exit(1)

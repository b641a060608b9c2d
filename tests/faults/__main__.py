"""`make faults SEEDS=n`: runs in which calls are lost, answers lie and operators die; its last line is JSON.

`sample` instead of seeds is a few of them, drawn from the commit's hash, those mishaps that ever led to a defect, and
one of the mutants. It leaves no record.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx

import tree
from faults import record
from faults.kept import KEPT
from faults.mutation import MUTANTS, Mutant
from faults.plan import Fault, Plan, by_kind, drawn
from faults.run import Ran, catches, run
from faults.stage import Stage, raised
from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError

AT_ONCE = 8
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
    return plan.door == "slurmrestd" and not any(each.fault in SLOW for each in plan.mishaps)


async def all_runs(stage: Stage, plans: Iterable[tuple[str, Plan]], tried: str) -> tuple[list[Ran], list[str]]:
    """Each under its name, several at a time; on record where `tried` tells what was tried. Beside them the names of
    those that came to no verdict.
    """
    gate = asyncio.Semaphore(AT_ONCE)
    done: list[Ran] = []
    broken: list[str] = []

    async def one(name: str, plan: Plan) -> None:
        async with gate:
            began = time.monotonic()
            try:
                ran = await run(stage, plan, name)
            except (SandboxError, httpx.HTTPError, TimeoutError, subprocess.TimeoutExpired) as error:
                say.line(f"  {name}, {plan.door}: it came to no verdict: {error!r}")
                broken.append(name)
                return
        done.append(ran)
        if tried:
            record.append(record.row(tried, plan, ran.verdict))
        word = "; ".join(ran.verdict.defects) or "well"
        mishaps = ", ".join(map(str, plan.happened)) or "nothing happened"
        say.line(f"  {name}, {plan.door}, {time.monotonic() - began:.0f} s, {mishaps}: {word}")

    async with asyncio.TaskGroup() as group:
        for name, plan in plans:
            group.create_task(one(name, plan))
    return done, broken


async def caught_by(stage: Stage, mutants: Sequence[Mutant]) -> int:
    """How many of them the check catches; they are tried one after the other."""
    caught = 0
    for each in mutants:
        seen = await catches(stage, each)
        caught += seen
        say.line(f"  mutant {each.name}: {'caught' if seen else 'NOT caught'}")
    return caught


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
    plans = [(f"seed-{plan.seed}", plan) for plan in sampled(commit)]
    kept = [(name, Plan(0, mishaps)) for name, mishaps in KEPT.items()]
    return Chosen(plans + kept, random.Random(commit).sample(MUTANTS, 1))  # noqa: S311 -- it draws a test


async def main(what: Chosen) -> int:
    began = time.monotonic()
    async with raised() as stage:
        done, broken = await all_runs(stage, what.plans, what.tried)
        took, ended = time.monotonic() - began, dict(sorted(stage.operators.ended.items()))
        caught = await caught_by(stage, what.mutants)
        wrongly = list(stage.operators.wrongly)
    for each in wrongly:
        say.line(each)
    if what.tried:
        say.line(f"on record for this tree ({what.tried}): {record.summed(what.tried)}")
    figures = {
        "runs": sum(each.plan.counts for each in done),
        "quiet": sum(not each.plan.counts for each in done),
        **record.figures(each.verdict for each in done),
        "failedSeeds": sorted(each.plan.seed for each in done if each.verdict.defects),
        "broken": broken,
        "operatorsEnded": {str(code): number for code, number in ended.items()},
        "faultsByKind": by_kind(mishap for each in done for mishap in each.plan.happened),
        "mutantsCaught": caught,
        "mutants": len(what.mutants),
        "seconds": round(took),
    }
    say.line(json.dumps(figures))
    well = not (figures["failedSeeds"] or broken or wrongly) and caught == len(what.mutants)
    return 0 if well else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(chosen(sys.argv[1] if len(sys.argv) > 1 else "4"))))
    except (SandboxError, TimeoutError) as error:
        say.warn(f"faults: {error}")
        sys.exit(1)

"""`make faults SEEDS=n`: runs in which calls are lost, answers lie and the operator dies; its last line is JSON."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

from faults.mutation import MUTANTS, Mutant
from faults.plan import ENOUGH, by_kind
from faults.stage import Ran, Stage, raised
from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError

AT_ONCE = 4


def seeds(words: str) -> range:
    """`n` is 1 to n, `a-b` is a to b. Raises SandboxError."""
    found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", words)
    if found is None:
        raise SandboxError(f"{words!r} are no seeds; write a number, for 1 to that, or two: 11-20.")
    first, last = (1, found[1]) if found[2] is None else (found[1], found[2])
    return range(int(first), int(last) + 1)


async def all_runs(stage: Stage, numbers: range) -> list[Ran]:
    gate = asyncio.Semaphore(AT_ONCE)
    done: list[Ran] = []

    async def one(seed: int) -> None:
        async with gate:
            began = time.monotonic()
            ran = await stage.run(seed)
            done.append(ran)
            word = "; ".join(ran.verdict.defects) or "well"
            mishaps = ", ".join(map(str, ran.plan.happened))
            say.line(f"  seed {seed}, {time.monotonic() - began:.0f} s, {mishaps or 'nothing happened'}: {word}")

    await asyncio.gather(*(one(seed) for seed in numbers))
    return done


async def caught_by(stage: Stage, mutant: Mutant) -> bool:
    caught = await stage.catches(mutant)
    say.line(f"  mutant {mutant.name}: {'caught' if caught else 'NOT caught'}")
    return caught


async def main(words: str) -> int:
    numbers = seeds(words)
    async with raised() as stage:
        done = await all_runs(stage, numbers)
        restarts = stage.restarts
        caught = [each.name for each in MUTANTS if await caught_by(stage, each)]
    figures = {
        "runs": sum(len(each.plan.happened) >= ENOUGH for each in done),
        "quiet": sum(len(each.plan.happened) < ENOUGH for each in done),
        "submittedTwice": sum(len(each.verdict.submitted_twice) for each in done),
        "executedTwice": sum(len(each.verdict.executed_twice) for each in done),
        "orphans": sum(len(each.verdict.orphans) for each in done),
        "lost": sum(len(each.verdict.lost) for each in done),
        "wrongEnd": sum(len(each.verdict.wrong_end) for each in done),
        "failedSeeds": sorted(each.plan.seed for each in done if each.verdict.defects),
        "restarts": restarts,
        "faultsByKind": by_kind(mishap for each in done for mishap in each.plan.happened),
        "mutantsCaught": len(caught),
        "mutants": len(MUTANTS),
    }
    say.line(json.dumps(figures))
    return 1 if figures["failedSeeds"] or len(caught) < len(MUTANTS) else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "4")))
    except (SandboxError, TimeoutError) as error:
        say.warn(f"faults: {error}")
        sys.exit(1)

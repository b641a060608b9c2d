"""`make bench`: what the operator costs and how fast it is, on a real control plane and a real Slurm.

It tells what it does, checks that every TrainingJob lived its life exactly once, and ends with one line of JSON. The
exit code is 1 where one did not; whether an aim is met is told, and decides nothing. docs/bench.md explains it all.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time

from bench.crowd import LEAST
from bench.stage import GPUS, NODES, Stage
from passerelle_sandbox import sandbox, say
from passerelle_sandbox.errors import SandboxError

JOBS = 500


def main(jobs: int) -> int:
    """Run it all in a sandbox of its own, and take that down."""
    if jobs < LEAST:
        raise SandboxError(f"{jobs} TrainingJobs are too few to be divided; say {LEAST} or more.")
    name = f"bench-{secrets.token_hex(3)}"
    began = time.monotonic()
    say.line(f"{jobs} TrainingJobs at once, for a site of {NODES} nodes with {GPUS} GPUs each; sandbox {name!r}")
    there = sandbox.up(name, nodes=NODES, gpus=GPUS)
    try:
        stage = Stage(there, jobs)
        stage.set()
        figures = asyncio.run(stage.play())
    finally:
        with say.step("taking everything down"):
            there.down()
    say.line(f"{time.monotonic() - began:.0f} s in all")
    if figures is None:
        return 1
    for line in figures.aims():
        say.line(line)
    say.line(figures.line())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else JOBS))
    except (SandboxError, TimeoutError) as error:
        say.warn(f"bench: {error}")
        sys.exit(1)

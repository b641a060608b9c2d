"""The site at its limit: slurmctld takes no more jobs of anybody's (MaxJobCount, error 2007), and TrainingJobs wait."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from bench import neighbourhood
from bench.crowd import site
from bench.neighbourhood import run
from bench.readings import GATEWAY, Between
from bench.trial import trial
from bench.watched import Watched
from bench.workload import trainingjob
from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.sandbox import Sandbox
from passerelle_sandbox.site.serve import Site

NAMESPACE = "bench-limit"
COUNT = 40
LASTS = 15
WATCHED_SECONDS = 45.0
ARRAY = 1_000
"""Tasks of an array; each counts as a job."""

REFUSED_SECONDS = 15
"""sbatch itself tries again for minutes where the limit is reached."""

REASON = "TooManyJobs"
MEMORY_SECONDS = 10
"""How long slurmctld remembers jobs that have ended, here: until then they count."""
_PATIENCE = 600.0
_NOWHERE = ("--hold", "--chdir=/tmp", "--output=/dev/null")


@dataclass(frozen=True, slots=True)
class Limit:
    """So many TrainingJobs waited with the reason of the limit, which `submits` tried, and all ran afterwards."""

    waited: int
    submits: int


async def at_the_limit(there: Sandbox, place: Site, watched: Watched) -> Limit:
    """Fill the site to its MaxJobCount, create some, see them wait, make room, and see them run."""
    limit = max_job_count(await asyncio.to_thread(run, place, "scontrol", "show", "config"))
    with say.step(f"a neighbour fills the site up to its MaxJobCount, {limit}"):
        await asyncio.to_thread(_forget_soon, place)
        await asyncio.to_thread(_fill, place, limit)
    manifests = [trainingjob(NAMESPACE, f"job-{number:03}", site=site(number), lasts=LASTS) for number in range(COUNT)]
    async with trial(there, watched, NAMESPACE, manifests) as made:
        first = await watched.reading()
        await made.create()
        with say.step(f"{COUNT} TrainingJobs, for {WATCHED_SECONDS:.0f} s"):
            await asyncio.sleep(WATCHED_SECONDS)
        submits = Between(first, await watched.reading()).count(f"{GATEWAY}_requests_total", operation="submit")
        waited = sum(entry.reason == REASON and entry.job_id is None for entry in made.diary.entries.values())
        say.line(f"  {waited} wait for {REASON} after {submits:.0f} submits ({made.diary.summaries()})")
        with say.step("the neighbour's jobs end"):
            await asyncio.to_thread(neighbourhood.cancel, place, f"--user={neighbourhood.NEIGHBOUR}")
        await made.until(lambda: made.diary.finished == COUNT, "all of them to run", _PATIENCE)
        await made.api.delete_all()
        await made.until(lambda: made.diary.deleted == COUNT, "them to be gone", _PATIENCE)
    return Limit(waited, int(submits))


def max_job_count(config: str) -> int:
    """From `scontrol show config`."""
    found = re.search(r"^MaxJobCount\s*=\s*(\d+)", config, re.MULTILINE)
    if found is None:
        raise SandboxError("scontrol shows no MaxJobCount")
    return int(found[1])


def _fill(place: Site, limit: int) -> None:
    """Arrays, ever smaller ones, until not even a single job is taken."""
    size = ARRAY
    for _ in range(limit // ARRAY + 40):
        array = [f"--array=0-{size - 1}"] if size > 1 else []
        words = ("timeout", f"{REFUSED_SECONDS}", "sbatch", *_NOWHERE, *array, "--wrap=true")
        done = place.run(neighbourhood.as_neighbour(*words), timeout=60.0)
        if done.returncode == 0:
            continue
        if size == 1:
            return
        size = max(1, size // 10)
    raise SandboxError(f"the site took more than {limit} jobs")


def _forget_soon(place: Site) -> None:
    run(place, "sed", "-i", f"s/^MinJobAge=.*/MinJobAge={MEMORY_SECONDS}/", "/etc/slurm/slurm.conf")
    run(place, "scontrol", "reconfigure")

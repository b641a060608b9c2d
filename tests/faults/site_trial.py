"""`python -m faults.site_trial WORD...`: runs of a site's life alone. A word is an event (`held`), one of its ways
(`held/by-user`), or a seed; without words each event happens in each way. Its last line is JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from faults.events import FIRST_SECONDS, LASTS, Event, Happening, by_event, drawn_life, events_of
from faults.plan import Plan, drawn
from faults.site_run import SiteRan, play
from faults.site_stage import SiteStage, site_stage
from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError

ALONE_AT_SECONDS = FIRST_SECONDS + 5
"""When some TrainingJobs run and others wait."""


def stories(words: list[str]) -> list[tuple[Plan, tuple[Happening, ...], int]]:
    """What is to happen in each run. Raises SandboxError."""
    found: list[tuple[Plan, tuple[Happening, ...], int]] = []
    for word in words or [event.value for event in Event]:
        if word.isdecimal():
            found.append((drawn(int(word)), drawn_life(int(word)), int(word)))
            continue
        for event, way in events_of(word):
            lasts = sum(LASTS.get(event, (4.0, 4.0))) / 2
            one = Happening(event, way, ALONE_AT_SECONDS, lasts, draw=len(found))
            found.append((Plan(0, ()), (one,), len(found)))
    return found


async def run(stage: SiteStage, name: str, story: tuple[Plan, tuple[Happening, ...], int]) -> SiteRan:
    began = time.monotonic()
    ran = await play(stage, name, *story)
    word = "; ".join(ran.verdict.defects) or "well"
    if ran.verdict.defects:
        say.line(f"  {name}: its logs are kept in {stage.keep_logs(name)}")
    took = time.monotonic() - began
    befell = ", ".join(sorted(f"{blow.what} {blow.name}={blow.job_id}" for blow in ran.blows)) or "nothing"
    calls = ", ".join(map(str, ran.plan.happened)) or "nothing"
    events = ", ".join(map(str, ran.happened)) or "nothing"
    say.line(f"  {name}, {took:.0f} s, {events}; befell: {befell}; calls: {calls}: {word}")
    return ran


async def main(words: list[str]) -> int:
    told = stories(words)
    done: list[SiteRan] = []
    broken: list[str] = []
    async with site_stage() as stage:
        for number, story in enumerate(told):
            try:
                done.append(await run(stage, f"life-{number}", story))
            except (SandboxError, TimeoutError) as error:
                say.line(f"  life-{number}: it came to no verdict: {error!r}")
                broken.append(f"life-{number}")
    figures = {
        "runs": len(done),
        "events": by_event(each for ran in done for each in ran.happened),
        "defects": [defect for ran in done for defect in ran.verdict.defects],
        "broken": broken,
    }
    say.line(json.dumps(figures))
    return 1 if figures["defects"] or broken else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except (SandboxError, TimeoutError) as error:
        say.warn(f"faults: {error}")
        sys.exit(1)

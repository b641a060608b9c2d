"""The site as the bench needs it: a neighbour whose jobs fill the queue and the nodes, and the site's own records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bench.bare import BareClient, per_second
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.serve import Site

NEIGHBOUR = "neighbour"
_PATH = "PATH=/usr/bin:/bin"
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Life:
    """One job as accounting tells it; times are epoch seconds."""

    job_id: str
    name: str
    state: str
    start: int
    end: int


def run(site: Site, *argv: str) -> str:
    """What a command in the site says; loud where it fails."""
    done = site.run(list(argv), timeout=_PATIENCE)
    if done.returncode != 0:
        raise SandboxError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def settle_neighbour(site: Site) -> None:
    """Another user with another account, to whom nothing of ours belongs."""
    run(site, "useradd", "--no-create-home", "--home-dir", "/tmp", NEIGHBOUR)  # noqa: S108 -- the site's own
    run(site, "sacctmgr", "--immediate", "add", "account", NEIGHBOUR, f"cluster={site.cluster}")
    run(site, "sacctmgr", "--immediate", "add", "user", NEIGHBOUR, f"account={NEIGHBOUR}")


async def fill_queue(site: Site, count: int) -> float:
    """So many jobs of the neighbour, each a record of its own, which wait for ever; how many a second were taken."""
    token = run(site, "scontrol", "token", f"username={NEIGHBOUR}", "lifespan=3600").strip().partition("=")[2]
    client = BareClient(site.url, NEIGHBOUR, token)
    body = {
        "job": {
            "name": "neighbours-work",
            "hold": True,
            "current_working_directory": "/tmp",  # noqa: S108 -- the site's own
            "environment": [_PATH],
            "time_limit": {"set": True, "number": 10},
        },
        "script": "#!/bin/sh\nsleep 60\n",
    }
    content = json.dumps(body).encode()
    try:
        return await per_second([lambda: client.submit(content)] * count)
    finally:
        await client.close()


def fill_nodes(site: Site) -> str:
    """One job of the neighbour on all nodes; its id, once it runs."""
    nodes = len(site.shape.nodes)
    words = ["--parsable", "--exclusive", f"--nodes={nodes}", "--time=60", "--chdir=/tmp", "--output=/dev/null"]
    job_id = run(site, *as_neighbour("sbatch", *words, "--wrap=sleep 3600")).strip()
    run(site, "timeout", "30", "sh", "-c", f'until [ "$(squeue -ho %T -j {job_id})" = RUNNING ]; do sleep 0.2; done')
    return job_id


def as_neighbour(*argv: str) -> list[str]:
    """A command as this user."""
    return ["setpriv", f"--reuid={NEIGHBOUR}", f"--regid={NEIGHBOUR}", "--init-groups", "--", *argv]


def cancel(site: Site, *words: str) -> None:
    """End jobs, and return when they have left the queue."""
    run(site, "scancel", *words)


def left(site: Site, users: Sequence[str]) -> list[str]:
    """The names of the jobs of these users that the scheduler has and that have not ended."""
    return run(site, "squeue", "--noheader", "--format=%j", f"--user={','.join(users)}").split()


def lives(site: Site, users: Sequence[str]) -> list[Life]:
    """Every job of these users that the site ever knew, from accounting, each life of a requeued one included."""
    words = ["sacct", f"--user={','.join(users)}", "--allocations", "--duplicates", "--parsable2", "--noheader"]
    told = run(
        site,
        "env",
        "SLURM_TIME_FORMAT=%s",
        *words,
        "--starttime=now-1days",
        "--format=jobidraw,jobname%64,state,start,end",
    )
    found = []
    for line in told.splitlines():
        job_id, name, state, start, end = line.split("|")
        found.append(Life(job_id, name, state, _epoch(start), _epoch(end)))
    return found


def _epoch(text: str) -> int:
    return int(text) if text.isdigit() else 0

"""The least that any client could do: the same bodies, posted to the same slurmrestd, and nothing else.

What the operator adds to it (looking before it submits, the intent before the POST, conditions, events) is measured
against this. The bodies are the operator's own, made by its planner and its encoder; only the runs are others, so that
no job of these is ever taken for one of a TrainingJob.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx

from passerelle.brought import Brought
from passerelle.gateways.http import CONNECTIONS
from passerelle.gateways.slurmrestd.versions import NEWEST
from passerelle.marker import Run
from passerelle.plan import plan
from passerelle.profiles import load
from passerelle.render import render
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Body:
    """One `job/submit`, ready to be sent, and the name of its job."""

    marker: str
    content: bytes


def bodies(specs: Sequence[TrainingJobSpec], site: SiteSpec, namespace: str, labels: dict[str, str]) -> list[Body]:
    """What the operator would post for these TrainingJobs."""
    profile = load(site.profile)
    made = []
    for number, spec in enumerate(specs):
        planned = plan(
            spec,
            site,
            profile,
            run=Run.of_uid(str(uuid.uuid4())),
            attempt=1,
            namespace=namespace,
            name=f"bare-{number}",
            namespace_labels=labels,
            brought=Brought(),
        )
        made.append(Body(planned.marker, json.dumps(NEWEST.submit(render(planned))).encode()))
    return made


class BareClient:
    """Submits as one user, over as many connections as the operator's gateway has."""

    def __init__(self, url: str, user: str, token: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={
                "X-SLURM-USER-NAME": user,
                "X-SLURM-USER-TOKEN": token,
                "content-type": "application/json",
            },
            timeout=TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def submit(self, content: bytes) -> str:
        answer = await self._client.post(f"/{NEWEST.slurm}/job/submit", content=content)
        answer.raise_for_status()
        job_id = answer.json()["job_id"]
        if not isinstance(job_id, int) or job_id <= 0:
            raise RuntimeError(f"slurmrestd took no job: {answer.text[:500]}")
        return str(job_id)


async def per_second(acts: Sequence[Callable[[], Awaitable[object]]], side_by_side: int = CONNECTIONS) -> float:
    """How many of these are done in a second, so many at a time."""
    waiting: Iterator[Callable[[], Awaitable[object]]] = iter(acts)

    async def work() -> None:
        for act in waiting:
            await act()

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(side_by_side):
            group.create_task(work())
    return len(acts) / (time.monotonic() - began)

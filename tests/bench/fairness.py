"""Who waits for whom: sites beside one that takes connections and never answers, namespaces beside one with a crowd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from bench.crowd import SITES, Crowd, site
from bench.identities import Identity
from bench.trial import Trial, trial
from bench.watched import Watched
from bench.workload import trainingjob
from passerelle_sandbox import deploy, say
from passerelle_sandbox.sandbox import Sandbox
from passerelle_sandbox.site.serve import Site

DEAD = "dead-site"
GUESTS, ALONE, BESIDE = "bench-guests", "bench-alone", "bench-beside"
NAMESPACES = (GUESTS, ALONE, BESIDE)
ROUNDS = 2
_LASTS = 15
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Fairness:
    """Accepted a second at the sites that live: beside as many TrainingJobs that are suspended, and beside as many for
    a site that is dead. The first cost kube-apiserver as much as the second, and nobody waits for them.
    """

    alone: float
    beside: float

    @property
    def ratio(self) -> float:
        return self.beside / self.alone


async def guests(host: Trial, there: Sandbox) -> float:
    """While half of a crowd still waits to be submitted, five TrainingJobs come in another namespace, one for each
    Site: seconds until all five are accepted.
    """
    await host.until(lambda: host.diary.accepted >= len(host.manifests) // 2, "half of them", _PATIENCE)
    few = [_short(GUESTS, number) for number in range(SITES)]
    async with trial(there, host.watched, GUESTS, few) as guest:
        began = await guest.create()
        await guest.until(lambda: guest.diary.accepted == SITES, "the guests", _PATIENCE)
        seconds = guest.accepted_last - began
        await _leave(guest)
    return seconds


async def beside_a_dead_site(
    there: Sandbox, place: Site, identity: Identity, watched: Watched, crowd: Crowd
) -> Fairness:
    """The same TrainingJobs, with as many that are suspended and with as many for a site that is dead, in turns: what
    kube-apiserver has to do for itself, meanwhile, falls on either.
    """
    count = max(SITES, crowd.few // ROUNDS)
    live = {namespace: [_short(namespace, number) for number in range(count)] for namespace in (ALONE, BESIDE)}
    asleep = [_suspended(ALONE, number) for number in range(count)]
    waiting = [trainingjob(BESIDE, f"dead-{number:04}", site=DEAD, lasts=_LASTS) for number in range(count)]
    alone, beside = 0.0, 0.0
    for _ in range(ROUNDS):
        alone += await _seconds(there, watched, ALONE, live[ALONE], asleep)
        async with _dead(there, place, identity):
            beside += await _seconds(there, watched, BESIDE, live[BESIDE], waiting)
    return Fairness(ROUNDS * count / alone, ROUNDS * count / beside)


@contextlib.asynccontextmanager
async def _dead(there: Sandbox, place: Site, identity: Identity) -> AsyncIterator[None]:
    """A Site whose server takes connections and never answers."""
    async with _silence() as port:
        with say.step("a Site whose server takes connections and never answers"):
            manifest = identity.manifest(place, pollingPeriod="5s")
            manifest["metadata"]["name"] = DEAD
            manifest["spec"]["gateway"]["url"] = f"http://127.0.0.1:{port}"
            deploy.apply(there, manifest)
            await asyncio.sleep(2)
        yield
        await asyncio.to_thread(there.kubectl_run, "delete", f"site/{DEAD}", "--wait=true", "--timeout=30s")


async def _seconds(
    there: Sandbox, watched: Watched, namespace: str, live: list[dict[str, Any]], idle: list[dict[str, Any]]
) -> float:
    """From the first create until all of `live` have their job id; both kinds are created in turn."""
    mixed = [each for pair in zip(live, idle, strict=True) for each in pair]
    async with trial(there, watched, namespace, mixed) as made:
        what = "are suspended" if "suspend" in idle[0]["spec"] else "wait for one that does not"
        say.line(f"{len(live)} TrainingJobs for sites that live, and {len(idle)} that {what}")
        began = await made.create()
        await made.until(lambda: made.diary.accepted == len(live), "all that can be accepted", _PATIENCE)
        seconds = made.accepted_last - began
        say.line(f"  {seconds:.1f} s")
        await _leave(made)
        await watched.until_still("all passes")
    return seconds


async def _leave(made: Trial) -> None:
    """Delete them all; nothing holds those of which no site has a job."""
    await made.api.delete_all()
    await made.until(lambda: made.diary.deleted == len(made.manifests), "them to be gone", _PATIENCE)


def _short(namespace: str, number: int) -> dict[str, Any]:
    return trainingjob(namespace, f"job-{number:04}", site=site(number), lasts=_LASTS)


def _suspended(namespace: str, number: int) -> dict[str, Any]:
    made = trainingjob(namespace, f"asleep-{number:04}", site=site(number), lasts=_LASTS)
    made["spec"]["suspend"] = True
    return made


@contextlib.asynccontextmanager
async def _silence() -> AsyncIterator[int]:
    """The port of a server that takes every connection and says nothing."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()

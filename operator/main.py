"""The composition root: wires kopf's watches to the reconciler. The only importer of kopf, and the only file here.

Run it with `kopf run --standalone operator/main.py`, or as the container does, with `python operator/main.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version
from typing import Any, TypeVar

import kopf

from passerelle.election import Election
from passerelle.errors import Invalid, Unavailable
from passerelle.gateways.open import credential, open_gateway
from passerelle.health import Health
from passerelle.job_secrets import JobSecrets
from passerelle.kube import PAGE, Gone, Kube
from passerelle.logs import configure
from passerelle.metrics import Metrics
from passerelle.planning import Planner
from passerelle.reconcile import Reconciler
from passerelle.settings import Settings
from passerelle.sites import Sites
from passerelle.staging.s3.allowed import Allowed
from passerelle.v1alpha1 import GROUP, VERSION
from passerelle.v1alpha1.site import PLURAL as SITES
from passerelle.v1alpha1.trainingjob import PLURAL as TRAININGJOBS

log = logging.getLogger("passerelle.operator")

T = TypeVar("T")

WATCH_SECONDS = 300
"""A watch is renewed this often: streams can freeze without closing (kopf#585, kopf#955)."""

WORKERS = 64
"""kopf's workers at once; unbounded, the first listing of 2,000 objects took 615 MB."""

IDLE_SECONDS = 0.01
"""A worker serves one object and waits so long for more of it: at kopf's 5 s, 64 hear of 13 objects a second, at 0.1 s
of 640, and a start with 10,000 TrainingJobs waited for nothing else.
"""

STALE_SECONDS = 3 * WATCH_SECONDS
"""A watch that was not renewed three times in a row is dead."""


LOST = 75
"""The exit code of an operator that lost its Lease: EX_TEMPFAIL of sysexits.h."""


class ForEver:
    """kopf's delays between tries of a request: it must outlive any outage of kube-apiserver."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1, 1, 2, 3, 5, 8, 13), itertools.repeat(20))


class NoDifferences(kopf.DiffBaseStorage):
    """kopf copies each object that it hears of, to tell later what has changed of it. Nobody here asks it that."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002 -- kopf's words
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


class Operator:
    """The parts, between start-up and cleanup."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.kube: Kube
        self.election: Election
        self.reconciler: Reconciler
        self.sites: Sites
        self.health: Health
        self.tasks: list[asyncio.Task[None]] = []
        self._ends = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """All of it, or nothing: kopf cleans up only after a start that came to its end."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """What was started, the newest first; the Lease is given back when nobody acts by it any more."""
        await self._ends.aclose()

    async def _start(self) -> None:
        """Health first; then the Lease; then all TrainingJobs, since maxJobs counts them; then the Sites, so that
        no TrainingJob is told that its Site does not exist. Only then is anything acted on.
        """
        metrics = Metrics()
        self.health = Health(
            self.settings.http_host,
            self.settings.http_port,
            metrics.registry,
            stale_seconds=STALE_SECONDS,
            clock=time.monotonic,
        )
        await self.health.start()
        self._ends.push_async_callback(self.health.stop)
        self.kube = await Kube.connect(metrics.wrote, lambda: self.election.fence())  # noqa: PLW0108 -- it asks by it
        self._ends.push_async_callback(self.kube.close)
        self.election = Election(
            self.kube,
            self.settings.namespace,
            f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}",
            clock=time.monotonic,
            now=time.time,
        )
        metrics.read_leader(lambda: self.election.leads)
        self._ends.push_async_callback(self.election.resign)
        self._ends.push_async_callback(self._end_tasks)
        await self._lead()
        secrets = JobSecrets(
            self.kube,
            home=self.settings.namespace,
            listed=self.settings.secret_namespaces,
            of_sites=lambda: self.sites.secrets(),  # noqa: PLW0108 -- there is no self.sites yet
        )
        allowed = Allowed(self.settings.object_store_hosts, self.settings.object_store_loopback)
        self.reconciler = Reconciler(
            self.kube,
            Planner(self.kube, secrets),
            clock=time.monotonic,
            witness=metrics,
            open_store=allowed.store,
            presigned=allowed.presigned,
        )
        self._ends.push_async_callback(self.reconciler.announcer.farewell)
        self.sites = self.reconciler.sites = Sites(
            self.kube,
            namespace=self.settings.namespace,
            open_gateway=open_gateway,
            read_credential=credential,
            work=self.reconciler.work,
            run_directory=self.reconciler.run_directory,
            changed=self.reconciler.changed,
            turned=self.reconciler.turned,
            names_nobody=self.reconciler.names_nobody,
            measure=lambda site, gateway: metrics.measure(site, gateway, self.election.fence),
        )
        self._ends.push_async_callback(self.sites.close)
        metrics.read_sites(self.sites.services, self.reconciler.homeless)
        await _insist(self._take_in)
        sites = await _insist(lambda: self.kube.sites())  # noqa: PLW0108 -- the chart's rights are read off the calls
        for body in sites:
            await self.sites.observe(body, deleted=False)
        self.reconciler.begin()
        about = {"version": version("passerelle"), "namespace": self.settings.namespace, "sites": len(sites)}
        log.info("started", extra=about)
        self.tasks.append(asyncio.create_task(self.reconciler.homeless.run(), name="queue-homeless"))
        self.tasks.append(asyncio.create_task(self.reconciler.announcer.run(), name="events"))
        self.tasks.append(asyncio.create_task(self.health.ask(self._anything), name="health"))

    async def _lead(self) -> None:
        """Stand by until the Lease is ours, and end when another one has it: nothing that is known here counts then."""
        self.health.stand_by(lambda: self.election.waits)
        await self.election.win()
        self.health.stand_by(None)
        holding = asyncio.create_task(self.election.hold(), name="lease")
        holding.add_done_callback(_lost)
        self.tasks.append(holding)

    async def _take_in(self) -> None:
        async for body in self.kube.trainingjobs():
            self.reconciler.take_in(body)

    async def _anything(self) -> bool:
        """Asks kube-apiserver, always: an answer from memory would prove nothing."""
        return await self.kube.any_trainingjob() or bool(self.sites.services())

    async def _end_tasks(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _insist(read: Callable[[], Awaitable[T]]) -> T:
    """What is read, however long kube-apiserver is away."""
    for pause in ForEver():
        try:
            return await read()
        except (Unavailable, Gone) as error:
            log.warning("kube-apiserver can't be asked", extra={"error": str(error)})
            await asyncio.sleep(pause)
    raise AssertionError("for ever has ended")


def _lost(holding: asyncio.Task[None]) -> None:
    """End at once, whatever is under way, where another one may act, or a defect of ours has the Lease renewed no more:
    a cleanup would write.
    """
    if holding.cancelled():
        return  # this operator is asked to end, and gives the Lease back
    log.critical("this operator ends, for it leads no more", exc_info=holding.exception())
    os._exit(LOST)


operator = Operator(Settings.read())


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
    configure(operator.settings.log_format)
    settings.peering.standalone = True
    settings.posting.enabled = False  # our events are our own: at most one a condition change
    settings.scanning.disabled = True  # the CRDs come with the chart; no rights to watch CRDs and namespaces are needed
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 30
    settings.watching.connect_timeout = 30
    settings.watching.chunk_size = PAGE  # of 10,000, all at once, were 120 MB as kopf has them
    settings.persistence.diffbase_storage = NoDifferences()
    settings.queueing.worker_limit = WORKERS
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.networking.error_backoffs = ForEver()
    try:
        await operator.start()
    except Invalid as error:
        raise kopf.PermanentError(error.message) from None


@kopf.on.cleanup()
async def stop(**_: Any) -> None:
    await operator.stop()


@kopf.on.event(GROUP, VERSION, SITES)
async def site_seen(event: kopf.RawEvent, **_: Any) -> None:
    operator.health.heard()
    await operator.sites.observe(event["object"], deleted=event["type"] == "DELETED")


@kopf.on.event(GROUP, VERSION, TRAININGJOBS)
async def trainingjob_seen(event: kopf.RawEvent, **_: Any) -> None:
    operator.health.heard()
    operator.reconciler.observe(dict(event["object"]), deleted=event["type"] == "DELETED", listed=event["type"] is None)


if __name__ == "__main__":
    logging.getLogger("passerelle").setLevel(logging.INFO)
    gc.collect()
    gc.freeze()  # what was imported stays: to look through it again and again was a quarter of reading TrainingJobs in
    kopf.run(clusterwide=True, standalone=True)

"""The Sites in service: for each one its facts, its gateway, its watch and its queue, and what its status says.

A change of the Secret needs no restart: it is read again before every look. A change of the Site's gateway replaces the
door and keeps the picture; whether it still leads to the same cluster and user is decided per attempt, by its intent. A
watch may miss an edit or a deletion: each Site is read again once a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol
from weakref import WeakValueDictionary

from passerelle.errors import PasserelleError, Unauthorized, Unavailable
from passerelle.gateways.base import Credential, Gateway
from passerelle.gateways.courtesy import Courtesy, courteous
from passerelle.gateways.host import Host, address
from passerelle.gateways.trust import Trust, trust
from passerelle.kube import Conflict, Gone, Kube
from passerelle.marker import Run
from passerelle.objects import Key, Site, merge_patch, site
from passerelle.periods import periods
from passerelle.profiles import Profile, load
from passerelle.site_courtesy import calls_before
from passerelle.site_status import site_status
from passerelle.staging.worker import Staging
from passerelle.v1alpha1.site import CALLS_PER_HOUR, SiteSpec, SiteStatus, Tls
from passerelle.watch import SiteWatch
from passerelle.work import WorkQueue

log = logging.getLogger("passerelle.sites")

COUNT_SECONDS, COUNTED_SECONDS = 60.0, 5.0
"""How often a mere change of the number of jobs is written, at most, and how soon the first one is; a change of a
condition is written at once.
"""

WRITE_AGAIN_SECONDS = 5.0
"""How long a status waits that could not be written."""

_STATUS_KEYS = SiteStatus.model_json_schema(by_alias=True)["properties"]


class OpenGateway(Protocol):
    """Makes a Site's gateway from its spec, its credentials, and the certificates that its tls names."""

    def __call__(self, spec: SiteSpec, credentials: Callable[[], Credential], trust: Trust, /) -> Gateway: ...


class ReadCredential(Protocol):
    """Makes a driver's Credential of a Secret's namespace/name and keys, None where there is no such Secret; raises
    Unauthorized with what is missing.
    """

    def __call__(self, driver: str, name: str, data: Mapping[str, bytes] | None, /) -> Credential: ...


@dataclass(slots=True)
class Service:
    """One Site in service."""

    site: Site
    queue: WorkQueue[Key]
    courtesy: Courtesy  # outlives every door: the hour's calls are the Site's
    profile: Profile | None = None
    watch: SiteWatch | None = None
    credential: Credential | None = None
    credential_of: str = ""  # the driver whose credential it is
    refused: PasserelleError | None = None
    trust: Trust = field(default_factory=Trust)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    staging: Staging | None = None  # from the first TrainingJob on that has something to copy
    strangers: set[Key] = field(default_factory=set)  # TrainingJobs whose open attempt is of another cluster or user
    to_write: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def trouble(self) -> PasserelleError | None:
        """Why the site can't be asked now, if so."""
        if self.refused is not None:
            return self.refused
        return self.watch.trouble if self.watch is not None else None


class Sites:
    """All Sites. `work` is a pass over a TrainingJob; `run_directory` is an attempt's at a Site; `changed` names a run
    whose picture changed; `turned` a Site; `names_nobody` tells of a run that no TrainingJob is of it.

    `measure` may put something around a Site's gateway that only looks. `now` is epoch seconds.
    """

    def __init__(  # noqa: PLR0913 -- all that it stands between, by name
        self,
        kube: Kube,
        *,
        namespace: str,
        open_gateway: OpenGateway,
        read_credential: ReadCredential,
        work: Callable[[Key], Awaitable[float | None]],
        run_directory: Callable[[str, Run, int], str | None],
        changed: Callable[[Run], None],
        turned: Callable[[str], None],
        names_nobody: Callable[[Run], bool] = lambda _: False,
        measure: Callable[[str, Gateway], Gateway] = lambda _, gateway: gateway,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._open_gateway = open_gateway
        self._measure = measure
        self._read_credential = read_credential
        self._work = work
        self._run_directory = run_directory
        self._changed = changed
        self._turned = turned
        self._names_nobody = names_nobody
        self._now = now
        self._services: dict[str, Service] = {}
        self._hosts: WeakValueDictionary[tuple[str, int], Host] = WeakValueDictionary()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Of each Site: while one change is taken in, no other is, or an older door might be opened last."""
        self._reading: set[asyncio.Task[None]] = set()

    def get(self, name: str) -> Service | None:
        return self._services.get(name)

    def services(self) -> list[Service]:
        return list(self._services.values())

    def secrets(self) -> frozenset[str]:
        """The names of all Secrets that Sites name, which lie in the operator's namespace."""
        gateways = [each.site.spec.gateway for each in self.services() if each.site.spec is not None]
        of_tls = [named for each in gateways for named in (each.tls.ca_secret, each.tls.client_secret)]
        return frozenset(
            named.name for named in (*(each.credentials for each in gateways), *of_tls) if named is not None
        )

    async def observe(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """A Site was seen, changed or deleted."""
        seen = site(body)
        async with self._turns[seen.name]:
            if deleted:
                await self._end(seen.name)
            else:
                await self._take(seen)

    async def _end(self, name: str) -> None:
        service = self._services.pop(name, None)
        if service is not None:
            await self._stop(service)
            self._turned(name)

    async def _take(self, seen: Site) -> None:
        service = self._services.get(seen.name)
        if service is None:
            service = self._services[seen.name] = self._service(seen)
            try:
                await self._equip(service)
            finally:
                _spawn(service, service.queue.run(), "queue")
                _spawn(service, self._keep_written(service), "status")
        elif seen.spec != service.site.spec:
            service.site = seen
            await self._equip(service)
        else:
            service.site = seen
            return
        service.to_write.set()
        self._turned(seen.name)

    def _service(self, seen: Site) -> Service:
        """Its status is written when a kind of call is left alone, or no longer."""
        to_write = asyncio.Event()
        clock = asyncio.get_running_loop().time
        limit = seen.spec.calls_per_hour if seen.spec is not None else CALLS_PER_HOUR
        courtesy = Courtesy(clock, calls_per_hour=limit, changed=to_write.set)
        courtesy.budget.begin(*calls_before(seen.status, self._now()))
        return Service(
            seen, WorkQueue(seen.name, self._work, lane=lambda key: key.namespace), courtesy, to_write=to_write
        )

    async def _read_again(self, name: str) -> None:
        """What the watch should have told. Whoever creates it again meanwhile is told of afterwards."""
        async with self._turns[name]:
            if name not in self._services:
                return
            try:
                seen = site(await self._kube.site(name))
            except Gone:
                log.info("the Site is gone", extra={"site": name})
                await self._end(name)
            except Unavailable as error:
                log.warning("site not read", extra={"site": name, "error": str(error)})
            else:
                await self._take(seen)

    def _look(self, name: str) -> None:
        """In a task of its own: it may end those of the Site."""
        task = asyncio.create_task(self._read_again(name), name=f"look-{name}")
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def close(self) -> None:
        reading = tuple(self._reading)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for name, service in self._services.copy().items():
            if self._services.get(name) is service:  # else it went away meanwhile, and was stopped then
                await self._stop(service)
        self._services.clear()

    async def _equip(self, service: Service) -> None:
        """Give the service its profile and its door. The picture of a former door is kept."""
        spec = service.site.spec
        service.refused = service.site.invalid
        if spec is None:
            return
        try:
            service.profile = profile = load(spec.profile)
            driver = spec.gateway.driver
            service.trust = await self._trust(spec)
            shown = service.trust.called_by(service.site.name, spec.contact)
            gateway = self._open_gateway(spec, lambda: _present(service, driver), shown)
            gateway = courteous(self._measure(service.site.name, gateway), service.courtesy)
        except PasserelleError as error:
            service.refused = error
            return
        except Exception:  # one Site's defect is none of the others': an operator that starts takes in all of them
            log.exception("site not equipped", extra={"site": service.site.name})
            service.refused = Unavailable("The operator failed to open the Site's door; see its log.", reason="Defect")
            return
        service.courtesy.budget.limit = spec.calls_per_hour
        host = self._shared(service, spec.gateway.url)
        often = periods(spec, profile)
        if service.watch is not None:
            await service.watch.move(gateway)
            service.watch.period, service.watch.progress_period = often.look, often.read
            service.watch.nudge()
            return
        service.watch = SiteWatch(
            service.site.name,
            gateway,
            period=often.look,
            progress_period=often.read,
            renew=lambda: self._renew(service),
            run_directory=partial(self._run_directory, service.site.name),
            on_change=self._changed,
            on_site=lambda: self._site_turned(service),
            courtesy=service.courtesy,
            names_nobody=self._names_nobody,
        )
        _spawn(service, _watching(service.watch, host.first_look(often.look)), "watch")

    def _shared(self, service: Service, url: str) -> Host:
        """The host of its gateway, which other Sites may lead to; the slowest of their machines' paces counts."""
        host = self._hosts.setdefault(address(url), Host(asyncio.get_running_loop().time))
        service.courtesy.meet(host)
        there = (each.profile for each in self.services() if each.courtesy.host is host)
        host.act_at(min(profile.acts_per_second for profile in there if profile is not None))
        return host

    def _site_turned(self, service: Service) -> None:
        service.to_write.set()
        self._turned(service.site.name)

    async def _renew(self, service: Service) -> Credential | None:
        """Read the Secret again. While kube-apiserver is away the last credential serves on."""
        spec = service.site.spec
        if spec is None:
            return None
        name, driver = spec.gateway.credentials.name, spec.gateway.driver
        data: Mapping[str, bytes] | None
        try:
            data = await self._kube.secret(self._namespace, name)
        except Gone:
            service.credential = data = None
        except Unavailable:
            if service.credential is None or service.credential_of != driver:
                raise
            return service.credential
        credential = self._read_credential(driver, f"{self._namespace}/{name}", data)
        if service.watch is not None and service.credential is not None and credential.user != service.credential.user:
            await service.watch.shut()  # nobody acts as the new user under an old intent
        service.credential, service.credential_of = credential, driver
        return credential

    async def _trust(self, spec: SiteSpec) -> Trust:
        async def read(name: str) -> Mapping[str, bytes] | None:
            try:
                return await self._kube.secret(self._namespace, name)
            except Gone:
                return None

        return await trust(spec.gateway.tls, read, f"{self._namespace}/")

    async def _outdated(self, service: Service) -> bool:
        """Whether the door was opened with other certificates than the Secrets hold now."""
        spec = service.site.spec
        if spec is None or service.refused is not None or spec.gateway.tls == Tls():
            return False
        try:
            return await self._trust(spec) != service.trust
        except PasserelleError:
            return False  # what serves goes on to serve

    async def _stop(self, service: Service) -> None:
        for task in service.tasks:
            task.cancel()
        await asyncio.gather(*service.tasks, return_exceptions=True)
        if service.staging is not None:
            await service.staging.close()
        if service.watch is not None:
            await service.watch.gateway.close()

    # Status

    async def _keep_written(self, service: Service) -> None:
        clock, written_at, compared_at = asyncio.get_running_loop().time, 0.0, 0.0
        while True:
            # Of a Site that is refused nothing is counted; whether its Secret has come is asked now and then.
            patience = COUNTED_SECONDS if service.refused is None else COUNT_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):  # wait_for of 3.11 may swallow the end of this loop
                    await service.to_write.wait()
            if not service.to_write.is_set() and clock() - written_at < COUNT_SECONDS:
                continue
            service.to_write.clear()
            compared_at, due = (clock(), True) if clock() - compared_at >= COUNT_SECONDS else (compared_at, False)
            if due:
                self._look(service.site.name)
            async with self._turns[service.site.name]:
                if service.refused is not None or (due and await self._outdated(service)):
                    await self._equip(service)  # its Secret may have come, or changed, meanwhile
                    if service.refused is None:
                        self._turned(service.site.name)
            try:
                written_at = clock() if await self._write(service) else written_at
            except Gone:
                self._look(service.site.name)  # which ends this loop, unless it has come again
            except Exception as error:  # noqa: BLE001 -- a Site whose status is frozen would be worse than a repeated defect
                log.warning("site status not written", extra={"site": service.site.name, "error": repr(error)})
                await asyncio.sleep(WRITE_AGAIN_SECONDS)
                service.to_write.set()

    async def _write(self, service: Service) -> bool:
        """Write the status; whether it had changed."""
        while True:
            new = site_status(service, now=self._now()).model_dump(by_alias=True, exclude_none=True)
            patch = merge_patch(service.site.raw_status, new, _STATUS_KEYS)
            if not patch:
                return False
            try:
                body = await self._kube.patch_site_status(service.site.name, service.site.resource_version, patch)
            except Conflict:
                async with self._turns[service.site.name]:  # the spec may be another, too: then so is the door
                    await self._take(site(await self._kube.site(service.site.name)))
                continue
            service.site = _with_spec_of(service.site, site(body))
            return True


async def _watching(watch: SiteWatch, wait: float) -> None:
    """Look for ever, from so many seconds on: the Sites of one host do not begin all at once."""
    if wait > 0:
        await asyncio.sleep(wait)
    await watch.run()


def _with_spec_of(known: Site, newer: Site) -> Site:
    """A newer Site with the spec that its door was opened for: another one is taken in by itself, door and all."""
    return replace(newer, spec=known.spec, invalid=known.invalid, generation=known.generation)


def _spawn(service: Service, work: Coroutine[None, None, None], name: str) -> None:
    """Start one of the service's loops. None of them ends by itself: one that does is a defect, and is told."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("a loop ended", extra={"site": service.site.name, "loop": name}, exc_info=task.exception())

    task = asyncio.create_task(work, name=f"{name}-{service.site.name}")
    task.add_done_callback(ended)
    service.tasks.append(task)


def _present(service: Service, driver: str) -> Credential:
    """What a gateway presents. While the Site turns to another driver, the one's credential is not for the other."""
    if service.credential is None:
        raise Unauthorized("The Site's credential has not been read yet.", reason="SecretMissing")
    if service.credential_of != driver:
        raise Unavailable("The Site's credential is read again, for its new driver.", reason="Waiting", sent=False)
    return service.credential

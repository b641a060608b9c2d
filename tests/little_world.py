"""A little world in memory: a kube-apiserver, a site, and operators that can be killed at any call.

The site is gateways/memory.py; the API server keeps resource versions, merge patches, finalizers and a watch. A killed
operator gets nothing out any more: every later call of it fails, as after SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from little_store import MemoryStore
from passerelle import kube as kubernetes
from passerelle.attempts import rfc3339
from passerelle.batch import Batch
from passerelle.errors import Unauthorized
from passerelle.gateways.base import Credential, Entry, Gateway, Probe, Traits
from passerelle.gateways.caller import Caller
from passerelle.gateways.memory import Memory, MemoryCredential
from passerelle.gateways.trust import Trust
from passerelle.job_secrets import JobSecrets
from passerelle.kube import Conflict, Forbidden, Gone, Kube
from passerelle.marker import Run
from passerelle.objects import Key
from passerelle.planning import Planner
from passerelle.reconcile import Reconciler
from passerelle.sites import Service, Sites
from passerelle.slurm import JobState, RemoteJob
from passerelle.v1alpha1.site import SiteSpec

SITE = "memory"
NAMESPACE = "team-a"
SECRET = "site-credentials"
EPOCH = 1_767_225_600.0
"""The wall clock's time when the loop's is 0."""
SHARP_SECONDS = 60.0
"""So long a wait is watched in tenths of a second."""

T = TypeVar("T")
_PLAIN = frozenset({str, int, float, bool, type(None)})
"""What JSON has that can't be changed."""


def copied(value: T) -> T:
    """A copy that shares nothing that can be changed. Of JSON it takes a tenth of copy.deepcopy's time, which is what
    stories of a crowd would mostly pass theirs with.
    """
    told: Any = value
    if type(told) is dict:
        told = {key: each if type(each) in _PLAIN else copied(each) for key, each in told.items()}
    elif type(told) is list:
        told = [each if type(each) in _PLAIN else copied(each) for each in told]
    else:
        told = copy.deepcopy(told)
    return cast("T", told)


class Killed(BaseException):
    """The operator is dead."""


@dataclass
class Points:
    """Counts the moments before and after each remote call; at `kill_at` the operator dies."""

    kill_at: int | None = None
    passed: int = 0
    dead: bool = False
    names: list[str] = field(default_factory=list)

    def reach(self, name: str) -> None:
        if self.dead:
            raise Killed(name)
        self.names.append(name)
        if self.passed == self.kill_at:
            self.dead = True
            raise Killed(name)
        self.passed += 1

    async def meet(self, name: str) -> None:
        """Reach a moment, on the way of a call or of its answer."""
        await asyncio.sleep(0.001)
        self.reach(name)


@dataclass
class ApiServer:
    """TrainingJobs and Sites, by kind and key; Secrets and ConfigMaps, by name; labels, of every namespace.

    `trouble` is how every call of an operator ends, while it is set. `calls` are all that came. `uids` makes uids.
    `auditor` is told of each status that an operator has patched: its place, how it was, how it is.
    """

    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    sites: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    config_maps: dict[str, dict[str, bytes]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)  # namespaces whose Secrets the operator may not read
    trouble: Exception | None = None
    calls: list[str] = field(default_factory=list)
    watchers: list[Callable[[dict[str, Any], bool], None]] = field(default_factory=list)
    listers: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    auditor: Callable[[Key, dict[str, Any], dict[str, Any]], None] | None = None
    uids: Callable[[], str] = lambda: str(uuid.uuid4())
    events: list[tuple[str, str, str]] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    version: int = 100
    lease: dict[str, Any] | None = None
    _told: deque[tuple[Callable[[dict[str, Any], bool], None], dict[str, Any], bool]] = field(default_factory=deque)

    def create(self, name: str, **spec: Any) -> Key:
        key = Key(NAMESPACE, name)
        self.objects[key] = self._stamped(
            {
                "metadata": {
                    "namespace": NAMESPACE,
                    "name": name,
                    "uid": self.uids(),
                    "generation": 1,
                    "creationTimestamp": rfc3339(EPOCH + asyncio.get_running_loop().time()),
                },
                "spec": {"site": SITE, "image": "/i.sif", "command": ["train"], "nodes": 2, "timeLimit": "10m", **spec},
            }
        )
        self._tell(self.objects[key])
        return key

    def edit(self, key: Key, **spec: Any) -> None:
        self.objects[key]["spec"] |= spec
        self.objects[key]["metadata"]["generation"] += 1
        self._tell(self._stamped(self.objects[key]))

    def annotate(self, key: Key, **annotations: str) -> None:
        self.objects[key]["metadata"].setdefault("annotations", {}).update(annotations)
        self._tell(self._stamped(self.objects[key]))

    def empty_status(self, key: Key) -> None:
        self.objects[key].pop("status", None)
        self._tell(self._stamped(self.objects[key]))

    @contextlib.contextmanager
    def unwatched(self) -> Iterator[None]:
        """The watch misses what is done inside: after 410 Gone it lists anew, and a listing tells of no deletion."""
        watchers, self.watchers = self.watchers, []
        yield
        self.watchers = watchers

    def restore(self, backup: Mapping[Key, dict[str, Any]], version: int) -> None:
        """An older etcd is back: older objects, older resource versions. The watch lists them anew."""
        self.objects, self.version = {key: copied(body) for key, body in backup.items()}, version
        self.list_anew()

    def list_anew(self) -> None:
        """Every watch begins with a listing. What is gone by then is told by none."""
        for lister in self.listers:
            for found in self.objects.values():
                lister(copied(found))

    def delete(self, key: Key) -> None:
        self.objects[key]["metadata"]["deletionTimestamp"] = "2026-01-01T00:10:00Z"
        self._stamped(self.objects[key])
        if not self._collect(key):
            self._tell(self.objects[key])

    def patch(self, key: Key, patch: Mapping[str, Any], kind: str) -> dict[str, Any]:
        found = self.objects.get(key)
        if found is None:
            raise Gone(str(key))
        asked, version = patch.get("metadata", {}), found["metadata"]["resourceVersion"]
        if asked.get("resourceVersion", version) != version:
            raise Conflict(str(key))
        self.writes.append(kind)
        before = copied(found.get("status", {})) if self.auditor is not None else {}
        _merge(found, {name: value for name, value in patch.items() if name != "metadata"})
        if self.auditor is not None:
            self.auditor(key, before, found.get("status", {}))
        finalizers = asked.get("finalizers")
        if finalizers is not None:
            found["metadata"]["finalizers"] = finalizers
        self._stamped(found)
        answer = copied(found)
        if not self._collect(key):
            self._tell(found)
        return answer

    def _collect(self, key: Key) -> bool:
        """Remove an object that nothing holds any more: then its watchers hear of that alone."""
        meta = self.objects[key]["metadata"]
        if "deletionTimestamp" not in meta or meta.get("finalizers"):
            return False
        self._tell(self.objects.pop(key), deleted=True)
        return True

    def _stamped(self, found: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        return found

    def _tell(self, found: dict[str, Any], *, deleted: bool = False) -> None:
        for watcher in self.watchers:
            self._told.append((watcher, copied(found), deleted))
            asyncio.get_running_loop().call_later(0.05, self._deliver)

    def _deliver(self) -> None:
        """In order: timers of one moment have none."""
        watcher, body, deleted = self._told.popleft()
        watcher(body, deleted)


def _merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(name, {}), value)
        else:
            target[name] = copied(value)


@dataclass
class KubeClient:
    """What Kube does, on the API server in memory."""

    server: ApiServer
    points: Points

    async def trainingjob(self, key: Key) -> dict[str, Any]:
        await self._step("get")
        if key not in self.server.objects:
            raise Gone(str(key))
        return copied(self.server.objects[key])

    async def patch_trainingjob(self, key: Key, version: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        return await self._patch(key, version, patch, "metadata")

    async def patch_trainingjob_status(self, key: Key, version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        return await self._patch(key, version, {"status": status}, "status")

    async def _patch(self, key: Key, version: str, patch: Mapping[str, Any], kind: str) -> dict[str, Any]:
        await self._step(f"before {kind} patch")
        answer = self.server.patch(key, kubernetes._at(version, patch), kind)
        await self._step(f"after {kind} patch")
        return answer

    async def delete_trainingjob(self, key: Key, uid: str, version: str) -> None:
        await self._step("before delete")
        if key not in self.server.objects:
            raise Gone(str(key))
        there = self.server.objects[key]["metadata"]
        if (there["uid"], there["resourceVersion"]) != (uid, version):
            raise Conflict(str(key))
        self.server.delete(key)

    async def site(self, name: str) -> dict[str, Any]:
        return copied(self._found("site", self.server.sites, name))

    async def patch_site_status(self, name: str, version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        found = self._found("site status", self.server.sites, name)
        if version != found["metadata"]["resourceVersion"]:
            raise Conflict(name)
        _merge(found, {"status": status})
        return copied(self.server._stamped(found))

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        if namespace in self.server.forbidden:
            raise Forbidden(f"kube-apiserver answered 403 Forbidden: secrets {name!r} is forbidden")
        return self._found("secret", self.server.secrets, name)

    async def config_map(self, _: str, name: str) -> dict[str, bytes]:
        return self._found("config map", self.server.config_maps, name)

    async def namespace_labels(self, name: str) -> dict[str, str]:
        return self._found("namespace", {NAMESPACE: self.server.labels}, name)

    async def event(self, **facts: Any) -> None:
        self._called("event")
        self.server.events.append((facts["kind"], facts["reason"], facts["message"]))

    def _found(self, kind: str, those: Mapping[str, T], name: str) -> T:
        self._called(kind)
        if name not in those:
            raise Gone(name)
        return those[name]

    def _called(self, name: str) -> None:
        self.server.calls.append(name)
        if self.server.trouble is not None:
            raise self.server.trouble.with_traceback(None)  # else it grows with every call

    async def _step(self, name: str) -> None:
        await self.points.meet(name)
        self._called(name)


@dataclass
class Door:
    """The site's gateway with a kill point before and after each call."""

    site: Memory
    points: Points

    @property
    def settle_seconds(self) -> float:
        return self.site.settle_seconds

    @property
    def traits(self) -> Traits:
        return self.site.traits

    async def probe(self) -> Probe:
        return await self.site.probe()

    async def submit(self, batch: Batch) -> str:
        await self._step("before submit")
        job_id = await self.site.submit(batch)
        await self._step("after submit")
        return job_id

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        return await self.site.states(job_ids)

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        return await self.site.get(job_ids)

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        return await self.site.find(ended_of)

    async def cancel(self, job_id: str) -> None:
        await self._step("before cancel")
        await self.site.cancel(job_id)
        await self._step("after cancel")

    async def warn(self, job_id: str, signal: str) -> bool:
        await self._step("before warn")
        sent = await self.site.warn(job_id, signal)
        await self._step("after warn")
        return sent

    async def close(self) -> None:
        pass

    async def _step(self, name: str) -> None:
        await self.points.meet(name)


class AccountedDoor(Door):
    """A door whose site has a memory of the jobs that its scheduler has forgotten."""

    async def accounted(
        self, *, names: Collection[str] = (), job_ids: Collection[str] = (), **how: float
    ) -> Sequence[RemoteJob]:
        return await self.site.accounted(names=names, job_ids=job_ids, **how)


class CarryingDoor(AccountedDoor):
    """A door that carries files and data, too."""

    @property
    def part_bytes(self) -> int:
        return self.site.part_bytes

    async def size(self, path: str) -> int | None:
        return await self.site.size(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        return await self.site.read(path, offset, length)

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        await self._step("before write")
        await self.site.write(path, content, mode=mode)
        await self._step("after write")

    async def make_directory(self, path: str) -> None:
        await self.site.make_directory(path)

    async def append(self, path: str, offset: int, content: bytes) -> None:
        await self._step("before append")
        await self.site.append(path, offset, content)
        await self._step("after append")

    async def entries(self, path: str) -> Sequence[Entry] | None:
        return await self.site.entries(path)

    async def rename(self, old: str, new: str) -> None:
        await self._step("before rename")
        await self.site.rename(old, new)
        await self._step("after rename")

    async def remove(self, path: str) -> None:
        await self._step("before remove")
        await self.site.remove(path)

    async def digest(self, path: str) -> str | None:
        return await self.site.digest(path)


class World:
    """The API server, the sites behind URLs and, at most one at a time, an operator."""

    def __init__(self, *, period: str = "1s", accounting: bool = True, files: bool = False, **site_spec: Any) -> None:
        self.door = CarryingDoor if files else AccountedDoor if accounting else Door
        self.loop = asyncio.get_running_loop()
        self.api = ApiServer()
        self.store = MemoryStore()
        self.home = "passerelle-system"  # the operator's own namespace
        self.listed: list[str] = []  # where TrainingJobs may name Secrets, as the operator was told
        self.site = self.make_site()
        self.behind = {gateway()["url"]: self.site}
        self.callers: list[Caller] = []
        """In whose name each gateway was opened."""
        self.api.secrets[SECRET] = {"username": b"startup", "token": b"valid"}
        self.api.sites[SITE] = {
            "metadata": {"name": SITE, "uid": "s", "generation": 1, "resourceVersion": "1"},
            "spec": {
                "profile": "sandbox",
                "gateway": gateway(),
                "runRoot": "/scratch/passerelle",
                "pollingPeriod": period,
                "progressPeriod": "30s",
                "callsPerHour": 1_000_000,
                "admission": [{"namespaces": [NAMESPACE], "accounts": ["startup"], "qos": ["normal"]}],
                **site_spec,
            },
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._sites: Sites | None = None
        self.reconciler: Reconciler | None = None

    def _secrets(self, kube: Kube) -> JobSecrets:
        def of_sites() -> Collection[str]:
            return self._sites.secrets() if self._sites is not None else ()

        return JobSecrets(kube, home=self.home, listed=self.listed, of_sites=of_sites)

    def make_site(self, **facts: Any) -> Memory:
        return Memory(clock=self.loop.time, **facts)

    def open_door(self, spec: SiteSpec, _: Callable[[], Credential], points: Points) -> Door:
        """What an operator has of a site."""
        return self.door(self.behind[spec.gateway.url], points)

    def _opened(self, spec: SiteSpec, credentials: Callable[[], Credential], trust: Trust, points: Points) -> Gateway:
        self.callers.append(trust.caller)
        return cast("Gateway", self.open_door(spec, credentials, points))

    def compose(
        self, kube: Kube, points: Points, measure: Callable[[str, Gateway], Gateway] = lambda _, gateway: gateway
    ) -> Reconciler:
        """An operator's parts, as operator/main.py puts them together."""
        reconciler = Reconciler(
            kube,
            Planner(kube, self._secrets(kube), self.loop.time),
            clock=self.loop.time,
            now=lambda: EPOCH + self.loop.time(),
            open_store=self._open_store,
        )
        sites = reconciler.sites = Sites(
            kube,
            namespace=self.home,
            open_gateway=lambda spec, credentials, trust: self._opened(spec, credentials, trust, points),
            read_credential=_credential,
            work=reconciler.work,
            run_directory=reconciler.run_directory,
            changed=reconciler.changed,
            turned=reconciler.turned,
            names_nobody=reconciler.names_nobody,
            measure=measure,
            now=lambda: EPOCH + self.loop.time(),
        )
        self._sites = sites
        return reconciler

    async def start_operator(self, points: Points | None = None, *, pause: float = 0.0, whole: bool = True) -> Points:
        """Its first listing takes `pause` seconds for each TrainingJob; `whole`: and has come to its end."""
        points = points or Points()
        reconciler = self.reconciler = self.compose(cast("Kube", KubeClient(self.api, points)), points)
        self._tasks = [
            asyncio.create_task(reconciler.homeless.run()),
            asyncio.create_task(reconciler.announcer.run()),
        ]
        self.api.watchers = [lambda body, deleted: None if points.dead else reconciler.observe(body, deleted=deleted)]
        self.api.listers = [lambda body: reconciler.observe(body, deleted=False, listed=True)]
        for body in list(self.api.objects.values()):
            reconciler.take_in(copied(body))
            await asyncio.sleep(pause)
        await reconciler.sites.observe(copied(self.api.sites[SITE]), deleted=False)
        if whole:
            reconciler.begin()
        return points

    async def end_operator(self) -> None:
        """Whatever is left of the operator goes; a killed one has long stopped acting."""
        self.api.watchers = []
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(BaseException):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sites is not None:
            with contextlib.suppress(BaseException):
                await self._sites.close()

    def _open_store(self, *_: object) -> MemoryStore:
        self.store.open += 1
        return self.store

    @property
    def service(self) -> Service:
        """What the operator has of the Site."""
        service = self._sites.get(SITE) if self._sites is not None else None
        assert service is not None
        return service

    async def edit_site(self, **spec: Any) -> None:
        found = self.api.sites[SITE]
        found["spec"] |= spec
        found["metadata"]["generation"] += 1
        self.api._stamped(found)
        assert self._sites is not None
        await self._sites.observe(copied(found), deleted=False)

    async def one_more_site(self, name: str) -> None:
        """A Site that leads where the other one leads, as the same user."""
        found = copied(self.api.sites[SITE])
        found.pop("status", None)
        found["metadata"] |= {"name": name, "uid": name}
        self.api.sites[name] = found
        self.api._stamped(found)
        assert self._sites is not None
        await self._sites.observe(copied(found), deleted=False)

    def another(self, url: str, **facts: Any) -> Memory:
        """One more cluster, behind this URL."""
        self.behind[url] = self.make_site(fates=self.site.fates, **facts)
        return self.behind[url]

    def status(self, key: Key) -> dict[str, Any]:
        found: dict[str, Any] = self.api.objects[key].get("status", {})
        return found

    def condition(self, key: Key, kind: str) -> tuple[str, str]:
        for found in self.status(key).get("conditions", []):
            if found["type"] == kind:
                return found["status"], found["reason"]
        return "", ""

    def site_conditions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.sites[SITE].get("status", {}).get("conditions", [])
        return found

    def states(self, site: Memory | None = None) -> list[str]:
        """How every job stands that the site ever had, in the order of their ids."""
        return [job.state.base for job in (site or self.site).snapshot()]

    def run_of(self, key: Key) -> Run:
        return Run.of_uid(self.api.objects[key]["metadata"]["uid"])

    async def until(self, holds: Callable[[], bool], seconds: float = 600.0) -> None:
        """Whoever has waited for a minute looks once a second."""
        begun = self.loop.time()
        while not holds():
            waited = self.loop.time() - begun
            if waited > seconds:
                raise AssertionError(f"not within {seconds:.0f} s: {self.api.objects}")
            await asyncio.sleep(0.1 if waited < SHARP_SECONDS else 1.0)


def _credential(_driver: str, name: str, data: Mapping[str, bytes] | None) -> MemoryCredential:
    if data is None:
        raise Unauthorized(f"The Secret {name} does not exist.", reason="SecretMissing")
    ends = float(data["expires"]) if "expires" in data else None
    return MemoryCredential(user=data["username"].decode(), token=data["token"].decode(), expires=ends)


def gateway(url: str = "https://memory", **more: Any) -> dict[str, Any]:
    """A Site's spec.gateway."""
    return {"driver": "slurmrestd", "url": url, "credentials": {"name": SECRET}, **more}

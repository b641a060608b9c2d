"""What becomes of an operator's calls in the little world: lost, refused, sent twice, answered with lies.

A mishap waits for the next call of its kind, whoever makes it, and happens once; its words are those of the faults
suite (faults/plan.py). A lie is told once, and what is asked next is answered with the truth: a site that denies a job
for as long as its settle time can't be told from one that never had it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar, cast

from faults.plan import Fault, Kind
from little_nodes import HardSite
from little_world import AccountedDoor, ApiServer, CarryingDoor, Door, Killed, KubeClient, Points, copied
from passerelle import kube as kubernetes
from passerelle.batch import Batch
from passerelle.election import NOT_LEADING
from passerelle.errors import PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import Credential, Probe
from passerelle.gateways.memory import MemoryCredential
from passerelle.kube import UNAVAILABLE, Conflict, Gone
from passerelle.marker import Run
from passerelle.objects import Key
from passerelle.slurm import JobState, RemoteJob

T = TypeVar("T")

STRANGER = "stranger"
ELSEWHERE = "elsewhere"
UNSENT = "unsent"
"""A call that certainly was not sent."""

LIES = (Fault.EMPTY_ANSWER, Fault.OLD_ANSWER, Fault.OTHER_USER, Fault.OTHER_CLUSTER)
_READ = (Fault.AWAY, Fault.GARBLE_ANSWER, Fault.DELAY)
POSSIBLE: Mapping[Kind, tuple[str, ...]] = {
    Kind.SUBMIT: (
        *(Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.GARBLE_ANSWER, Fault.SEND_TWICE, Fault.BUSY, Fault.DELAY),
        *(Fault.KILL_LATE, UNSENT),
    ),
    Kind.CANCEL: (Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.DELAY),
    Kind.LISTING: (*_READ, *LIES),
    Kind.RECORD: (*_READ, *LIES),
    Kind.ACCOUNTING: (*_READ, *LIES),
    Kind.PROBE: _READ,
    Kind.PATCH: (Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.CONFLICT, Fault.DELAY, Fault.KILL_LATE),
}
DELAY_SECONDS = 6.0
"""How long a call that changes something is on its way, or the answer to one that does not."""
OLD_SECONDS = 8.0
"""How old an old answer is."""
TOKEN = "eyJhbGciOiJub25lIn0.c3RhcnR1cA.c2VjcmV0"
"""The site's, of the form that servers repeat in their errors."""


@dataclass
class Mishaps:
    """Those that wait for their calls, and those that have happened; when lies were told; and the markers of submits
    that came late, from a process that had stood still, and of those that came twice, or after who sent them had died.
    """

    waiting: dict[Kind, str] = field(default_factory=dict)
    happened: list[tuple[Kind, str]] = field(default_factory=list)
    lies: list[float] = field(default_factory=list)
    late: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    _lied: set[Kind] = field(default_factory=set)

    def next(self, kind: Kind) -> str:
        """What becomes of the call of this kind that comes now; `""` where nothing does."""
        again = kind in self._lied and self.waiting.get(kind) in LIES
        self._lied.discard(kind)
        fault = "" if again else self.waiting.pop(kind, "")
        if fault in LIES:
            self._lied.add(kind)
            self.lies.append(asyncio.get_running_loop().time())
        if fault:
            self.happened.append((kind, fault))
        return fault


class Process(Points):
    """The points of a process that may also stop, as by SIGSTOP or with its whole machine, and go on later.

    The call that it stops at is in hand, and is made when it goes on. Another one asks `fence` again before it acts, as
    if the process had stopped before it looked.
    """

    def __init__(self, died: Callable[[], None]) -> None:
        super().__init__()
        self.fence: Callable[[], None] = lambda: None
        self.freeze_at: int | None = None
        self.freeze_seconds = 0.0
        self.late: list[str] = []  # calls that were in hand while it stood still
        self._died = died
        self._on_its_way: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._awake.set()

    def kill(self) -> None:
        self.dead = True
        self._awake.set()
        self._died()

    def kill_and(self, call: Callable[[], Awaitable[None]]) -> NoReturn:
        """Die, and have a call that was on its way arrive all the same."""

        async def arrive() -> None:
            await asyncio.sleep(DELAY_SECONDS)
            await call()

        self._on_its_way = asyncio.get_running_loop().create_task(arrive())
        self.kill()
        raise Killed("with a call on its way")

    def freeze(self, seconds: float) -> None:
        self._awake.clear()
        asyncio.get_running_loop().call_later(seconds, self.wake)

    def wake(self) -> None:
        self._awake.set()

    async def meet(self, name: str) -> None:
        stood = not self._awake.is_set()
        await asyncio.sleep(0.001)
        try:
            self.reach(name)
        except Killed:
            self._died()
            raise
        if self.freeze_at is not None and self.passed > self.freeze_at:
            self.freeze_at = None
            self.freeze(self.freeze_seconds)
        if self._awake.is_set() and not stood:
            return
        await self._goes_on()
        if name.startswith("before"):
            if stood:
                self.fence()
            else:
                self.late.append(name)

    async def pause(self) -> None:
        """The way of a call that changes nothing."""
        await asyncio.sleep(0.001)
        await self._goes_on()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._goes_on()

    async def _goes_on(self) -> None:
        await self._awake.wait()
        if self.dead:
            raise Killed("its process is gone")


class HardKube(KubeClient):
    """Kube, through mishaps and a fence, with the Lease."""

    points: Process

    def __init__(self, server: ApiServer, points: Process, mishaps: Mishaps) -> None:
        super().__init__(server, points)
        self.mishaps = mishaps

    async def trainingjob(self, key: Key) -> dict[str, Any]:
        await self.points.pause()
        self._called("get")
        if key not in self.server.objects:
            raise Gone(str(key))
        return copied(self.server.objects[key])

    async def _patch(self, key: Key, version: str, patch: Mapping[str, Any], kind: str) -> dict[str, Any]:
        with self._leading():
            await self._step(f"before {kind} patch")
        fault = self.mishaps.next(Kind.PATCH)
        if fault == Fault.LOSE_CALL:
            raise Unavailable("kube-apiserver can't be asked", reason=UNAVAILABLE)
        sent = kubernetes._at(version, patch)
        if fault == Fault.KILL_LATE:
            self.points.kill_and(lambda: self._arrive(key, sent, kind))
        await self._delay(fault)
        if fault == Fault.CONFLICT and key in self.server.objects:
            self.server.annotate(key, note=str(self.server.version))
        answer = self.server.patch(key, sent, kind)
        await self._step(f"after {kind} patch")
        if fault == Fault.LOSE_ANSWER:
            raise Unavailable("kube-apiserver can't be asked", reason=UNAVAILABLE)
        return answer

    async def _arrive(self, key: Key, patch: Mapping[str, Any], kind: str) -> None:
        with suppress(Conflict, Gone):
            self.server.patch(key, patch, kind)

    async def _delay(self, fault: str) -> None:
        if fault == Fault.DELAY:
            await asyncio.sleep(DELAY_SECONDS)
            await self.points.pause()

    async def delete_trainingjob(self, key: Key, uid: str, version: str) -> None:
        with self._leading():
            await super().delete_trainingjob(key, uid, version)

    async def site(self, name: str) -> dict[str, Any]:
        await self.points.pause()
        return await super().site(name)

    async def patch_site_status(self, name: str, version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        with self._leading():
            await self.points.pause()
        return await super().patch_site_status(name, version, status)

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        await self.points.pause()
        return dict(await super().secret(namespace, name))

    async def event(self, **facts: Any) -> None:
        with self._leading():
            await self.points.pause()
        await super().event(**facts)

    async def lease(self, _namespace: str, _name: str) -> dict[str, Any]:
        await self.points.pause()
        self._called("lease")
        if self.server.lease is None:
            raise Gone("lease")
        return copied(self.server.lease)

    async def create_lease(self, _namespace: str, _name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        await self.points.pause()
        self._called("create lease")
        if self.server.lease is not None:
            raise Conflict("lease")
        return await self._kept(spec)

    async def replace_lease(self, lease: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        await self.points.pause()
        self._called("replace lease")
        if self.server.lease is None:
            raise Gone("lease")
        if lease["metadata"] != self.server.lease["metadata"]:
            raise Conflict("lease")
        return await self._kept(spec)

    async def _kept(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        self.server.version += 1
        kept = {"metadata": {"resourceVersion": str(self.server.version)}, "spec": dict(spec)}
        self.server.lease = kept
        await self.points.pause()
        return copied(kept)

    @contextmanager
    def _leading(self) -> Iterator[None]:
        """As kube.py has it: who leads no more takes it for an outage. Asked on entering, and by a call that stood."""
        try:
            self.points.fence()
            yield
        except Unavailable as error:
            if error.reason != NOT_LEADING:
                raise
            raise Unavailable(error.message, reason=UNAVAILABLE, sent=False) from error


class HardDoor(Door):
    """A door through mishaps, as the user of the Secret that its operator has read."""

    site: HardSite
    points: Process
    mishaps: Mishaps
    credentials: Callable[[], Credential]

    async def probe(self) -> Probe:
        fault = await self._look(Kind.PROBE)
        found = await self.site.probe()
        self._garble(fault)
        await self._delay(fault)
        return found

    async def submit(self, batch: Batch) -> str:
        stood = len(self.points.late)
        await self._step("before submit")
        if len(self.points.late) > stood:
            self.mishaps.late.add(batch.options.name)
        fault = self.mishaps.next(Kind.SUBMIT)
        if fault in (Fault.SEND_TWICE, Fault.KILL_LATE, Fault.DELAY):
            self.mishaps.twice.add(batch.options.name)
        if fault in (Fault.LOSE_CALL, UNSENT):
            raise Unavailable("The call was lost.", reason="Unreachable", sent=fault != UNSENT)
        if fault == Fault.BUSY:
            raise Rejected("Slurm refused the job: too many jobs.", reason="TooManyJobs", transient=True)
        if fault == Fault.KILL_LATE:
            credential = self.credentials()
            self.points.kill_and(lambda: self._arrive(batch, credential))
        await self._delay(fault)
        if fault == Fault.SEND_TWICE:
            await self.site.submit(batch)
            self.site.ever[-1].surplus = True
        job_id = await self.site.submit(batch)
        await self._step("after submit")
        self._garble(fault)
        if fault == Fault.LOSE_ANSWER:
            raise Unavailable("The answer was lost.", reason="Unreachable")
        return job_id

    async def _arrive(self, batch: Batch, credential: Credential) -> None:
        self.site.asked_by(cast("MemoryCredential", credential))
        with suppress(PasserelleError):
            await self.site.submit(batch)

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        fault = await self._look(Kind.LISTING)
        found = await self._told(fault, lambda: self.site.states(job_ids))
        if fault == Fault.OTHER_CLUSTER:
            return dict.fromkeys(job_ids, JobState("COMPLETED"))
        return {} if fault in (Fault.EMPTY_ANSWER, Fault.OTHER_USER) else found

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        fault = await self._look(Kind.RECORD)
        return _of_others(fault, await self._told(fault, lambda: self.site.get(job_ids)))

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        fault = await self._look(Kind.LISTING)
        return _of_others(fault, await self._told(fault, lambda: self.site.find(ended_of)))

    async def cancel(self, job_id: str) -> None:
        await self._step("before cancel")
        fault = self.mishaps.next(Kind.CANCEL)
        await self._delay(fault)
        if fault != Fault.LOSE_CALL:
            await self.site.cancel(job_id)
        await self._step("after cancel")
        if fault in (Fault.LOSE_CALL, Fault.LOSE_ANSWER):
            raise Unavailable("The answer was lost.", reason="Unreachable")

    async def _look(self, kind: Kind) -> str:
        await self.points.pause()
        self._ask()
        fault = self.mishaps.next(kind)
        if fault == Fault.AWAY:
            raise Unavailable(f"The gateway answered 503 to Bearer {TOKEN}.", reason="GatewayUnavailable")
        return fault

    async def _told(self, fault: str, call: Callable[[], Awaitable[T]]) -> T:
        """The site's own word, or what that was some time ago. Memory answers at once: nobody comes in between."""
        clock = self.site.clock
        if fault == Fault.OLD_ANSWER:
            self.site.clock = lambda: clock() - OLD_SECONDS
        try:
            found = await call()
        finally:
            self.site.clock = clock
        self._garble(fault)
        await self._delay(fault)
        return found

    async def _delay(self, fault: str) -> None:
        if fault == Fault.DELAY:
            await asyncio.sleep(DELAY_SECONDS)
            await self.points.pause()
            self._ask()

    def _garble(self, fault: str) -> None:
        if fault == Fault.GARBLE_ANSWER:
            raise Unavailable(f"The gateway's answer is no JSON: <html>{TOKEN}", reason="Garbled")

    def _ask(self) -> None:
        self.site.asked_by(cast("MemoryCredential", self.credentials()))

    async def _step(self, name: str) -> None:
        await super()._step(name)
        if name.startswith("before"):
            self._ask()


class HardAccountedDoor(HardDoor, AccountedDoor):
    async def accounted(
        self, *, names: Collection[str] = (), job_ids: Collection[str] = (), **how: float
    ) -> Sequence[RemoteJob]:
        fault = await self._look(Kind.ACCOUNTING)
        rows = await self._told(fault, lambda: self.site.accounted(names=names, job_ids=job_ids, **how))
        return _of_others(fault, rows)


class HardCarryingDoor(HardAccountedDoor, CarryingDoor):
    async def size(self, path: str) -> int | None:
        await self._look(Kind.READ)
        return await super().size(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        await self._look(Kind.READ)
        return await super().read(path, offset, length)

    async def make_directory(self, path: str) -> None:
        await self._look(Kind.READ)
        await super().make_directory(path)


def _of_others(fault: str, found: Sequence[RemoteJob]) -> Sequence[RemoteJob]:
    """An answer that speaks of nobody, of another user's jobs, or of a cluster where other jobs have these ids."""
    if fault == Fault.EMPTY_ANSWER:
        return []
    if fault == Fault.OTHER_USER:
        return [replace(job, user=STRANGER) for job in found]
    if fault == Fault.OTHER_CLUSTER:
        return [replace(job, cluster=ELSEWHERE, name="thesis") for job in found]
    return found

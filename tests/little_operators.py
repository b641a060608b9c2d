"""A little world with several operators, as a Deployment keeps them: one leads by the Lease, the others stand by.

Each is composed as operator/main.py composes it, with the real election. It dies at a call, loses the Lease and ends,
is asked to end, or stands still and wakes up late; another one is started in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from little_mishaps import TOKEN, HardAccountedDoor, HardCarryingDoor, HardDoor, HardKube, Mishaps, Process
from little_nodes import HardSite
from little_world import EPOCH, SECRET, SITE, Door, Points, World, copied, gateway
from passerelle.election import Election
from passerelle.gateways.base import Credential, Gateway
from passerelle.gateways.measured import measured
from passerelle.kube import Kube
from passerelle.reconcile import Reconciler
from passerelle.v1alpha1.site import SiteSpec

AWAY_SECONDS = 3.0
"""How long it takes until another process is there in the place of one that has ended."""
OTHER = "https://other"
"""The door to the other cluster."""
USERS = ("startup", "colleague")
DOORS: Mapping[str, type[HardDoor]] = {
    "files": HardCarryingDoor,
    "accounting": HardAccountedDoor,
    "no accounting": HardDoor,
}


class Operator:
    """One process. It stands by at first; `ended` is told of its end."""

    def __init__(self, world: HardWorld, name: str, ended: Callable[[Operator], None]) -> None:
        self.world = world
        self.points = Process(self._died)
        self.kube = HardKube(world.api, self.points, world.mishaps)
        clock = world.loop.time
        self.election = Election(
            self.kube, world.home, name, clock=clock, now=lambda: EPOCH + clock(), sleep=self.points.sleep
        )
        self.points.fence = self.election.fence
        self.reconciler: Reconciler | None = None
        self._ended = ended
        self._stops = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._news: asyncio.Queue[tuple[dict[str, Any], bool, bool]] = asyncio.Queue()
        self._sites: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._life = asyncio.create_task(self._live())

    @property
    def leads(self) -> bool:
        return self.reconciler is not None and not self.points.dead

    async def _live(self) -> None:
        try:
            await self.election.win()
            holding = asyncio.create_task(self.election.hold())
            self._tasks.append(holding)
            await self._compose()
            await asyncio.shield(holding)  # then another one has the Lease
        finally:
            self._died()

    async def _compose(self) -> None:
        """In the order of operator/main.py: all TrainingJobs, the Sites, and only then is anything acted on."""

        def measure(_: str, door: Gateway) -> Gateway:
            return measured(door, lambda _: None, self.world.loop.time, self.election.fence)

        api, made = self.world.api, self.world.compose(cast("Kube", self.kube), self.points, measure)
        self.reconciler = made
        for body in [*api.objects.values()]:
            made.take_in(copied(body))
        await self.points.pause()
        await made.sites.observe(copied(api.sites[SITE]), deleted=False)
        await self.points.pause()
        made.begin()
        for work in (made.homeless.run(), made.announcer.run(), self._observe(made), self._observe_sites(made)):
            self._tasks.append(asyncio.create_task(work))
        api.watchers.append(self._hear)
        api.listers.append(self._list)
        self.hear_of_site()
        for body in api.objects.values():
            self._list(copied(body))

    async def _observe_sites(self, made: Reconciler) -> None:
        while True:
            body = await self._sites.get()
            await self.points.pause()
            await made.sites.observe(body, deleted=False)

    def hear_of_site(self) -> None:
        self._sites.put_nowait(copied(self.world.api.sites[SITE]))

    def _hear(self, body: dict[str, Any], deleted: bool) -> None:
        if not self.world.deaf:
            self._news.put_nowait((body, deleted, False))

    def _list(self, body: dict[str, Any]) -> None:
        self._news.put_nowait((body, False, True))

    async def _observe(self, made: Reconciler) -> None:
        while True:
            body, deleted, listed = await self._news.get()
            await self.points.pause()
            made.observe(body, deleted=deleted, listed=listed)

    def _died(self) -> None:
        self.points.dead = True
        api = self.world.api
        api.watchers = [each for each in api.watchers if each != self._hear]
        api.listers = [each for each in api.listers if each != self._list]
        self._ended(self)

    async def stop(self) -> None:
        """As SIGTERM: what is in hand is finished, and the Lease given back."""
        if self._stops or self.points.dead:
            return
        self._stops = True
        if self.reconciler is not None:
            await self.reconciler.sites.close()
        await self.election.resign()
        self.points.kill()

    async def clear(self) -> None:
        """Whatever is left of a dead one goes."""
        self._life.cancel()
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(BaseException):
            await asyncio.gather(self._life, *self._tasks, return_exceptions=True)
        if self.reconciler is not None and not self._stops:
            with contextlib.suppress(BaseException):
                await self.reconciler.sites.close()


class HardWorld(World):
    """World, with mishaps, two clusters, two users and `replicas` operators. `root` holds the clusters' files."""

    site: HardSite

    def __init__(self, root: Path, *, door: str = "accounting", replicas: int = 1, **site_spec: Any) -> None:
        self.root = root
        self.mishaps = Mishaps()
        self.replicas = replicas
        self.operators: list[Operator] = []
        self.deaf = False  # no watch tells anything
        self.started = 0
        self._closing = False
        super().__init__(**site_spec)
        self.door = DOORS[door]
        self.another(OTHER, cluster="other", first_job_id=1000)
        self.api.secrets[SECRET] = {"username": USERS[0].encode(), "token": TOKEN.encode()}

    @property
    def sites(self) -> list[HardSite]:
        return [cast("HardSite", each) for each in self.behind.values()]

    def make_site(self, **facts: Any) -> HardSite:
        root = self.root / facts.get("cluster", "memory")
        root.mkdir()
        return HardSite(root=root, clock=self.loop.time, token=TOKEN, settle_seconds=4.0, **facts)

    def open_door(self, spec: SiteSpec, credentials: Callable[[], Credential], points: Points) -> Door:
        door = cast("HardDoor", super().open_door(spec, credentials, points))
        door.mishaps, door.credentials = self.mishaps, credentials
        return door

    def start(self) -> None:
        """Have as many operators as there are to be."""
        while len(self.operators) < self.replicas and not self._closing:
            self.started += 1
            self.operators.append(Operator(self, f"operator-{self.started}", self._replace))

    def _replace(self, gone: Operator) -> None:
        if gone in self.operators:
            self.operators.remove(gone)
            self.loop.create_task(gone.clear())
            self.loop.call_later(AWAY_SECONDS, self.start)

    @property
    def leader(self) -> Operator | None:
        return next((each for each in self.operators if each.leads), None)

    async def close(self) -> None:
        self._closing = True
        for each in list(self.operators):
            each.points.kill()
            await each.clear()

    async def edit_site(self, **spec: Any) -> None:
        found = self.api.sites[SITE]
        found["spec"] |= spec
        found["metadata"]["generation"] += 1
        self.api._stamped(found)
        for each in self.operators:
            if each.leads:
                each.hear_of_site()

    def hear_again(self) -> None:
        self.deaf = False
        self.api.list_anew()

    async def turn(self, *, user: str = USERS[0], cluster: str = "") -> None:
        """The Secret is another user's, or the Site leads to another cluster."""
        self.api.secrets[SECRET] = {"username": user.encode(), "token": TOKEN.encode()}
        await self.edit_site(gateway=gateway(OTHER) if cluster else gateway())

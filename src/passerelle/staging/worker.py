"""A site's staging: the steps of its TrainingJobs, taken until they are done, and who is told of it.

Level-triggered: whoever wants a TrainingJob's steps done asks, again and again, and is told how far they are; a step is
begun by the first ask, and by the first after a restart of the operator. Done is what was done for these steps, at this
run root, on this cluster, as this user; and before a submit it is looked whether it lies there still. What a person
must mend is tried again after minutes, or as soon as another account is charged, and said meanwhile; what nobody can
help is tried again within seconds. None keeps its place among those in hand while it waits for another try. What was
begun for steps that nobody wants any more is tidied up, and for an hour again where the site can't be asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Identity
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.gateways.together import together
from passerelle.staging.door import Door
from passerelle.staging.places import Places
from passerelle.staging.s3.allowed import ALLOWED
from passerelle.staging.s3.credential import Access
from passerelle.staging.s3.presigned import OpenPresigned
from passerelle.staging.stage import Locks, Stage
from passerelle.staging.steps import Direction, Progress, Step
from passerelle.staging.store import Changed, Store
from passerelle.staging.turns import Turns

log = logging.getLogger("passerelle.staging")

TOLD_SECONDS = 10.0
"""How often mere progress is told, at most; a change of a state is told at once."""
FIRST_AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 1.0, 60.0
LONGEST_WISHED_SECONDS = 900.0
"""What a server may ask us to wait: it is asked again after that, whatever it said."""
MOST_CHANGES = 8
"""Times in a row that an object or a file may have changed under its copy, before somebody is told."""
MENDED_AGAIN_SECONDS = 120.0
"""How long a step waits that a person must help: a Secret, a bucket and a right are looked at, not watched."""
SURE_SECONDS = 60.0
"""How long a look counts: a site that purges its scratch does so between two of them."""
DROP_SECONDS = 300.0
"""What one try to tidy up after a step may take: up to a gigabyte is read back where nothing is renamed."""
DROPPING_SECONDS = 3600.0
"""How long it is tried again where the site can't be asked: an edit of its Site, a restart and a credential's renewal
are over by then, and hardly another operator, or another Site, has gone on with what lies there.
"""

ReadAccess = Callable[[str, str], Awaitable[Access]]
"""Namespace and name of a Secret -> who we are. Raises our errors."""
OpenStore = Callable[[str, Access], Store]
Moved = Callable[[Direction, int], None]


@dataclass(slots=True)
class _Work:
    """The steps of one TrainingJob in one direction, in hand."""

    namespace: str
    steps: tuple[Step, ...]
    run_root: str
    where: Identity | None
    stages: list[Stage]
    task: asyncio.Task[None] | None = None
    before: asyncio.Task[None] | None = None
    """Tidies up after the steps whose place these have taken."""
    resting: bool = False
    told: float = 0.0
    looked: float = 0.0

    @property
    def done(self) -> bool:
        return all(stage.progress.done for stage in self.stages)

    def is_for(self, steps: tuple[Step, ...], run_root: str, where: Identity | None) -> bool:
        return self.is_at(where) and (self.steps, self.run_root) == (steps, run_root)

    def is_at(self, where: Identity | None) -> bool:
        return where is None or self.where is None or where == self.where

    def charge(self, steps: tuple[Step, ...]) -> bool:
        """Have these same steps charged to what they are charged to now. Returns whether it changed for one that waits
        for a person, who may have mended just that.
        """
        mended = False
        for stage, step in zip(self.stages, steps, strict=True):
            mended = mended or (stage.step.account != step.account and stage.progress.stalled)
            stage.step = step
        self.steps = steps
        return mended

    def progress(self) -> tuple[Progress, ...]:
        return tuple(stage.progress for stage in self.stages)


class Staging:
    """Of one site. `door` gives its gateway as it is now, to whom it leads to still, or raises why there is none;
    `changed` is told whose progress changed, by uid, and must not block. `room` is shared by all sites.
    """

    def __init__(  # noqa: PLR0913 -- what it is given to work with, by name
        self,
        site: str,
        *,
        door: Callable[[Identity | None], Door],
        read_access: ReadAccess,
        open_store: OpenStore,
        changed: Callable[[str], None],
        moved: Moved = lambda _direction, _size: None,
        now: Callable[[], float],
        room: asyncio.Semaphore | None = None,
        presigned: OpenPresigned = ALLOWED.presigned,
    ) -> None:
        self._site = site
        self._door = door
        self._read_access = read_access
        self._open_store = open_store
        self._presigned = presigned
        self._changed = changed
        self._moved = moved
        self._now = now
        self._turns = Turns(room=room)
        self._locks: Locks = WeakValueDictionary()
        self._places = Places()
        self._works: dict[str, _Work] = {}
        self._dropping: set[asyncio.Task[None]] = set()

    def ask(
        self,
        uid: str,
        namespace: str,
        steps: Sequence[Step],
        run_root: str,
        where: Identity | None = None,
        *,
        begun: bool = False,
    ) -> tuple[Progress, ...]:
        """Have these steps done; how far they are. `where` is who answers at the site, None where nobody does now.
        `begun`: the run goes on with what lies there, which the store may have in another version by now.
        """
        work = self._works.get(uid)
        if work is None or not work.is_for(tuple(steps), run_root, where):
            old, work = work, self._work(uid, namespace, tuple(steps), run_root)
            self._works[uid] = work
            if old is not None and old.task is not None:
                work.before = self._given_up(old, old.task, namespace, here=old.is_at(where))
            self._start(uid, work, old.task if old is not None else None, look=begun)
        else:
            mended = work.charge(tuple(steps))
            for stage in work.stages if work.resting else ():
                stage.rested()
            if mended or work.resting:
                self._start(uid, work, work.task, look=begun)
        work.where = where or work.where
        return work.progress()

    def known(self, uid: str, steps: Sequence[Step]) -> tuple[Progress, ...] | None:
        """How far these steps are, where they are in hand or done."""
        work = self._works.get(uid)
        return work.progress() if work is not None and work.steps == tuple(steps) else None

    def sure(self, uid: str) -> bool:
        """Whether all that was done lay there a moment ago. Else it is looked, and told when that is over."""
        work = self._works.get(uid)
        if work is None or not work.done or work.task is None or not work.task.done():
            return False
        if asyncio.get_running_loop().time() - work.looked <= SURE_SECONDS:
            return True
        self._start(uid, work, None, look=True)
        return False

    def stop(self, uid: str, direction: Direction = "In") -> None:
        """Let it rest where it is: it is asked for again, or forgotten."""
        work = self._works.get(uid)
        if work is not None and work.task is not None and not work.resting and work.steps[0].direction == direction:
            work.resting = True
            work.task.cancel()

    def forget(self, uid: str, namespace: str) -> None:
        """Nobody wants it any more: leave nothing half-named."""
        work = self._works.pop(uid, None)
        if work is not None and work.task is not None:
            self._given_up(work, work.task, namespace, here=True)

    def _given_up(self, work: _Work, task: asyncio.Task[None], namespace: str, *, here: bool) -> asyncio.Task[None]:
        """`here`: the site is the one that it was begun at."""
        task.cancel()
        dropping = asyncio.create_task(self._drop(work, task, namespace, here=here), name=f"staging-drop-{self._site}")
        self._dropping.add(dropping)
        dropping.add_done_callback(self._dropping.discard)
        return dropping

    async def close(self) -> None:
        tasks = [*(work.task for work in self._works.values() if work.task is not None), *self._dropping]
        self._works.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The steps of one TrainingJob

    def _work(self, uid: str, namespace: str, steps: tuple[Step, ...], run_root: str) -> _Work:
        def note() -> None:
            self._note(uid)

        common = (run_root, f"{namespace}/{uid}", self._turns, self._locks, note)
        stages = [Stage(step, *common, self._counted(step.direction), self._presigned) for step in steps]
        return _Work(namespace, steps, run_root, None, stages)

    def _start(self, uid: str, work: _Work, before: asyncio.Task[None] | None, *, look: bool) -> None:
        """Take its steps, when the task before has come to its end: two never write to one file."""
        if before is not None:
            before.cancel()
        work.resting = False
        work.task = asyncio.create_task(self._run(uid, work, before, look=look), name=f"staging-{self._site}")

    def _counted(self, direction: Direction) -> Callable[[int], None]:
        return lambda size: self._moved(direction, size)

    def _note(self, uid: str) -> None:
        work, now = self._works.get(uid), asyncio.get_running_loop().time()
        if work is not None and now - work.told >= TOLD_SECONDS:
            work.told = now
            self._changed(uid)

    async def _run(self, uid: str, work: _Work, before: asyncio.Task[None] | None, *, look: bool) -> None:
        if before is not None:
            await asyncio.gather(before, return_exceptions=True)
        if work.before is not None:
            await asyncio.wait({work.before}, timeout=DROP_SECONDS)
        clock = asyncio.get_running_loop().time
        seen, copied = [], False
        for stage in work.stages:
            if look or stage.progress.done:
                await self._look(uid, work, stage)
            failures, copied = 0, copied or not stage.progress.done
            while not stage.progress.done:
                pause = await self._try(work, stage, failures)
                self._changed(uid)
                if pause:
                    failures += 1
                    await asyncio.sleep(pause)
            seen.append(clock())
        work.looked = min(seen) if copied else clock()  # the first may have been seen long before the last was copied
        self._changed(uid)  # nothing is awaited from here on: whoever is woken finds the task at its end

    async def _look(self, uid: str, work: _Work, stage: Stage) -> None:
        """Have a step be done where it lies there, and waiting where it doesn't. A site that is silent is asked again:
        to take the step instead could find a newer version in the store.
        """
        failures, lies = 0, None
        while lies is None:
            try:
                with made_for(Purpose.FILES):
                    lies = await stage.lies(self._door(work.where))
            except Unavailable as error:
                stage.tell(state="Waiting", reason=error.reason, message=error.message, stalled=False, ended=None)
                self._changed(uid)
                await asyncio.sleep(_again(error, failures))
                failures += 1
            except Exception as error:  # to take the step tells why
                if not isinstance(error, PasserelleError):
                    log.exception("looking failed", extra={"site": self._site, "step": stage.step.name})
                lies = False
        if not lies:
            stage.tell(state="Waiting", ended=None)
        elif not stage.progress.done:
            began, now = stage.progress.began, self._now()
            stage.tell(state="Done", reason="", message="", stalled=False, began=began or now, ended=now)

    async def _try(self, work: _Work, stage: Stage, failures: int) -> float:
        """Take a step once. Returns the seconds until it is taken again, 0 where it is done."""
        about = {"site": self._site, "step": stage.step.name, "direction": stage.step.direction}
        async with self._places.place(work.namespace, stage.step.path):
            stage.tell(began=stage.progress.began or self._now())
            try:
                async with self._stored(work.namespace, stage.step) as (store, endpoint):
                    with made_for(Purpose.FILES):
                        await stage.run(self._door(work.where), store, endpoint)
            except PasserelleError as error:
                stage.changes = stage.changes + 1 if isinstance(error, Changed) else 0
                mend = must_be_mended(error) or stage.changes >= MOST_CHANGES
                if stage.progress.reason != error.reason:
                    log.warning("not staged", extra={**about, "reason": error.reason, "error": error.message})
                state = "Failed" if mend else "Copying"
                stage.tell(state=state, reason=error.reason, message=error.message, stalled=mend)
                return MENDED_AGAIN_SECONDS if mend else _again(error, failures)
            except Exception:  # a step that is never taken again would be worse than a repeated defect
                log.exception("staging failed", extra=about)
                text = "The operator failed to copy this, which is a defect of it; its log tells more."
                stage.tell(state="Failed", reason="Defect", message=text, stalled=True)
                return MENDED_AGAIN_SECONDS
            stage.tell(state="Done", reason="", message="", stalled=False, ended=self._now())
            log.info("staged", extra={**about, "files": stage.progress.files, "bytes": stage.progress.total})
            return 0.0

    async def _drop(self, work: _Work, task: asyncio.Task[None], namespace: str, *, here: bool) -> None:
        await asyncio.gather(task, return_exceptions=True)
        if work.before is not None:
            await asyncio.wait({work.before}, timeout=DROP_SECONDS)
        await together(self._drop_stage(work, stage, namespace, here=here) for stage in work.stages)

    async def _drop_stage(self, work: _Work, stage: Stage, namespace: str, *, here: bool) -> None:
        """Try it until it is done, nobody can help, or it has taken long."""
        failures = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DROPPING_SECONDS):
                while here and stage.begun and (pause := await self._try_drop(work, stage, namespace, failures)):
                    failures += 1
                    await asyncio.sleep(pause)
        stage.leave()

    async def _try_drop(self, work: _Work, stage: Stage, namespace: str, failures: int) -> float:
        """Returns the seconds until it is tried again, 0 where it is not."""
        about = {"site": self._site, "step": stage.step.name, "direction": stage.step.direction}
        try:
            async with asyncio.timeout(DROP_SECONDS):
                with made_for(Purpose.FILES):
                    await self._drop_once(work, stage, namespace)
        except (Unavailable, Unauthorized) as error:
            return _again(error, failures)
        except (PasserelleError, TimeoutError) as error:
            log.warning("not tidied up", extra={**about, "error": str(error)})
        except Exception:  # as of a connection that an edit of the Site has closed
            log.exception("tidying up failed", extra=about)
            return LONGEST_AGAIN_SECONDS
        return 0.0

    async def _drop_once(self, work: _Work, stage: Stage, namespace: str) -> None:
        """The Secret often goes with the TrainingJob: what is at the site is tidied up without it. What grows under its
        own name is proven to be ours by the store, though.
        """
        door = self._door(work.where)
        if stage.step.direction == "In" and door.traits.renames:
            await stage.drop(door, None)
            return
        try:
            async with self._stored(namespace, stage.step) as (store, _):
                await stage.drop(door, store)
        except Unavailable:
            raise
        except PasserelleError:
            await stage.drop(door, None)

    @contextlib.asynccontextmanager
    async def _stored(self, namespace: str, step: Step) -> AsyncIterator[tuple[Store, str]]:
        """The step's bucket, and the endpoint where it is."""
        access = await self._read_access(namespace, step.secret)
        store = self._open_store(step.place.bucket, access)
        try:
            yield store, access.endpoint
        finally:
            await store.close()


def must_be_mended(error: PasserelleError) -> bool:
    """Whether a person must act before it can go on."""
    return isinstance(error, Invalid | Missing | Unauthorized) or (isinstance(error, Rejected) and not error.transient)


def _again(error: PasserelleError, failures: int) -> float:
    if isinstance(error, Changed):
        return FIRST_AGAIN_SECONDS
    wished = error.retry_after if isinstance(error, Unavailable) else None
    return max(
        min(FIRST_AGAIN_SECONDS * 2.0 ** min(failures, 10), LONGEST_AGAIN_SECONDS),
        min(wished or 0.0, LONGEST_WISHED_SECONDS),
    )

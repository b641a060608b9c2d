"""A play in the little world, act by act, in virtual time: what users, sites and processes do, and what must hold.

What must hold all the time is complained of as soon as it doesn't. How it must end is judged by the function that
judges the real runs (faults/history.py), from what is true at the site, after all mishaps are healed and all has come
to rest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from faults.history import Verdict
from faults.plan import Kind
from little_mishaps import TOKEN
from little_nodes import HardSite, Life
from little_operators import USERS, HardWorld, Operator
from little_truth import Asked, Truth, judged, last, twice
from little_world import NAMESPACE, Killed, copied
from passerelle.attempts import is_final
from passerelle.batch import Batch
from passerelle.errors import Unavailable
from passerelle.gateways.memory import Fate
from passerelle.kube import UNAVAILABLE
from passerelle.marker import Run, parse
from passerelle.objects import Key, trainingjob
from passerelle.v1alpha1.trainingjob import FINALIZER
from passerelle.v1alpha1.trainingjob_status import TrainingJobStatus
from virtual_time import VirtualLoop

BUSY = 20_000
"""Turns of the loop within one virtual second that nobody needs."""
PASSWORD = "w4ndb-k3y"
SECRETS = (TOKEN, PASSWORD)
PATIENCE_SECONDS = 3_600.0
"""How long all may take to come to its end once nothing is amiss: with the longest back-off and a refusal's wait."""
AFTERWARDS_SECONDS = 90.0
"""How long it is watched then: what comes late comes by now."""
ENDS = {"ok": Fate(end="COMPLETED"), "fails": Fate(end="FAILED", exit_code=3), "long": Fate(end="COMPLETED")}
LONG_SECONDS = 2_000.0
HALT_SECONDS = 300.0
"""How long a job may live whose TrainingJob is deleted or suspended, once nothing is amiss: with back-off."""
LIE_SECONDS = 30.0
"""How long before a submit a lie may have been told that makes it come again."""
RETRY = "passerelle.dev/retry-requested-at"
NODE_FAIL, PREEMPTED = "NODE_FAIL", "PREEMPTED"

OUT = ("gateway_down", "scheduler_down", "frozen", "accounting_down", "kubernetes", "watches")
AT_SITE = ("cancel", "requeue", "hold", "release", "suspend", "resume", "node fails", "preempted", "purge")


class Clocked(VirtualLoop):
    """A loop that ends a play in which time stands still."""

    def __init__(self) -> None:
        super().__init__()
        self._second, self._turns = 0, 0

    def _run_once(self) -> None:
        second = int(self.time())
        self._turns = self._turns + 1 if second == self._second else 0
        self._second = second
        if self._turns > BUSY:
            raise AssertionError("the operators are busy for ever, and no time passes")
        super()._run_once()  # type: ignore[misc]  # asyncio's own


class Play:
    """One of them. Each act lets the loop go on for some seconds; `close` must follow."""

    def __init__(self, *, door: str = "accounting", replicas: int = 1, max_jobs: int | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="play-"))
        self.loop = Clocked()
        self.loop.set_exception_handler(self._unheard)
        self.complaints: list[str] = []
        self.asked: list[Asked] = []
        self.backups: list[dict[Key, dict[str, Any]]] = []
        self._where = (USERS[0], "")
        self._calm = 0.0  # since when nothing is amiss
        self._met = (0, 0)
        self._purges: list[float] = []
        self._forgets = False  # accounting lost what it had
        self._ids: Iterator[int] = iter(range(1, 1_000_000))
        self._resting = False
        self._events = 0
        self._defects = _Defects(self.complaints)
        self._defects.listen(to_it=True)
        self.world: HardWorld = self.run(self._made(door, replicas, max_jobs))
        self.door = door
        self.has_accounting = door != "no accounting"

    async def _made(self, door: str, replicas: int, max_jobs: int | None) -> HardWorld:
        more = {} if max_jobs is None else {"maxJobs": max_jobs}
        world = HardWorld(self.root, door=door, replicas=replicas, period="5s", **more)
        world.api.uids = lambda: str(uuid.UUID(int=next(self._ids)))
        world.api.auditor = self._audit
        world.api.secrets["wandb"] = {"WANDB_API_KEY": PASSWORD.encode()}
        for site in world.sites:
            site.fates = self._fate
        world.start()
        await asyncio.sleep(5)
        return world

    def _unheard(self, _: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        """A task ended as nobody expected; a dead operator's do."""
        error = about.get("exception")
        if error is not None and not _killed(error):
            self.complaints.append(f"{about['message']}: {error!r}")

    def _amiss(self, seconds: float = 0.0) -> None:
        """Something is, for so long."""
        self._calm = max(self._calm, self.loop.time() + seconds)

    def run(self, act: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(act)

    def pass_time(self, seconds: float) -> None:
        if seconds:
            self.run(asyncio.sleep(seconds))

    def close(self) -> None:
        self._defects.listen(to_it=False)
        try:
            self.run(self._closed())
        finally:
            self.loop.close()
            shutil.rmtree(self.root)

    async def _closed(self) -> None:
        await self.world.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # What users do

    def create(
        self,
        kind: str = "ok",
        *,
        most: int = 1,
        run_id: bool = False,
        secret: bool = False,
        suspend: bool = False,
        queued: float = 2.0,
        running: float = 10.0,
    ) -> Asked:
        name = f"job-{len(self.asked)}"
        spec: dict[str, Any] = {"retry": {"maxAttempts": most}, "timeLimit": "1h"}
        if run_id:
            spec["runId"] = "r1"
        if secret and self.door == "files":
            spec["envFrom"] = [{"secretRef": {"name": "wandb"}}]
        if suspend:
            spec["suspend"] = True
        if kind == "long":
            spec["checkpoint"] = {"grace": "20s"}
        fate = replace(ENDS[kind], queued=queued, running=LONG_SECONDS if kind == "long" else running)
        key = Key(NAMESPACE, name)
        asked = Asked(key, Run("psr-" + "a" * 26), kind, fate, most, spec, suspensions=int(suspend))
        self.asked.append(asked)
        self._create(asked)
        return asked

    def _create(self, asked: Asked) -> None:
        async def created() -> None:
            self.world.api.create(asked.key.name, **copied(asked.spec))

        self.run(created())
        asked.run, asked.deleted = trainingjob(self.world.api.objects[asked.key]).run, False
        self._note_suspension(asked)

    def create_again(self, asked: Asked) -> None:
        """As Git does: the same manifest, and a new object."""
        if asked.key not in self.world.api.objects:
            asked.losses += 1  # its status; what became of its run is found at the site, and stands
            self._create(asked)

    def delete(self, asked: Asked) -> None:
        found = self.world.api.objects.get(asked.key)
        if found is not None:
            asked.unheld |= bool(asked.losses) and _is_let_go(found)
            self._at_api(lambda: self.world.api.delete(asked.key))
        if not asked.deleted:
            asked.deleted, asked.deleted_at = True, self.loop.time()

    def suspend(self, asked: Asked) -> None:
        """Or resume, if it is suspended."""
        found = self.world.api.objects.get(asked.key)
        if found is not None:
            now = not found["spec"].get("suspend", False)
            asked.suspensions += now
            self._at_api(lambda: self.world.api.edit(asked.key, suspend=now))
            self._note_suspension(asked)

    def _note_suspension(self, asked: Asked) -> None:
        suspended = self.world.api.objects.get(asked.key, {}).get("spec", {}).get("suspend", False)
        before = asked.suspended_at
        asked.suspended_at = None if not suspended else self.loop.time() if before is None else before

    def ask_again(self, asked: Asked) -> None:
        if asked.key in self.world.api.objects:
            asked.retries += 1
            self._at_api(lambda: self.world.api.annotate(asked.key, **{RETRY: f"the {asked.retries}. time"}))

    def empty_status(self, asked: Asked) -> None:
        if asked.key in self.world.api.objects:
            asked.losses += 1
            self._amiss()
            self._at_api(lambda: self.world.api.empty_status(asked.key))

    def back_up(self) -> None:
        self.backups.append(copied(self.world.api.objects))

    def restore(self, ago: int) -> None:
        """All objects are as in this backup, counted from the newest; those that are younger stay. Versions go on."""
        backup = self.backups[-min(ago, len(self.backups))]
        for asked in self.asked:
            old = backup.get(asked.key)
            if old is not None and old["metadata"]["uid"] == self._uid(asked, old["metadata"]["uid"]):
                asked.losses += 1
                asked.deleted = "deletionTimestamp" in old["metadata"]
                asked.unheld |= asked.deleted and _is_let_go(old)
                self.world.api.objects[asked.key] = copied(old)
                self._note_suspension(asked)
        self._amiss()
        self._at_api(self.world.api.list_anew)

    def _uid(self, asked: Asked, otherwise: str) -> str:
        found = self.world.api.objects.get(asked.key)
        return otherwise if found is None else str(found["metadata"]["uid"])

    def _at_api(self, change: Callable[[], None]) -> None:
        async def changed() -> None:
            change()

        self.run(changed())

    def turn(self, *, user: str = USERS[0], cluster: str = "") -> None:
        if (user, cluster) != self._where:
            self._amiss()
        self._where = (user, cluster)
        self.run(self.world.turn(user=user, cluster=cluster))

    # What servers, processes and people at the site do

    def befall(self, kind: Kind, fault: str) -> None:
        """This becomes of the next call of its kind."""
        if fault:
            self.world.mishaps.waiting[kind] = fault

    def put_out(self, what: str, seconds: float) -> None:
        """For so long the site, or a part of it, is silent; or kube-apiserver, or its watches."""
        world, site = self.world, self.world.site
        self._amiss(seconds)
        match what:
            case "kubernetes":
                world.api.trouble = Unavailable("kube-apiserver can't be asked", reason=UNAVAILABLE)
                self.loop.call_later(seconds, lambda: setattr(world.api, "trouble", None))
            case "watches":
                world.deaf = True
                self.loop.call_later(seconds, world.hear_again)
            case "frozen":
                site.faults.frozen = True
                self.loop.call_later(seconds, site.thaw)
            case _:
                setattr(site.faults, what, True)
                self.loop.call_later(seconds, lambda: setattr(site.faults, what, False))

    def trouble_leader(self, what: str, calls: int = 0, seconds: float = 0.0) -> None:
        """It is killed, or stands still for a time, once it has made so many calls more; or it is asked to end."""
        leader = self.world.leader
        if leader is None:
            return
        points = leader.points
        self._amiss(seconds)
        match what:
            case "killed":
                points.kill_at = points.passed + calls
            case "stands still":
                points.freeze_at, points.freeze_seconds = points.passed + calls, seconds
            case _:
                self.loop.create_task(leader.stop())

    def at_site(self, what: str, site: HardSite, life: Life) -> None:
        """Its people and its machines."""
        self._amiss()
        running = site.base(life) == "RUNNING"
        match what:
            case "cancel":
                site.cancel_outside(life)
            case "requeue" if running:
                self._at_api(lambda: site.requeue(life.job.job_id))
            case "hold":
                site.hold(life)
            case "release":
                self._at_api(lambda: site.release(life))
            case "suspend":
                site.suspend(life)
            case "resume":
                site.resume(life)
            case "node fails" if running:
                site.end(life.job.job_id, NODE_FAIL)
            case "preempted" if running:
                site.end(life.job.job_id, PREEMPTED)
            case "purge":
                self._purges.append(self.loop.time())
                site.purge()
            case _:
                pass

    def lose_state(self, *, accounting: bool, colleague: bool = False) -> None:
        """A colleague's job may be the first to have an id that was ours."""
        site = self.world.site
        batches = list(site.batches.values())
        self._forgets |= not accounting
        self._amiss()
        site.lose_state(accounting=accounting)
        if colleague and batches:
            self._at_api(lambda: site.of_a_colleague(batches[0]))

    # What is seen

    def gone(self, asked: Asked) -> bool:
        return asked.key not in self.world.api.objects

    @property
    def living(self) -> list[Asked]:
        return [each for each in self.asked if not each.deleted]

    @property
    def leader(self) -> Operator | None:
        return self.world.leader

    def lives(self, asked: Asked) -> list[tuple[HardSite, Life]]:
        """All jobs that a run ever had, and where."""
        return [
            (site, life)
            for site in self.world.sites
            for life in site.ever
            if (named := parse(life.marker)) is not None and named[0] == asked.run
        ]

    def live(self) -> list[tuple[HardSite, Life]]:
        """Jobs of ours that have not ended."""
        return [
            (site, life) for site in self.world.sites for life in site.ever if parse(life.marker) and site.lives(life)
        ]

    def _fate(self, batch: Batch) -> Fate:
        named = parse(batch.options.name)
        asked = next((each for each in self.asked if named is not None and each.run == named[0]), None)
        fate = Fate() if asked is None else asked.fate
        return replace(fate, queued=1.0, running=4.0) if self._resting else fate

    # What must hold all the time

    def _audit(self, key: Key, before: dict[str, Any], after: dict[str, Any]) -> None:
        """An operator has patched a status."""
        old, new = TrainingJobStatus.model_validate(before), TrainingJobStatus.model_validate(after)
        was, now = last(old), last(new)
        if now < was or new.attempts_total < old.attempts_total:
            self.complaints.append(f"{key}: the status goes back from attempt {was} to {now}")
        told = {each.number: each for each in new.attempts}
        for each in old.attempts:
            newer = told.get(each.number)
            if newer is not None and is_final(each) and (newer.reason, newer.job_id) != (each.reason, each.job_id):
                text = f"{each.reason} of job {each.job_id} to {newer.reason} of job {newer.job_id}"
                self.complaints.append(f"{key}: attempt {each.number} had ended, and turns from {text}")
        asked = next(each for each in self.asked if each.key == key)
        allowed = asked.most + asked.suspensions + asked.retries + asked.losses * bool(asked.retries)
        if now > allowed:
            self.complaints.append(f"{key}: attempt {now}, where {allowed} were asked for")
        self._no_secret(str(key), after)

    def _no_secret(self, where: str, what: object) -> None:
        text = json.dumps(what)
        self.complaints += [f"a secret stands in what is told of {where}" for each in SECRETS if each in text]

    def complain(self) -> None:
        """Raise AssertionError where something did not hold."""
        api, sites = self.world.api, self.world.sites
        self._look_for_trouble()
        self._no_secret("the Site", [each.get("status", {}) for each in api.sites.values()])
        self._no_secret("events", api.events[self._events :])
        self._events = len(api.events)
        for site in sites:
            self.complaints += site.trespasses
        by_marker: dict[str, list[Life]] = {}
        for site in sites:
            for life in site.ever:
                if parse(life.marker):
                    by_marker.setdefault(life.marker, []).append(life)
        self.complaints += twice(by_marker)
        unsure = {asked.run.key for asked in self.asked if asked.losses}
        self.complaints += [
            f"{marker} was submitted {len(found)} times, and nothing gave cause for doubt"
            for marker, found in by_marker.items()
            # With its status lost, one that the fence turned away may be followed by another, to the same end.
            if not (marker.rpartition("-")[0] in unsure and any(life.turned_away for life in found))
            if self._again_without_cause(found)
        ]
        for asked in self.asked:
            if self.gone(asked) and self._held(asked):
                self.complaints += [
                    f"{life.marker} of {asked.key.name} lives, and {asked.key.name} is gone"
                    for site, life in self.lives(asked)
                    if site.lives(life)
                ]
        self.complaints += self._halted(HALT_SECONDS)
        assert not self.complaints, "; ".join(dict.fromkeys(self.complaints))

    def _look_for_trouble(self) -> None:
        """What has happened to calls and processes since, at whatever moment."""
        met = len(self.world.mishaps.happened), self.world.started
        if met != self._met:
            self._met = met
            self._amiss()
        leader = self.world.leader
        if leader is not None and leader.points.freeze_at is not None:
            self._amiss(leader.points.freeze_seconds)

    def _again_without_cause(self, found: list[Life]) -> bool:
        """Whether a marker was submitted again, and none of what came before may have been hidden by then. A lie counts
        where it was told between them.
        """
        sent = sorted((life for life in found if not life.surplus), key=lambda life: life.taken)
        return any(not self._cause(sent[:number], later) for number, later in enumerate(sent) if number)

    def _cause(self, earlier: list[Life], later: Life) -> bool:
        mishaps, since = self.world.mishaps, earlier[0].taken - LIE_SECONDS
        lied = any(since <= moment <= later.taken for moment in mishaps.lies)
        return lied or later.marker in mishaps.late or any(self._hidden(life, later.taken) for life in earlier)

    def _hidden(self, life: Life, by: float) -> bool:
        """Whether the site had lost a job, or had forgotten it and has nothing that remembers."""
        job = life.job
        if job.lost is not None:
            return job.lost <= by
        forgotten = [job.end + self.world.site.purge_seconds, *(each for each in self._purges if each >= job.end)]
        return not self.has_accounting and min(forgotten) <= by

    def _held(self, asked: Asked) -> bool:
        """Whether nothing of it may outlive it."""
        late = {marker.rpartition("-")[0] for marker in self.world.mishaps.late}
        return not asked.unheld and asked.run.key not in late

    def _halted(self, seconds: float) -> list[str]:
        """Jobs that live so long after their TrainingJobs were deleted or suspended, of whom who answers may speak."""
        now, (user, cluster) = self.loop.time(), self._where
        found = []
        for asked in self.asked:
            at = asked.deleted_at if asked.deleted else asked.suspended_at
            if at is None or not self._held(asked) or self._open(asked) - {self._where}:
                continue
            found += [
                f"{life.marker} of {asked.key.name} lives, {now - at:.0f} s after that was {what}"
                for what in ["deleted" if asked.deleted else "suspended"]
                for site, life in self.lives(asked)
                if site.lives(life) and (life.user, site.cluster) == (user, cluster or "memory")
                if now - max(at, self._calm, life.job.submitted) >= seconds
            ]
        return found

    # How it ends

    def rest(self) -> Verdict:
        """Heal all that is amiss, see what is to end be ended, let all come to its end, and judge."""
        self.heal()
        self.run(self._until(lambda: not self._halted(0.0), HALT_SECONDS + 1))
        self.complain()
        self._resting = True
        self._hurry()
        for asked in self.living:
            found = self.world.api.objects.get(asked.key)
            if found is not None and found["spec"].get("suspend"):
                self.suspend(asked)
        for _ in range(4 * len(self.asked)):
            self.turn()
            self.run(self._until(lambda: bool(self._elsewhere()) or all(self._over(asked) for asked in self.asked)))
            for user, cluster in self._elsewhere():
                self.turn(user=user, cluster=cluster)
                self.run(self._until(partial(self._done, user, cluster or "memory")))
        self.pass_time(AFTERWARDS_SECONDS)
        self.complain()
        return self._verdict()

    def heal(self) -> None:
        world = self.world
        self._look_for_trouble()
        world.mishaps.waiting.clear()
        world.api.trouble = None
        for site in world.sites:
            faults = site.faults
            faults.gateway_down = faults.scheduler_down = faults.accounting_down = False
            self._at_api(site.thaw)
            for life in site.ever:
                if site.lives(life):
                    site.resume(life)
                    self._at_api(partial(site.release, life))
        for operator in world.operators:
            operator.points.kill_at = operator.points.freeze_at = None
        self._at_api(world.hear_again)
        self._amiss()

    def _hurry(self) -> None:
        """What is to come to its own end does so soon. What is deleted has to be ended."""
        to_be_ended = {asked.run for asked in self.asked if asked.deleted and self._held(asked)}
        for site, life in self.live():
            named = parse(life.marker)
            if named is None or named[0] not in to_be_ended:
                self._at_api(partial(site.hurry, life, 5.0))

    def _elsewhere(self) -> list[tuple[str, str]]:
        """As whom and where attempts are open that are not of here and now."""
        found = set[tuple[str, str]]().union(*(self._open(asked) for asked in self.asked))
        return sorted(found - {(USERS[0], "")})

    def _open(self, asked: Asked) -> set[tuple[str, str]]:
        """As whom and where its attempts are open."""
        return {
            (each.user, "" if each.cluster == "memory" else each.cluster)
            for each in self._status(asked).attempts
            if not is_final(each)
        }

    def _done(self, user: str, cluster: str) -> bool:
        attempts = (each for asked in self.asked for each in self._status(asked).attempts)
        return all(is_final(each) for each in attempts if (each.user, each.cluster) == (user, cluster))

    def _over(self, asked: Asked) -> bool:
        if asked.deleted:
            return asked.key not in self.world.api.objects
        return (
            self.world.condition(asked.key, "Finished")[0] == "True" if asked.key in self.world.api.objects else False
        )

    async def _until(self, holds: Callable[[], bool], patience: float = PATIENCE_SECONDS) -> None:
        """For as long as patience lasts; what has not come by then is judged."""
        began = self.loop.time()
        while not holds() and self.loop.time() - began < patience:  # noqa: ASYNC110 -- nobody tells of it
            await asyncio.sleep(1 if self.loop.time() - began < 60 else 20)

    def _status(self, asked: Asked) -> TrainingJobStatus:
        found = self.world.api.objects.get(asked.key, {})
        return TrainingJobStatus.model_validate(found.get("status", {}))

    def _verdict(self) -> Verdict:
        mishaps = self.world.mishaps
        verdict = judged([self._truth(asked) for asked in self.asked], mishaps.twice | mishaps.late)
        for asked in self.asked:
            numbers = {named[1] for _, life in self.lives(asked) if (named := parse(life.marker))}
            gaps = set(range(1, max(numbers, default=0))) - numbers
            verdict.wrong_end += [f"{asked.key.name}: attempt {each} was passed over" for each in sorted(gaps)]
        return verdict

    def _truth(self, asked: Asked) -> Truth:
        found = self.world.api.objects.get(asked.key)
        return Truth(
            asked,
            self.lives(asked),
            None if found is None else TrainingJobStatus.model_validate(found.get("status", {})),
            accounting=self.has_accounting and not self._forgets,
            held=self._held(asked),
            hit=max(self._calm - asked.deleted_at, 0.0) + HALT_SECONDS,
        )


def _is_let_go(found: Mapping[str, Any]) -> bool:
    """Whether it is let go without a word of the site: nothing holds it, or it says that it has finished. An older
    backup knows nothing of what came later.
    """
    held = FINALIZER in found["metadata"].get("finalizers", [])
    told = TrainingJobStatus.model_validate(found.get("status", {})).conditions
    return not held or any(each.type == "Finished" and each.status == "True" for each in told)


class _Defects(logging.Handler):
    """Takes note of what the operator itself logs as a defect; a dead one's last words don't count."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._complaints = complaints

    def listen(self, *, to_it: bool) -> None:
        """Nobody else hears: what thousands of deaths leave would hide a failure."""
        log = logging.getLogger("passerelle")
        (log.addHandler if to_it else log.removeHandler)(self)
        log.propagate = not to_it

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None and not _killed(error):
            self._complaints.append(f"a defect is logged: {record.getMessage()}: {error!r}")


def _killed(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_killed(each) for each in error.exceptions)
    return isinstance(error, Killed)

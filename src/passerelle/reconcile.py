"""The pass over one TrainingJob: read, decide, act at most once, report once.

Level-triggered: a pass starts from what stands in the store and the site's picture, whatever woke it. What it may do is
in acts.py, and what follows an end in afterwards.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from passerelle import decide
from passerelle.actions import Action, Adopt, Cancel, Intend, LookUp, Release, Rest, Submit
from passerelle.acts import Acts
from passerelle.afterwards import Afterwards
from passerelle.announce import Announcer
from passerelle.attempts import epoch, is_final
from passerelle.batch import Batch
from passerelle.chain import excluded
from passerelle.current import OUTCOME_LOST, Seen
from passerelle.due import due
from passerelle.errors import Unavailable
from passerelle.facts import Word
from passerelle.holds import TURNS, Holds
from passerelle.kube import UNAVAILABLE, Conflict, Gone, Kube
from passerelle.marker import Run
from passerelle.objects import Key, TrainingJob
from passerelle.passes import Memory, Pass, age, elsewhere, remembered, sought, unsent, wanted
from passerelle.planning import Planned, Planner
from passerelle.relisting import Relisting
from passerelle.reporting import Reporter
from passerelle.run_directory import run_directory
from passerelle.sites import Service, Sites
from passerelle.staging.s3.allowed import ALLOWED
from passerelle.staging.s3.presigned import OpenPresigned
from passerelle.staging.worker import OpenStore
from passerelle.store import Store
from passerelle.transfers import Transfers
from passerelle.v1alpha1.trainingjob import FINALIZER
from passerelle.views import Inquiry
from passerelle.watch import SiteWatch
from passerelle.witness import Nobody, Witness
from passerelle.work import WorkQueue

log = logging.getLogger("passerelle.reconcile")

NO_SITE = ""
"""The queue of TrainingJobs whose Site does not exist."""


class Reconciler:
    """All TrainingJobs in view. `clock` is monotonic, in seconds; `now` is the wall clock, in epoch seconds."""

    def __init__(
        self,
        kube: Kube,
        planner: Planner,
        *,
        clock: Callable[[], float],
        now: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
        witness: Witness | None = None,
        open_store: OpenStore = ALLOWED.store,
        presigned: OpenPresigned = ALLOWED.presigned,
    ) -> None:
        self._kube = kube
        self._planner = planner
        self._clock = clock
        self._witness: Witness = witness or Nobody()
        self._now = now
        self.announcer = Announcer(kube, self._busy)
        self._reporter = Reporter(kube, self._keep, self.announcer.tell, now)
        self._acts = Acts(kube, self._reporter, self._keep, clock, now)
        self._store = Store()
        self._afterwards = Afterwards(kube, self._store, self._look_up, clock, now)
        self._holds = Holds(self._wake)
        self._transfers = Transfers(planner.secrets, self._wake, self._witness.moved, now, open_store, presigned)
        self._memory: dict[str, Memory] = {}
        self._relisting = Relisting(self._listing_over)
        self._doubted: set[Key] = set()  # whose deletion may have been missed
        self._began = now()
        self._all_in_view = False
        self.homeless: WorkQueue[Key] = WorkQueue(NO_SITE, self.work, workers=2, lane=lambda key: key.namespace)
        self.sites: Sites

    # What the watches tell

    def observe(self, body: Mapping[str, Any], *, deleted: bool, listed: bool = False) -> None:
        """A TrainingJob was seen, changed or deleted."""
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        if deleted:
            self._forget(key, body["metadata"]["uid"])
            return
        self._relisting.heard(key, listed=listed)
        if not self._store.is_news(key, body, listed=listed):
            return
        self._keep(key, body)
        self._queue(key).add(key)

    def _listing_over(self, heard: set[Key]) -> None:
        for key in set(self._store) - heard:
            self._doubted.add(key)
            self._queue(key).add(key)

    def take_in(self, body: Mapping[str, Any]) -> None:
        """Before anything is acted on, a TrainingJob was there: who is counted first must not pass for the only one."""
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        try:
            if self._store.is_news(key, body, listed=True):
                self._keep(key, body)
        except Exception:  # one that can't be read must not keep the operator from starting
            log.exception("not taken in", extra={"trainingjob": str(key)})

    def begin(self) -> None:
        """All that are there are taken in, and the Sites are in service. Those of no Site are worked on, too. Of all
        later ones the watch tells.
        """
        self._all_in_view = True
        for key in self._store:
            self._queue(key).add(key)

    def changed(self, run: Run) -> None:
        """The picture of a run's jobs changed. That there is none of a new TrainingJob's is no news of the site's; and
        why a job waits is told when nobody waits for a submit: of a crowd, each has news of its queue at once.
        """
        key = self._store.of_run(run)
        if key is not None:
            service = self.sites.get(self._store.site(key))
            waits = service is not None and service.watch is not None and service.watch.waits(run)
            self._wake(key, first=self._store.begun(key) and not waits)

    def turned(self, site: str) -> None:
        """A Site appeared, changed, went away or came back."""
        for key in self._store.of_site(site):
            self._queue(key).add(key)

    # What the watches ask

    def run_directory(self, site: str, run: Run, attempt: int) -> str | None:
        """Where an attempt lies at a Site; None where no TrainingJob of that Site is of that run. Another Site may lead
        to the same machine as the same user, and see the jobs of both.
        """
        key = self._store.of_run(run)
        job = self._store.get(key) if key is not None else None
        if job is None or job.site != site:
            return None
        return run_directory(job, self.sites.get(site), attempt)

    def names_nobody(self, run: Run) -> bool:
        """Whether no TrainingJob is of this run; False until all are in view."""
        return self._all_in_view and self._store.of_run(run) is None

    # The pass

    async def work(self, key: Key) -> float | None:
        """One pass. Returns after how many seconds the key is due again."""
        job = self._store.get(key)
        if job is None:
            return None
        with self._witness.one_pass():
            return await self._work(job)

    async def _work(self, job: TrainingJob) -> float | None:
        try:
            try:
                if job.key in self._doubted:
                    again = await self._read_again(job.key)
                    self._doubted.discard(job.key)
                    return again
                return await self._pass(job)
            except Conflict:
                return await self._read_again(job.key)
        except Gone:
            self._forget(job.key, job.uid)
            return None
        except Unavailable as error:
            if error.reason != UNAVAILABLE:
                raise  # the queue tries again, ever later
            log.warning("status not written", extra={"trainingjob": str(job.key), "error": str(error)})
            return 1.0

    async def _read_again(self, key: Key) -> float | None:
        uid = self._store.uid(key)
        try:
            self._keep(key, await self._kube.trainingjob(key))
        except Gone:
            self._forget(key, uid)
            return None
        return 0.0

    async def _pass(self, job: TrainingJob) -> float | None:
        service = self.sites.get(job.site)
        memory = self._memory.setdefault(job.uid, Memory())
        seen = self._seen(job, service, memory)
        action = decide.decide(wanted(job, seen), seen)
        planned, hold = Planned(), None
        previewed = not job.status.attempts and not job.deleting
        if previewed or isinstance(action, Intend | Submit):
            attempt = action.attempt if isinstance(action, Intend | Submit) else 1
            hold = self._hold(job, service, memory, action, planned=_is_planned(job))
            if hold is not None and _is_planned(job) and not self._transfers.outdated(job, service):
                planned = Planned(held=True)  # it says so already, and nothing is sent
            elif isinstance(action, Submit) and (batch := self._kept(service, memory, attempt)) is not None:
                planned = Planned(batch=batch)  # the intent was written for it a moment ago
            else:
                away = () if memory.anywhere else excluded(job.status, seen)
                planned = await self._planner.plan(job, service, attempt, away)
                planned = self._transfers.checked(job, service, planned)
                self._holds.limits.planned(job, planned.plan)
                if planned.plan is not None and not _is_planned(job):  # what can't be planned is not copied for
                    hold = self._hold(job, service, memory, action, planned=True)
            plannable = planned.batch is not None or planned.held
            action = decide.decide(wanted(job, seen, plannable=plannable, hold=hold is not None), seen)
        if sought(memory, action) is None:
            self._holds.decided(job, memory, action, hold, _limit(service), self._clock())
        if service is not None:
            _note_stranger(service, job.key, strange=elsewhere(job, service) is not None)
        now = Pass(job, service, memory, seen, action, planned, hold)
        now = replace(now, resumed=True) if self._lives_on(now) else now
        if not isinstance(action, Release):
            now = await self._acts.leftovers.clear(now)
        staged = self._transfers.look(job, service, action, now.run_directory)
        return await self._act(now if staged is None else replace(now, staged=staged))

    def _kept(self, service: Service | None, memory: Memory, attempt: int) -> Batch | None:
        generation = service.site.generation if service is not None else 0
        return memory.kept(attempt, generation, self._clock())

    def _hold(
        self, job: TrainingJob, service: Service | None, memory: Memory, action: Action, *, planned: bool
    ) -> Word | None:
        """What holds the TrainingJob back. Its data are copied while it waits for its turn."""
        hold = self._holds.reason(job, service, memory, action, self._clock())
        if planned and (hold is None or hold.reason in TURNS):
            return self._transfers.hold(job, service, action, turn=hold is None) or hold
        return hold

    async def _act(self, now: Pass) -> float | None:
        action = now.action
        if isinstance(action, Release):
            again = await self._acts.release(now)
            if again is None and now.job.finalizers == (FINALIZER,):
                self._forget(now.job.key, now.job.uid)  # it is gone, whether or not a watch tells so
            return again
        if isinstance(action, Adopt):
            return await self._acts.adopt(now)
        if isinstance(action, Intend):
            return await self._acts.intend(now)
        if isinstance(action, Submit):
            refusals = now.memory.refusals
            asked = await self._acts.submit(now)
            self._holds.tried(now.job, now.memory, _limit(now.service), refused=now.memory.refusals > refusals)
            return self._due(now) if asked is None else asked
        if isinstance(action, Cancel):
            return await self._acts.cancel(now, action)
        if isinstance(action, LookUp) and now.service is not None and now.service.watch is not None:
            self._look_up(now.job, now.service.watch, action.attempt, last=action.last)
        if now.says_nothing_yet:
            return None  # the look-up brings the next pass in a moment; a write would only say "waiting"
        kept, again = await self._reporter.report(now, trouble=sought(now.memory, action)), None
        if isinstance(action, Rest) and kept and all(is_final(attempt) for attempt in kept):
            (self._holds.ended if now.owes else self._holds.forget)(now.job, _limit(now.service))
            again = self._afterwards.leave(now, kept[-1])
        waits = (again, await self._afterwards.outlived(now), self._due(now))
        return min((each for each in waits if each is not None), default=None)

    def _due(self, now: Pass) -> float | None:
        waits = (due(now, self._clock()), self._acts.leftovers.due(now))
        return min((each for each in waits if each is not None), default=None)

    def _look_up(self, job: TrainingJob, watch: SiteWatch, doubtful: int | None = None, *, last: bool = False) -> None:
        attempts, known = job.status.attempts, remembered(job)
        inquiry = Inquiry(
            highest=max([attempt.number for attempt in attempts], default=0),
            thorough=known is None and self._may_have_run(job),
            wary=job.held_finalizer and not attempts,
            doubtful=doubtful,
            remembered=known,
            last=last,
            had=next((each.job_id for each in attempts if each.number == doubtful), None),
            lost=[each.number for each in attempts if is_final(each) and each.reason == OUTCOME_LOST],
        )
        watch.look_up(job.run, inquiry, age=age(job, self._now()))

    def _wake(self, key: Key, *, first: bool = False) -> None:
        """It is this TrainingJob's turn."""
        if key in self._store:
            self._queue(key).add(key, first=first)

    # What stands in the way

    def _may_have_run(self, job: TrainingJob) -> bool:
        """Whether the site may have a job that the status does not tell of: then the live listing is read, too."""
        older = (epoch(job.created or None) or 0) < self._began
        return job.held_finalizer or job.run_id is not None or older

    def _seen(self, job: TrainingJob, service: Service | None, memory: Memory) -> Seen:
        if service is None or service.watch is None or service.refused is not None:
            return Seen()
        return service.watch.seen(job.run, fresh=unsent(job, memory, self._clock()))

    def _lives_on(self, now: Pass) -> bool:
        current, watch, time = now.current, now.service.watch if now.service is not None else None, self._clock()
        if watch is None or current is None or current.job is None:
            return False
        record = next((each for each in now.job.status.attempts if each.number == current.number), None)
        return now.memory.lives_on(now.action, record, current.job.job_id, time - watch.silent_seconds, time)

    def _busy(self) -> bool:
        """Whether TrainingJobs wait for a pass."""
        return any(service.queue.depth for service in self.sites.services())

    # Objects

    def _keep(self, key: Key, body: Mapping[str, Any]) -> None:
        if body["metadata"]["uid"] != self._store.uid(key):
            self._forget(key, self._store.uid(key))  # its deletion was missed
        job = self._store.keep(key, body)
        self._holds.kept(job)
        self._witness.kept(job)

    def _forget(self, key: Key, uid: str) -> None:
        """This object is no more."""
        job = self._store.forget(key, uid)
        if job is None:
            return
        self._holds.forget(job, _limit(self.sites.get(job.site)))
        self._memory.pop(job.uid, None)
        self._doubted.discard(key)
        self._transfers.forget(job, self.sites.get(job.site))
        self._witness.forgotten(key)
        service = self.sites.get(job.site)
        if service is not None:
            _note_stranger(service, key, strange=False)
            service.queue.drop(key)
            if service.watch is not None:
                service.watch.forget(job.run)

    def _queue(self, key: Key) -> WorkQueue[Key]:
        service = self.sites.get(self._store.site(key))
        return service.queue if service is not None else self.homeless


def _note_stranger(service: Service, key: Key, *, strange: bool) -> None:
    """Keep the Site's list of TrainingJobs that it leads away from, and have its status written when that changes."""
    if strange == (key in service.strangers):
        return
    if strange:
        service.strangers.add(key)
    else:
        service.strangers.discard(key)
    service.to_write.set()


def _limit(service: Service | None) -> int | None:
    return service.site.spec.max_jobs if service is not None and service.site.spec is not None else None


def _is_planned(job: TrainingJob) -> bool:
    return any(each.type == "Accepted" and each.status == "True" for each in job.status.conditions)

"""What a look asks for by name: runs of which nothing is known yet, markers under which there may be a second job, and
now and then all jobs of ours. What is found is the looks' to take in.

Nothing is absent while accounting can't be asked; and where a job may exist that it does not tell, the full live
listing says the last word.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial

from passerelle import hush
from passerelle.copies import Copies
from passerelle.errors import PasserelleError
from passerelle.gateways.base import Accounting, Gateway
from passerelle.gateways.courtesy import Courtesy
from passerelle.gateways.purpose import Purpose
from passerelle.listings import Listings
from passerelle.looks import Looks
from passerelle.marker import Run, parse
from passerelle.names import NAMES_AT_ONCE
from passerelle.picture import Picture
from passerelle.recall import LEAST, MOST, recall
from passerelle.slurm import RemoteJob, Stage
from passerelle.strays import Stray, Strays
from passerelle.views import Asked, Inquiry, View

log = logging.getLogger("passerelle.lookups")

LOOK_UPS_PER_LOOK = 1_000
"""Runs that a look asks for by their markers, some forty calls: of a burst of more, the rest waits for the next look,
and the listing does not.
"""


class LookUps:
    """At one site, which the log calls by `name`, whatever its door is by now. Each tells the runs whose picture
    changed. `now` is monotonic, in seconds.
    """

    def __init__(
        self,
        name: str,
        door: Callable[[], Gateway],
        picture: Picture,
        looks: Looks,
        *,
        courtesy: Courtesy,
        on_change: Callable[[Run], None],
        now: Callable[[], float],
    ) -> None:
        self._name = name
        self._door = door
        self._picture = picture
        self._looks = looks
        self._accountant = looks.accountant
        self.copies = Copies(now)
        self.strays = Strays(now)
        self.listings = Listings(now, lambda: courtesy.host)
        self._courtesy = courtesy
        self._on_change = on_change
        self._now = now
        self._period = 0.0
        self.behind = False
        """Whether jobs that statuses remember wait for a look that has time to read them."""

    async def followed(self) -> None:
        """Of submits that were answered some time ago: is there another job under the marker? Without accounting a
        listing of all shows it. What got no answer is asked again with the next light listing.
        """
        for _ in range(LOOK_UPS_PER_LOOK // NAMES_AT_ONCE):
            markers = self.copies.take(NAMES_AT_ONCE)
            if not markers or not isinstance(self._door(), Accounting):
                return
            found: set[Run] | None = None
            try:
                found = await self._others(markers) if self._accountant.patience <= 0 else None
            finally:
                if found is None:
                    self.copies.put_back(markers)
            if found is None:
                return
            for run in found:
                self._on_change(run)

    async def _others(self, markers: Sequence[str]) -> set[Run] | None:
        """Take in the jobs of these names that nobody knows, the live ones as the scheduler has them, although their
        run may have ended by now; what changed. None where accounting is silent.
        """
        rows = await self._accountant.by_names(markers)
        if rows is None:
            return None
        news = [row for row in rows if not self._picture.knows(row)]
        alive = {row.key for row in news if row.stage is not Stage.ENDED}
        live = await self._door().get([job_id for job_id, _ in alive]) if alive else []
        changed = await self._looks.take_in([row for row in news if row.stage is Stage.ENDED])
        return changed | await self._looks.take_up([job for job in live if job.key in alive])

    @property
    def silent(self) -> dict[str, PasserelleError]:
        """Why one side of the site can't be asked while the rest answers, by the condition that says so."""
        sides = {"AccountingAvailable": self._accountant.trouble, "ListingAvailable": self.listings.trouble}
        return {kind: trouble for kind, trouble in sides.items() if trouble is not None}

    def due(self) -> float:
        """Seconds until a look-up can learn something new."""
        return self._picture.due(self._now(), self._settle_seconds, self._held)

    @property
    def _settle_seconds(self) -> float:
        return self._door().settle_seconds

    def _since(self, began: float) -> Asked:
        """A look-up that is answered now."""
        return Asked(began, self._now())

    def _held(self, view: View) -> float:
        """Seconds for which a run is not looked up: while accounting is silent, but for the last word that a listing
        says alone; and until the next listing, where it needs one.
        """
        silent = 0.0 if view.hushing and view.complete and not view.questions else self._accountant.patience
        return max(silent, self.listings.wait if self._needs_all(view) else 0.0)

    def _needs_all(self, view: View) -> bool:
        """Whether nothing less than a full listing tells what is asked of a run."""
        if view.searching or (view.hushing and view.word.to_listing):
            return True
        door = self._door()
        by_name = door.traits.by_name and isinstance(door, Accounting) and self._accountant.patience <= 0
        return not by_name and (view.hushing or bool(view.questions))

    async def asked(self, period: float) -> set[Run]:
        """Runs that are looked up: what their statuses remember, then, some of them at a time, all others by marker."""
        self._period = period
        most = max(min(int(self._courtesy.budget.room(Purpose.LOOK)), MOST), LEAST)
        accounted = partial(self._accountant.by_ids, runs=self._picture.asked)
        began = self._now()
        records = self._looks.records
        records.begin(period)
        found, self.behind = await recall(self._door(), self._picture, accounted, records.some, most)
        recalled = await self._looks.take_in(found)
        for run in recalled:
            self._picture.views[run].recalled = True
        recalled |= self._picture.settle(recalled, self._since(began), self._settle_seconds, accounted=False)
        later = self._picture.remembered(len(self._picture.asked))  # by their ids, as soon as the hour's calls allow
        turn = self._picture.turn(LOOK_UPS_PER_LOOK, lambda view: self._held(view) <= 0)
        return recalled | await self._looked_up(turn - later.keys())

    async def _looked_up(self, asked: set[Run]) -> set[Run]:
        """Accounting first (it filters by name), the full live listing where a job may exist that it does not tell.
        What was answered of them counts, whatever was not; while accounting is silent they are looked up once a period
        or less often, and a full listing is made only for those that may have a job.
        """
        if not asked:
            return set()
        began = self._now()
        rows, answered = await self._accountant.look_up(asked)
        views = {run: view for run in asked if (view := self._picture.views.get(run)) is not None}
        silent = asked - answered
        for view in (views[run] for run in silent if run in views):
            view.word.to_listing = True  # accounting can't say it now
        wanting = {run for run, view in views.items() if self._needs_all(view) or (run in silent and view.highest)}
        # The live side is read after accounting: a job that appears in between is then seen in one of them.
        due = bool(wanting) and self.listings.wait <= 0
        live = await self._list(asked, more=len(asked) >= LOOK_UPS_PER_LOOK) if due else None
        deep = live is not None
        if not deep:  # who wants one has no answer yet
            answered, silent = answered - wanting, silent - wanting
        active = [row.job_id for row in rows if row.stage is not Stage.ENDED]
        if live is None and active:
            live, unread = await self._looks.records.some(active)
            later = {named[0] for row in rows if row.job_id in unread and (named := parse(row.name)) is not None}
            rows = [row for row in rows if (named := parse(row.name)) is None or named[0] not in later]
            answered = answered - later  # they are looked up again, by a look that has time
        told, unsure = rows, list[RemoteJob]()
        if live is not None:
            listed = {job.name for job in live}
            unsure = [row for row in rows if row.stage is not Stage.ENDED and row.name not in listed]
            told = [row for row in rows if row.stage is Stage.ENDED]  # active rows are the live side's to tell
            told += live
        changed = await self._looks.take_in(told)
        changed |= {run for row in unsure if (run := self._picture.doubt(row)) is not None}
        span, settle_seconds = self._since(began), self._settle_seconds
        if deep:
            changed |= hush.by_listing(self._picture, asked, span, settle_seconds)
        changed |= hush.by_name(self._picture, answered - wanting, rows, span, settle_seconds)
        changed |= self._picture.settle(answered, span, settle_seconds, accounted=True)
        return changed | self._picture.settle(silent, span, settle_seconds, accounted=False)

    async def _list(self, ended_of: Collection[Run], *, more: bool = False) -> Sequence[RemoteJob] | None:
        """The full live listing, which is the next one's measure; it asks how jobs of these runs have ended. None where
        it fails: that is evidence of nothing, and who answers was proven before, so that all else goes on.
        """
        try:
            with self.listings.one(self._period, more_wait=more):
                live = await self._door().find(ended_of)
        except PasserelleError as error:
            log.warning("jobs not listed", extra={"site": self._name, "reason": error.reason, "error": str(error)})
            return None
        self.strays.listed(live, self._picture)
        return live

    def ask_for_forgotten(self, is_here: Callable[[Stray], bool]) -> None:
        """Live jobs of a TrainingJob that asks for none: its status may be an older backup's, from before them."""
        for each in self.strays.forgotten(is_here):
            self._picture.ask(each.run, Inquiry(highest=each.attempt, thorough=True))

    async def surveyed(self) -> set[Run]:
        """All jobs of ours, once an hour, so that those are known that nobody asks for: strays, and a second job under
        a marker. An hour later it comes though the calls run short. Nothing waits for it. What changed.
        """
        if not self.strays.due or (self._courtesy.budget.room(Purpose.LOOK) <= 0 and not self.strays.overdue):
            return set()
        if self.listings.wait > 0:
            return set()  # it comes with a later look
        self.strays.put_off()
        live = await self._list(self._picture.views.keys()) or ()
        return await self._looks.take_in([job for job in live if not self._picture.knows(job)])

"""Why nothing of a TrainingJob may be submitted now, although it is wanted. A hold never ends what runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from math import inf

from passerelle.actions import Action, Intend, LookUp, Rest, Submit
from passerelle.attempts import SUSPENDED, is_final
from passerelle.decide import CONTINUED, RETRIED
from passerelle.facts import Word
from passerelle.limits import Limits
from passerelle.line import Door, Line
from passerelle.objects import Key, TrainingJob
from passerelle.passes import Memory
from passerelle.sites import Service
from passerelle.slurm import ENDING_BY_REASON
from passerelle.v1alpha1.trainingjob_status import Attempt

MAX_JOBS = "MaxJobs"
TOO_MANY_JOBS = "TooManyJobs"
"""The site's own word: it takes nobody's jobs now."""
POLICY_LIMIT = "PolicyLimit"
"""Likewise, by a limit of the account or the QoS: jobs of others it may take."""
TURNS = frozenset({MAX_JOBS, TOO_MANY_JOBS, POLICY_LIMIT})
"""Holds of those that wait for their turn."""
SITE_SUSPENDED = "SiteSuspended"
BACK_OFF = "BackOff"
SPARED = "SiteSpared"
"""The site is owed courtesy now: it asked for patience, gives no answer to submits, or the hour's calls are used up."""

BRIEF_REFUSALS = 5
"""So often a limit of the moment may refuse an attempt before its place is another's, which is in a quarter of an hour:
else a crowd would try it, one after the other.
"""

LOOK_UP_SECONDS = 300.0
"""So long nobody passes one that waits for `maxJobs` while it is looked up: accounting may be away for hours."""

OVERDUE_SECONDS = 120.0
"""So long after the end of its back-off one that was refused is waited for: whatever keeps it from trying again then
holds up nobody.
"""

FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 10.0, 600.0
"""Between an attempt that failed through nobody's doing and the next one: twice as long each time. A fault of the site
that ends every attempt at once must not use them all up in a minute."""


class Holds:
    """Counts, per Site, the TrainingJobs with an attempt that is open or about to be: many passes run side by side, so
    one counts from its decision on, not from its job's first record. An attempt of which the site evidently has nothing
    gives its place back while something holds it, and waits for its turn again. Who waits for `maxJobs` goes in order
    of creation; `wake` is told whose turn it is.
    """

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._occupied: dict[str, set[str]] = {}  # Site -> uids
        self._lines: dict[str, Line] = {}  # Site -> who waits for its maxJobs
        self._doors: dict[str, Door] = {}  # Site -> who waits until it takes jobs
        self.limits = Limits(wake)  # who waits until its account has room
        self._left: set[str] = set()  # uids whose attempt is open and occupies no place

    def kept(self, job: TrainingJob) -> None:
        """This is how kube-apiserver has the TrainingJob."""
        if not _unsent(job):
            self._left.discard(job.uid)
        if _open(job) and job.uid not in self._left:
            self._occupied.setdefault(job.site, set()).add(job.uid)

    def decided(
        self, job: TrainingJob, memory: Memory, action: Action, hold: Word | None, limit: int | None, now: float
    ) -> None:
        """This is what its pass will do. Whoever leaves its place, or can't take it, makes room for the next."""
        line, door = self._line(job.site), self._door(job.site)
        occupied = self._occupied.setdefault(job.site, set())
        held = hold.reason if hold is not None and action.reason == "Held" else ""
        stays = _waits_with_all(job, action, held)
        waited = held != MAX_JOBS and not stays and line.leave(job)
        if stays:
            line.keep(job, now + LOOK_UP_SECONDS if isinstance(action, LookUp) else inf)
        if isinstance(action, Intend | Submit):
            door.line.leave(job)
            self.limits.sent(job)
            self._left.discard(job.uid)
            occupied.add(job.uid)
            return
        let_in = door.leave(job) if held != TOO_MANY_JOBS and not stays else []
        waits = self._limited(job, held)
        if _unsent(job) and _has_nothing(job, memory, action) and (not held or waits or _lasts(memory, hold)):
            self._left.add(job.uid)
        if held == MAX_JOBS:
            line.join(job)
        if held == TOO_MANY_JOBS and door.shut(job.uid):  # one that was refused itself waits for its back-off
            door.line.join(job)
        left = job.uid in occupied and (job.uid in self._left or not _open(job))
        if left:
            occupied.discard(job.uid)
            let_in = let_in or door.taken(job)
            if not held:
                self.limits.taken(job)
        self._wake_all(let_in)
        if left or waited:
            self._call(job.site, limit)

    def _limited(self, job: TrainingJob, held: str) -> bool:
        """Whether it waits for others of its account, which it then holds up in nothing."""
        if held == POLICY_LIMIT:
            return self.limits.waits(job)
        if held not in (SPARED, SITE_SUSPENDED):
            self.limits.left(job)
        return False

    def tried(self, job: TrainingJob, memory: Memory, limit: int | None, *, refused: bool) -> None:
        """Its submit, or a delivery before it, was refused just now, or not. Nobody waits behind one that was, until it
        is sent again.
        """
        door, until = self._door(job.site), memory.refused_until + OVERDUE_SECONDS
        if memory.refused is not None and memory.refused.reason == TOO_MANY_JOBS:
            door.refused(job, until)
            return
        if refused or memory.refused is None:
            self._wake_all(door.taken(job))
            if memory.refused is not None and memory.refused.reason == POLICY_LIMIT:
                self.limits.refused(job, until)
            else:
                self.limits.taken(job)
        if refused and _lasts(memory, None):
            self._left.add(job.uid)
            self._occupied.setdefault(job.site, set()).discard(job.uid)
            self._call(job.site, limit)

    def ended(self, job: TrainingJob, limit: int | None) -> None:
        """Its attempts have, and another one is wanted, which keeps its turn."""
        self._left.discard(job.uid)
        occupied = self._occupied.get(job.site, set())
        if job.uid in occupied:
            occupied.discard(job.uid)
            self._wake_all(self._door(job.site).taken(job))
            self.limits.ended(job)
            self._call(job.site, limit)

    def forget(self, job: TrainingJob, limit: int | None) -> None:
        """Nothing more of it will be submitted, or it is no more."""
        self._left.discard(job.uid)
        waited = self._line(job.site).leave(job)
        self._door(job.site).line.leave(job)
        self._wake_all(self._door(job.site).taken(job))
        self.limits.forget(job)
        occupied = self._occupied.get(job.site, set())
        if job.uid in occupied or waited:
            occupied.discard(job.uid)
            self._call(job.site, limit)

    def reason(
        self, job: TrainingJob, service: Service | None, memory: Memory, action: Action, now: float
    ) -> Word | None:
        """What holds the TrainingJob back, as the condition Submitted says it; `now` is the monotonic clock's. Nobody
        is held by others any longer that should have tried again by now.
        """
        if service is None or service.site.spec is None or service.watch is None:
            return None
        self._wake_all(self._door(service.site.name).lapse(now))
        self.limits.lapse(job, now)
        name, limit = service.site.name, service.site.spec.max_jobs
        if service.site.spec.suspend:
            return Word("False", SITE_SUSPENDED, f"Site {name} is suspended: nothing new is submitted there.")
        asked_again = job.retry_requested_at is not None or memory.refused_under != service.site.generation
        if memory.refused is not None and now < memory.refused_until and not asked_again:
            return Word("False", memory.refused.reason, memory.refused.message)
        spared = service.courtesy.submits_wait(_sent(job, action))
        if spared is not None:
            return Word("False", SPARED, f"Nothing is submitted to Site {name} for a while. {spared.message}")
        if isinstance(action, Intend) and action.reason != CONTINUED and back_off(job, memory, now) > 0:
            before = job.status.attempts[-1].number
            return Word(
                "False", BACK_OFF, f"Attempt {before} failed through nobody's doing; the next one follows soon."
            )
        enters = isinstance(action, Intend) or job.uid in self._left
        if enters and self._door(name).shut(job.uid):
            text = f"Site {name} refuses jobs, since it has too many; this one follows when it takes some again."
            return Word("False", TOO_MANY_JOBS, text)
        sends = isinstance(action, Intend | Submit) and job.retry_requested_at is None
        if sends and self.limits.shut(job):
            text = f"Site {name} refuses jobs by a limit of their account or QoS; this one follows when it takes some."
            return Word("False", POLICY_LIMIT, text)
        if self._line(name).lapse(now):
            self._call(name, limit)
        if limit is not None and enters and not self._turn(job, name, limit):
            return Word("False", MAX_JOBS, f"Site {name} has its maxJobs ({limit}) of live jobs.")
        return None

    def _turn(self, job: TrainingJob, site: str, limit: int) -> bool:
        occupied = self._occupied.get(site, set())
        free = limit - len(occupied) + (job.uid in occupied)
        return self._line(site).before(job) < free

    def _call(self, site: str, limit: int | None) -> None:
        line = self._line(site)
        free = len(line) if limit is None else limit - len(self._occupied.get(site, set()))
        self._wake_all([key for _, key in line.first(free)])

    def _wake_all(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._wake(key)

    def _line(self, site: str) -> Line:
        return self._lines.setdefault(site, Line())

    def _door(self, site: str) -> Door:
        return self._doors.setdefault(site, Door())


def back_off(job: TrainingJob, memory: Memory, now: float) -> float:
    """Seconds until the next attempt may be made; 0 for the first one, and for one that a person asked for."""
    attempts = job.status.attempts
    if not attempts or attempts[-1].reason == SUSPENDED or attempts[-1].suspended or job.retry_requested_at is not None:
        return 0.0
    if memory.ended_at is None:
        memory.ended_at = now
    wait = min(FIRST_BACKOFF_SECONDS * 2.0 ** _failed_before(attempts[:-1]), LONGEST_BACKOFF_SECONDS)
    return max(memory.ended_at + wait - now, 0.0)


def _failed_before(attempts: Sequence[Attempt]) -> int:
    """How many of the attempts failed through nobody's doing one after the other, up to the last of these."""
    endings = (ENDING_BY_REASON.get(each.reason) for each in reversed(attempts))
    return sum(1 for _ in takewhile(lambda ending: ending is not None and ending.blame in RETRIED, endings))


def _sent(job: TrainingJob, action: Action) -> str | None:
    """The marker of the attempt that this action has submitted, or is about to; None where it sends nothing."""
    return job.run.marker(action.attempt) if isinstance(action, Intend | Submit) else None


_HELD = frozenset({"Held", "NotPlannable"})
"""Reasons of a Rest that, of an open attempt without a job, prove that the site has none."""


def _has_nothing(job: TrainingJob, memory: Memory, action: Action) -> bool:
    """Whether the site evidently has nothing of an open attempt without a job, which is not about to be sent."""
    if not isinstance(action, Rest):
        return False
    elsewhere = action.reason == "IdentityChanged" and memory.fresh == job.status.attempts[-1].number
    return elsewhere or action.reason in _HELD


def _waits_with_all(job: TrainingJob, action: Action, held: str) -> bool:
    """Whether it wants what it wanted, and nobody can pass it: by what holds all of the Site, or until it is asked."""
    unknown = isinstance(action, LookUp) or (isinstance(action, Rest) and action.reason == "SiteSilent")
    return not job.deleting and (unknown or held in (SPARED, SITE_SUSPENDED))


def _lasts(memory: Memory, hold: Word | None) -> bool:
    """Whether an attempt is held for longer than a moment, and by what need not hold others of its Site."""
    if hold is not None and hold.reason in (SITE_SUSPENDED, SPARED, TOO_MANY_JOBS):
        return False
    refused = memory.refused
    return refused is None or not refused.transient or memory.refusals >= BRIEF_REFUSALS


def _unsent(job: TrainingJob) -> bool:
    return _open(job) and job.status.attempts[-1].job_id is None


def _open(job: TrainingJob) -> bool:
    attempts = job.status.attempts
    return bool(attempts) and not is_final(attempts[-1])

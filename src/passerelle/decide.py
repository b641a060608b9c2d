"""Wanted x seen -> Action. Pure: one table, read from the top, the first row that fits decides.

The laws behind the rows:

- The intent (attempt, cluster, user) stands in the TrainingJob before the POST; an intent whose answer never came ends
  in adoption, or in a second submit of the *same* attempt once its absence is believed.
- Whatever may have a job holds our finalizer, however it came to it: what is adopted is not deleted without its job.
- Attempt n + 1 is issued only after n was seen terminal, and exceeds every attempt ever seen.
- An answer from another cluster or user is no evidence.
- A job once seen and then gone everywhere is lost, not absent: nothing is retried by itself.
- A run with checkpoints goes on after its time limit while each attempt comes further than all before it.
"""

from __future__ import annotations

from dataclasses import replace

from passerelle.actions import Action, Adopt, Cancel, Intend, LookUp, Release, Rest, Submit
from passerelle.current import OUTCOME_LOST, Current, Recorded, Seen, Wanted, current_attempt, lives, turned_away
from passerelle.marker import ATTEMPT_LIMIT
from passerelle.progress import parse_comment
from passerelle.reach import advanced
from passerelle.slurm import ENDING_BY_REASON, STOPPED, Blame, RemoteJob, Stage

RETRIED = frozenset({Blame.INFRASTRUCTURE, Blame.PREEMPTION})
"""Ends that are nobody's doing: the same attempt made again may succeed."""

CONTINUED = "Continued"
"""Reason of the intent that follows a time limit."""
ABANDONED = "Abandoned"
"""Reason of a release that knows nothing of the run's jobs: they may still wait or run."""
DUPLICATE = "Duplicate"
"""Reason of a cancel of a job that waits beside the attempt's own."""
NO_WORD = frozenset({"SiteSilent", "IdentityChanged"})
"""Reasons of the rests in which nobody who may speak of the run's jobs answers."""
NO_PROGRESS = "NoProgress"
"""Reason of the rest that ends a chain of attempts which come no further."""


def decide(wanted: Wanted, seen: Seen) -> Action:
    """The one next step of a TrainingJob."""
    if wanted.deleting:
        return _decide_deletion(wanted, seen)
    if not wanted.held_finalizer and (seen.jobs or any(not record.final for record in wanted.recorded)):
        return Adopt("JobsFound")
    if _closed(wanted, seen) and not _found_again(wanted, seen):
        # What ended is written down: while nothing more is wanted, the site isn't asked.
        after = _decide_after_end(wanted, wanted.recorded[-1].number, wanted.recorded[-1])
        if isinstance(after, Rest):
            return after
    strange = _strange(wanted, seen)
    if strange is not None:
        return strange
    if not seen.complete:
        return _first_look(wanted, seen)
    return _decide_by_jobs(wanted, seen)


def _first_look(wanted: Wanted, seen: Seen) -> LookUp:
    """The newest attempt's absence is in question from the start where the status tells of no job of it: where only a
    listing of all jobs tells, that is minutes sooner than to ask once its first answer is there.
    """
    newest = wanted.recorded[-1] if wanted.recorded else None
    if newest is None or newest.final or newest.job_id is not None or newest.number in seen.fresh:
        return LookUp("NotYetLooked")
    return LookUp("NotYetLooked", newest.number)


def _decide_by_jobs(wanted: Wanted, seen: Seen) -> Action:
    """What every attempt's jobs ask for, all of which are known."""
    current = current_attempt(wanted, seen)
    unrecorded = _unrecorded(seen, current)
    if unrecorded is not None:
        return unrecorded
    if current is not None:
        surplus = _surplus(current)
        if surplus is not None:
            return Cancel(DUPLICATE, surplus)
    if current is None:
        return _begin(wanted, 1)
    if current.job is None:
        action = _decide_without_job(wanted, seen, current)
    else:
        action = _decide_with_job(wanted, seen, current, current.job)
    left_open = _left_open(wanted, seen, current)
    return LookUp("EndUnknown", left_open) if left_open is not None and isinstance(action, Rest) else action


def _left_open(wanted: Wanted, seen: Seen, current: Current) -> int | None:
    """An attempt that a later one has followed, so it has ended, and of which nobody knows how: the status is an older
    backup's, and the site shows no job of it. Where its absence is believed, that is its end.
    """
    for record in wanted.recorded:
        earlier = record.number < current.number and not record.final and record.number not in seen.absent
        if earlier and not any(each == record.number and not turned_away(job, record) for each, job in seen.jobs):
            return record.number
    return None


def _decide_deletion(wanted: Wanted, seen: Seen) -> Action:
    if not wanted.held_finalizer:
        return Rest("NothingHeld")
    if wanted.abandon:
        return Release(ABANDONED)
    if _closed(wanted, seen) and not _is_lost(wanted) and not _owed(wanted):
        return Release("Ended")  # of a lost one nobody knows whether it runs: the site is asked once more
    strange = _strange(wanted, seen)
    if strange is not None:
        return strange
    if not seen.complete:
        return _first_look(wanted, seen)
    return _end_and_release(wanted, seen)


def _end_and_release(wanted: Wanted, seen: Seen) -> Action:
    """Cancel whatever lives, of every attempt; release when nothing can come to light any more."""
    for _, job in seen.jobs:
        if job.stage in (Stage.QUEUED, Stage.RUNNING):
            return Cancel("Deleted", job)
    if any(job.stage is Stage.ENDING for _, job in seen.jobs):
        return Rest("Ending")
    current = current_attempt(wanted, seen)
    unrecorded = _unrecorded(seen, current)
    if unrecorded is not None:
        return unrecorded
    found = current is None or current.job is not None or current.recorded is None or bool(current.recorded.final)
    had_a_job = False
    if current is not None and current.recorded is not None and not found:
        had_a_job = current.recorded.job_id is not None or current.number in seen.lost
        gone = current.number in seen.absent or (current.number in seen.fresh and not had_a_job)
        if not gone:
            return LookUp("AnswerMissing", current.number)
    if not seen.quiet:
        return LookUp("OthersMayLive", last=True)
    if found:
        return Release("Ended")
    return Release(OUTCOME_LOST if had_a_job else "NeverSubmitted")


def _closed(wanted: Wanted, seen: Seen) -> bool:
    """Whether every attempt has its end on record, and the site shows no other life of one. Attempts are recorded in
    rising order.
    """
    if lives(wanted.recorded, seen):
        return False  # it was requeued, or the site has two
    later = {*(number for number, _ in seen.jobs), *seen.doubtful}
    if not wanted.recorded or any(number > wanted.recorded[-1].number for number in later):
        return False  # the status is an older backup's
    return all(record.final for record in wanted.recorded)


def _owed(wanted: Wanted) -> bool:
    """Whether another attempt is to follow the newest one, if nothing holds it: then an older backup may lack it."""
    last = wanted.recorded[-1]
    return not isinstance(_decide_after_end(replace(wanted, suspend=False), last.number, last), Rest)


def _is_lost(wanted: Wanted) -> bool:
    """Whether the newest attempt's end on record is that nobody knows it."""
    return bool(wanted.recorded) and wanted.recorded[-1].final == OUTCOME_LOST


def _found_again(wanted: Wanted, seen: Seen) -> bool:
    """Whether the site shows the job of an attempt that was believed lost: then that counts, and no record."""
    current = current_attempt(wanted, seen) if _is_lost(wanted) else None
    return current is not None and current.job is not None


def _strange(wanted: Wanted, seen: Seen) -> Action | None:
    """Whether the site that answers is not the one that an open attempt was meant for, or the newest one, whose outcome
    is lost: another site's silence tells nothing of that.
    """
    if seen.identity is None:
        return Rest("SiteSilent")
    unsure = [record for record in wanted.recorded if not record.final]
    if _is_lost(wanted) and not wanted.abandon:
        unsure.append(wanted.recorded[-1])
    if any(record.identity != seen.identity for record in unsure):
        return Rest("IdentityChanged")
    return None


def _unrecorded(seen: Seen, current: Current | None) -> Action | None:
    """Whether the answer to a later attempt's submit is missing, whose intent the status has lost."""
    number = max(seen.doubtful, default=0)
    if number > (current.number if current is not None else 0):
        return LookUp("AnswerMissing", number)
    return None


def _surplus(current: Current) -> RemoteJob | None:
    """A job that waits beside the attempt's own, once that has ended or tells from behind the claim: the other one may
    begin in the moment in which it is cancelled, and whoever begins first is the attempt as long as both wait.
    """
    own = current.job
    if own is not None and own.ending is None and not (own.stage is Stage.RUNNING and parse_comment(own.comment).heard):
        return None
    return next((job for job in current.duplicates if job.never_began), None)


def _begin(wanted: Wanted, attempt: int, reason: str = "Wanted") -> Action:
    if wanted.suspend:
        return Rest("Suspended")
    if not wanted.plannable:
        return Rest("NotPlannable")
    if wanted.hold:
        return Rest("Held")
    if attempt > ATTEMPT_LIMIT:
        return Rest("Finished")  # no marker is left for another one
    return Intend(reason, attempt)


def _decide_without_job(wanted: Wanted, seen: Seen, current: Current) -> Action:
    record = current.recorded
    if record is None:
        # Its jobs were refused, or turned away by the fence, and the status has lost it. One more job either begins it
        # or is turned away, too; where another one is being looked for already, that is found first.
        if current.number in seen.lost:
            return Rest(OUTCOME_LOST)
        if current.number in seen.doubtful:
            return LookUp("AnswerMissing", current.number)
        return _begin(wanted, current.number)
    if record.final:
        return _decide_after_end(wanted, current.number, record)
    if record.job_id is not None or current.number in seen.lost:
        return Rest(OUTCOME_LOST) if current.number in seen.absent else LookUp("Vanished", current.number)
    if current.number not in seen.absent and current.number not in seen.fresh:
        return LookUp("AnswerMissing", current.number)
    if not wanted.plannable:
        return Rest("NotPlannable")
    if wanted.suspend or wanted.hold:
        return Rest("Held")
    return Submit("IntentStands", current.number)


def _decide_with_job(wanted: Wanted, seen: Seen, current: Current, job: RemoteJob) -> Action:
    if job.stage in (Stage.QUEUED, Stage.RUNNING):
        return Cancel("Suspended", job) if wanted.suspend else Rest("Active")
    if job.stage is Stage.ENDING:
        return Rest("Ending")
    on_record = current.recorded is not None and current.recorded.final
    alone = all(each.stage in (Stage.ENDING, Stage.ENDED) for _, each in seen.jobs)
    if job.may_have_begun_nothing and alone and not (on_record or seen.quiet):
        return LookUp("OthersMayLive", last=True)
    return _decide_after_end(wanted, current.number, current.recorded, job)


def _decide_after_end(wanted: Wanted, number: int, record: Recorded | None, job: RemoteJob | None = None) -> Action:
    ending = job.ending if job is not None else None
    if ending is None and record is not None:
        ending = ENDING_BY_REASON.get(record.final)
    if ending is not None and ending.succeeded:
        return Rest("Succeeded")
    asked = ending is None or ending.blame is Blame.CANCELLATION or ending is STOPPED
    if record is not None and ((record.suspended and asked) or (record.told_to_stop and ending is STOPPED)):
        return _begin(wanted, number + 1)
    if wanted.retry_requested:
        return _begin(wanted, number + 1)
    if ending is None:
        return Rest("Finished")
    left = number - wanted.uncounted < wanted.max_attempts
    if ending.blame in RETRIED and left:
        return _begin(wanted, number + 1)
    if ending.blame is Blame.TIME_LIMIT and wanted.chain:
        if not advanced(wanted.reached, number):
            return Rest(NO_PROGRESS)
        if left:
            return _begin(wanted, number + 1, CONTINUED)
    return Rest("Finished")

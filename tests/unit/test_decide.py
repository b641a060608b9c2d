"""The decision table, keyed by a sentence each."""

from dataclasses import replace

import pytest

from passerelle.actions import Action, Adopt, Cancel, Intend, LookUp, Release, Rest, Submit
from passerelle.current import OUTCOME_LOST, Recorded, Seen, Wanted, current_attempt
from passerelle.decide import DUPLICATE, decide
from passerelle.gateways.base import Identity
from passerelle.marker import Run
from passerelle.slurm import JobState, RemoteJob

HERE = Identity("lumi", "startup")
THERE = Identity("leonardo", "startup")
RUN = Run("psr-" + "a" * 26)


def job(state: str = "RUNNING", job_id: str = "10", attempt: int = 1, **facts: object) -> RemoteJob:
    base = RemoteJob(
        job_id=job_id,
        name=RUN.marker(attempt),
        user="startup",
        cluster="lumi",
        state=JobState.parse(state.split("+")),
        submit_time=100,
        start_time=None if state.startswith("PENDING") else 110,
        node_count=0 if state.startswith("PENDING") else 2,
    )
    return replace(base, **facts)  # type: ignore[arg-type]  # facts are RemoteJob's own fields


def seen(*jobs: RemoteJob, attempt: int = 1, **facts: object) -> Seen:
    base = Seen(jobs=tuple((attempt, one) for one in jobs), complete=True, quiet=True, identity=HERE)
    return replace(base, **facts)  # type: ignore[arg-type]  # facts are Seen's own fields


INTENT = Recorded(1, HERE)
SUBMITTED = Recorded(1, HERE, job_id="10", submit_time=100)
LOST = replace(SUBMITTED, final="OutcomeLost")
FAILED = replace(SUBMITTED, final="Failed")
NODE_FAILED = replace(SUBMITTED, final="NodeFailure")

HEARD = '{"v": 1, "t": 120}'

FIRECRESTS = replace(FAILED, submit_time=None)

TABLE: dict[str, tuple[Wanted, Seen, Action]] = {
    "a new job is looked up before anything is sent": (
        Wanted(),
        Seen(identity=HERE),
        LookUp("NotYetLooked"),
    ),
    "an unanswered submit is in question from the first look": (
        Wanted(recorded=(INTENT,)),
        Seen(identity=HERE),
        LookUp("NotYetLooked", 1),
    ),
    "a fresh intent is not in question": (
        Wanted(recorded=(INTENT,)),
        Seen(identity=HERE, fresh=frozenset({1})),
        LookUp("NotYetLooked"),
    ),
    "nor is a job that was submitted": (Wanted(recorded=(SUBMITTED,)), Seen(identity=HERE), LookUp("NotYetLooked")),
    "of several attempts the newest is in question": (
        Wanted(recorded=(NODE_FAILED, Recorded(2, HERE)), max_attempts=2),
        Seen(identity=HERE),
        LookUp("NotYetLooked", 2),
    ),
    "a site that does not answer gets nothing": (Wanted(), Seen(complete=True), Rest("SiteSilent")),
    "a new job that the site does not know is intended": (Wanted(), seen(), Intend("Wanted", 1)),
    "a suspended job is not intended": (Wanted(suspend=True), seen(), Rest("Suspended")),
    "a job that can't be planned is not intended": (Wanted(plannable=False), seen(), Rest("NotPlannable")),
    "a held job is not intended": (Wanted(hold=True), seen(), Rest("Held")),
    "a fresh intent is submitted": (
        Wanted(recorded=(INTENT,)),
        seen(fresh=frozenset({1})),
        Submit("IntentStands", 1),
    ),
    "a duplicate that waits for its first start is ended once the attempt's own job has the claim": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job(comment=HEARD), job("PENDING", "11")),
        Cancel(DUPLICATE, job("PENDING", "11")),
    ),
    "before, it may begin first": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job(), job("PENDING", "11")),
        Rest("Active"),
    ),
    "all the more where both wait": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("PENDING"), job("PENDING", "11")),
        Rest("Active"),
    ),
    "what a former life has told is no claim of one that waits again": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("PENDING", restart_count=1, comment=HEARD), job("PENDING", "11")),
        Rest("Active"),
    ),
    "a comment that is none of ours is no claim": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job(comment="mine"), job("PENDING", "11")),
        Rest("Active"),
    ),
    "a duplicate that still waits when the attempt has ended is ended": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("COMPLETED"), job("PENDING", "11")),
        Cancel(DUPLICATE, job("PENDING", "11")),
    ),
    "one that waits because it was requeued may have the claim, and is left alone": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job(), job("PENDING", "11", restart_count=1)),
        Rest("Active"),
    ),
    "the attempt's own job is left alone when it is requeued beside another one": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("PENDING", restart_count=1), job(job_id="11")),
        Rest("Active"),
    ),
    "a failed one that the site has requeued goes on, where submit times are not told": (
        Wanted(recorded=(FIRECRESTS,)),
        seen(job("PENDING", submit_time=0)),
        Rest("Active"),
    ),
    "and so it does while it runs": (
        Wanted(recorded=(FIRECRESTS,)),
        seen(job(submit_time=0)),
        Rest("Active"),
    ),
    "its end, which is on record, is told once": (
        Wanted(recorded=(FIRECRESTS,)),
        seen(job("FAILED", submit_time=0)),
        Rest("Finished"),
    ),
    "an intent whose answer is missing is looked up, not sent again": (
        Wanted(recorded=(INTENT,)),
        seen(),
        LookUp("AnswerMissing", 1),
    ),
    "an intent whose absence is believed is sent again as the same attempt": (
        Wanted(recorded=(INTENT,)),
        seen(absent=frozenset({1})),
        Submit("IntentStands", 1),
    ),
    "an unanswered submit whose intent the status has lost is looked up": (
        Wanted(),
        seen(doubtful=frozenset({1})),
        LookUp("AnswerMissing", 1),
    ),
    "an unanswered submit of the next attempt is looked up although the status knows none": (
        Wanted(recorded=(NODE_FAILED,), max_attempts=3),
        seen(job("NODE_FAIL"), doubtful=frozenset({2})),
        LookUp("AnswerMissing", 2),
    ),
    "an absent intent of a suspended job is not sent": (
        Wanted(suspend=True, recorded=(INTENT,)),
        seen(absent=frozenset({1})),
        Rest("Held"),
    ),
    "an intent whose job is found is adopted": (Wanted(recorded=(INTENT,)), seen(job("PENDING")), Rest("Active")),
    "an emptied status is rebuilt from a running job": (Wanted(), seen(job()), Rest("Active")),
    "an emptied status is rebuilt from a finished job": (Wanted(), seen(job("COMPLETED")), Rest("Succeeded")),
    "an emptied status with a failed job is no reason to submit": (Wanted(), seen(job("FAILED")), Rest("Finished")),
    "an older backup's attempt yields to the higher one that is seen": (
        Wanted(recorded=(NODE_FAILED,), max_attempts=9),
        seen(job(job_id="12", attempt=2), attempt=2),
        Rest("Active"),
    ),
    "an answer from another cluster is no evidence": (
        Wanted(recorded=(SUBMITTED,)),
        seen(identity=THERE),
        Rest("IdentityChanged"),
    ),
    "another cluster is fine once every attempt has ended": (
        Wanted(recorded=(FAILED,), retry_requested=True),
        seen(identity=THERE),
        Intend("Wanted", 2),
    ),
    "a job once seen and now gone is looked up": (
        Wanted(recorded=(SUBMITTED,)),
        seen(),
        LookUp("Vanished", 1),
    ),
    "a job once seen and gone everywhere is lost, not sent again": (
        Wanted(recorded=(SUBMITTED,), max_attempts=9),
        seen(absent=frozenset({1})),
        Rest("OutcomeLost"),
    ),
    "a node failure is tried again as the next attempt": (
        Wanted(recorded=(SUBMITTED,), max_attempts=2),
        seen(job("NODE_FAIL")),
        Intend("Wanted", 2),
    ),
    "an attempt that the site did not let begin is tried again": (
        Wanted(recorded=(SUBMITTED,), max_attempts=2),
        seen(job("FAILED", exit_code=212)),
        Intend("Wanted", 2),
    ),
    "a node failure of the last attempt is final": (
        Wanted(recorded=(SUBMITTED,), max_attempts=1),
        seen(job("NODE_FAIL")),
        Rest("Finished"),
    ),
    "a bad node is tried again": (
        Wanted(recorded=(SUBMITTED,), max_attempts=2),
        seen(job("FAILED", exit_code=214)),
        Intend("Wanted", 2),
    ),
    "a time limit ends a run without checkpoints": (
        Wanted(recorded=(SUBMITTED,), max_attempts=9, reached={1: 40}),
        seen(job("TIMEOUT")),
        Rest("Finished"),
    ),
    "a run with checkpoints goes on after its time limit": (
        Wanted(recorded=(SUBMITTED,), max_attempts=9, chain=True, reached={1: 40}),
        seen(job("TIMEOUT")),
        Intend("Continued", 2),
    ),
    "a trainer that asks to go on gets the next attempt": (
        Wanted(recorded=(SUBMITTED,), max_attempts=9, chain=True, reached={1: 40}),
        seen(job("FAILED", exit_code=215)),
        Intend("Continued", 2),
    ),
    "a trainer that asks to go on in a run without checkpoints has ended it": (
        Wanted(recorded=(SUBMITTED,), max_attempts=9),
        seen(job("FAILED", exit_code=215)),
        Rest("Finished"),
    ),
    "an attempt that came further than the one before is followed by another": (
        Wanted(recorded=(replace(SUBMITTED, number=2),), max_attempts=9, chain=True, reached={1: 40, 2: 41}),
        seen(job("TIMEOUT", attempt=2), attempt=2),
        Intend("Continued", 3),
    ),
    "an attempt that came no further than the one before ends the chain": (
        Wanted(recorded=(replace(SUBMITTED, number=2),), max_attempts=9, chain=True, reached={1: 40, 2: 40}),
        seen(job("TIMEOUT", attempt=2), attempt=2),
        Rest("NoProgress"),
    ),
    "asking to go on is no progress": (
        Wanted(recorded=(replace(SUBMITTED, number=2),), max_attempts=9, chain=True, reached={1: 40, 2: 40}),
        seen(job("FAILED", attempt=2, exit_code=215), attempt=2),
        Rest("NoProgress"),
    ),
    "a node failure in between hides no progress that was made before it": (
        Wanted(recorded=(replace(SUBMITTED, number=3),), max_attempts=9, chain=True, reached={1: 40, 3: 40}),
        seen(job("TIMEOUT", attempt=3), attempt=3),
        Rest("NoProgress"),
    ),
    "a first attempt that told no step gets the benefit of the doubt": (
        Wanted(recorded=(SUBMITTED,), max_attempts=9, chain=True),
        seen(job("TIMEOUT")),
        Intend("Continued", 2),
    ),
    "a second attempt that told no step doesn't": (
        Wanted(recorded=(replace(SUBMITTED, number=2),), max_attempts=9, chain=True),
        seen(job("TIMEOUT", attempt=2), attempt=2),
        Rest("NoProgress"),
    ),
    "a chain ends at its last attempt": (
        Wanted(recorded=(replace(SUBMITTED, number=2),), max_attempts=2, chain=True, reached={1: 40, 2: 80}),
        seen(job("TIMEOUT", attempt=2), attempt=2),
        Rest("Finished"),
    ),
    "a chain goes on once it may have another attempt": (
        Wanted(recorded=(replace(SUBMITTED, final="TimeLimit"),), max_attempts=2, chain=True, reached={1: 40}),
        seen(job("TIMEOUT")),
        Intend("Continued", 2),
    ),
    "a chain that stands still goes on when asked": (
        Wanted(
            recorded=(replace(SUBMITTED, number=2, final="TimeLimit"),),
            chain=True,
            reached={1: 40, 2: 40},
            retry_requested=True,
        ),
        seen(job("TIMEOUT", attempt=2), attempt=2),
        Intend("Wanted", 3),
    ),
    "a user's error ends a chain": (
        Wanted(recorded=(SUBMITTED,), max_attempts=9, chain=True, reached={1: 40}),
        seen(job("FAILED", exit_code=1)),
        Rest("Finished"),
    ),
    "a suspended attempt that saved and stopped gets its next one, not counted": (
        Wanted(recorded=(replace(SUBMITTED, suspended=True),), chain=True, reached={1: 40}),
        seen(job("FAILED", exit_code=215)),
        Intend("Wanted", 2),
    ),
    "a user's error is never tried again by itself": (
        Wanted(recorded=(SUBMITTED,), max_attempts=9),
        seen(job("FAILED")),
        Rest("Finished"),
    ),
    "a user's error is tried again when asked": (
        Wanted(recorded=(FAILED,), retry_requested=True),
        seen(job("FAILED")),
        Intend("Wanted", 2),
    ),
    "the next attempt waits for a look-up": (
        Wanted(recorded=(FAILED,), retry_requested=True),
        Seen(identity=HERE),
        LookUp("NotYetLooked"),
    ),
    "what has ended on record needs no site": (Wanted(recorded=(FAILED,)), Seen(), Rest("Finished")),
    "the next attempt waits until the last one has left the nodes": (
        Wanted(recorded=(SUBMITTED,), max_attempts=2),
        seen(job("NODE_FAIL+COMPLETING")),
        Rest("Ending"),
    ),
    "a requeued job is no end": (
        Wanted(recorded=(SUBMITTED,), max_attempts=2),
        seen(job("NODE_FAIL+REQUEUED")),
        Rest("Active"),
    ),
    "a running job is cancelled when it is suspended": (
        Wanted(suspend=True, recorded=(SUBMITTED,)),
        seen(job()),
        Cancel("Suspended", job()),
    ),
    "a suspended attempt rests": (
        Wanted(suspend=True, recorded=(replace(SUBMITTED, suspended=True, final="Suspended"),)),
        seen(job("CANCELLED")),
        Rest("Suspended"),
    ),
    "a resumed job gets its next attempt, not counted": (
        Wanted(recorded=(replace(SUBMITTED, suspended=True, final="Suspended"),), max_attempts=1),
        seen(job("CANCELLED")),
        Intend("Wanted", 2),
    ),
    "a job that succeeded before the cancel reached it has succeeded": (
        Wanted(recorded=(replace(SUBMITTED, suspended=True),)),
        seen(job("COMPLETED")),
        Rest("Succeeded"),
    ),
    "a waiting duplicate is cancelled": (
        Wanted(recorded=(INTENT,)),
        seen(job(comment=HEARD), job("PENDING", "11")),
        Cancel("Duplicate", job("PENDING", "11")),
    ),
    "a duplicate that we cancelled is no outcome, though it had begun": (
        Wanted(recorded=(INTENT,)),
        seen(job("CANCELLED", surplus=True)),
        LookUp("AnswerMissing", 1),
    ),
    "a duplicate that was cancelled as it waited is no outcome, whoever did that, where the site shows no other": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("CANCELLED", "11", start_time=None)),
        LookUp("Vanished", 1),
    ),
    "a duplicate that was cancelled as it waited is no outcome either where Slurm tells of a start of it": (
        Wanted(recorded=(SUBMITTED,)),
        seen(
            job("CANCELLED", "11", start_time=120, end_time=120, node_count=0),
            lost=frozenset({1}),
            absent=frozenset({1}),
        ),
        Rest("OutcomeLost"),
    ),
    "the attempt's own job that was cancelled as it waited is its outcome": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("CANCELLED", start_time=None)),
        Rest("Finished"),
    ),
    "another job of the attempt that was cancelled once it had begun is its outcome": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("CANCELLED", "11", start_time=120, end_time=130, node_count=0)),
        Rest("Finished"),
    ),
    "a job that was cancelled yields to one of its marker that waits": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("CANCELLED"), job("PENDING", "11")),
        Rest("Active"),
    ),
    "a duplicate that runs is left to the fence": (
        Wanted(recorded=(INTENT,)),
        seen(job(), job("RUNNING", "11", start_time=120)),
        Rest("Active"),
    ),
    "a job that the fence turned away is no outcome": (
        Wanted(recorded=(INTENT,)),
        seen(job("FAILED", exit_code=213)),
        LookUp("AnswerMissing", 1),
    ),
    "a job that the fence turned away yields to the one with the claim": (
        Wanted(recorded=(replace(SUBMITTED, job_id="11"),)),
        seen(job("RUNNING", "10"), job("FAILED", "11", exit_code=213)),
        Rest("Active"),
    ),
    "the trace of a refused submit is no attempt": (
        Wanted(recorded=(INTENT,)),
        seen(job("FAILED", state_reason="BadConstraints", start_time=None), absent=frozenset({1})),
        Submit("IntentStands", 1),
    ),
    "an emptied status beside the trace of a refused submit begins with this attempt": (
        Wanted(),
        seen(job("FAILED", state_reason="BadConstraints", start_time=None)),
        Intend("Wanted", 1),
    ),
    "an emptied status beside a job that the fence turned away begins with this attempt, and the fence tells": (
        Wanted(),
        seen(job("FAILED", exit_code=213)),
        Intend("Wanted", 1),
    ),
    "an emptied status beside a job that the fence turned away waits for the one that is looked for": (
        Wanted(),
        seen(job("FAILED", exit_code=213), doubtful=frozenset({1})),
        LookUp("AnswerMissing", 1),
    ),
    "an older backup's attempt is not the end where a later one left but the trace of a refused submit": (
        Wanted(recorded=(NODE_FAILED,), max_attempts=9),
        seen(job("FAILED", state_reason="BadConstraints", start_time=None), attempt=2),
        Intend("Wanted", 2),
    ),
    "an accepted job that fits no node any more has failed": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("FAILED", state_reason="BadConstraints", start_time=None)),
        Rest("Finished"),
    ),
    "a deleted job without our finalizer is gone already": (
        Wanted(deleting=True, held_finalizer=False),
        seen(job()),
        Rest("NothingHeld"),
    ),
    "an older backup's ended attempt is no end where a later one lives": (
        Wanted(recorded=(FAILED,)),
        seen(job(job_id="12", attempt=2), attempt=2),
        Rest("Active"),
    ),
    "an older backup's open attempt of which the site shows nothing is looked up, for it has an end": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job(job_id="12", attempt=2), attempt=2),
        LookUp("EndUnknown", 1),
    ),
    "where its absence is believed, that is its end": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job(job_id="12", attempt=2), attempt=2, absent=frozenset({1})),
        Rest("Active"),
    ),
    "what is suspended is cancelled before an older backup's open attempt is looked up": (
        Wanted(recorded=(SUBMITTED,), suspend=True),
        seen(job(job_id="12", attempt=2), attempt=2),
        Cancel("Suspended", job(job_id="12", attempt=2)),
    ),
    "nor is it at a deletion": (
        Wanted(deleting=True, recorded=(FAILED,)),
        seen(job(job_id="12", attempt=2), attempt=2),
        Cancel("Deleted", job(job_id="12", attempt=2)),
    ),
    "a live job that is found is adopted with our finalizer first": (
        Wanted(held_finalizer=False),
        seen(job()),
        Adopt("JobsFound"),
    ),
    "so is a job that has ended: what it left at the site is cleared at the deletion": (
        Wanted(held_finalizer=False),
        seen(job("COMPLETED")),
        Adopt("JobsFound"),
    ),
    "an open attempt of an older backup is held, whether its site answers or not": (
        Wanted(held_finalizer=False, recorded=(INTENT,)),
        Seen(),
        Adopt("JobsFound"),
    ),
    "what is suspended and has a job is held before the job is cancelled": (
        Wanted(held_finalizer=False, suspend=True),
        seen(job()),
        Adopt("JobsFound"),
    ),
    "a new job holds nothing until its intent": (Wanted(held_finalizer=False), seen(), Intend("Wanted", 1)),
    "what has ended on record needs no finalizer": (
        Wanted(held_finalizer=False, recorded=(FAILED,)),
        Seen(),
        Rest("Finished"),
    ),
    "another job under the marker is no life of an attempt that had the claim, and whose end is written down": (
        Wanted(recorded=(FAILED,), retry_requested=True),
        seen(job("RUNNING", "10", submit_time=900)),
        Intend("Wanted", 2),
    ),
    "nor does it open the end that is written down: the fence turns it away": (
        Wanted(recorded=(FAILED,)),
        seen(job("FAILED"), job("RUNNING", "11", start_time=300)),
        Rest("Finished"),
    ),
    "one that runs is the attempt again where the job on record may have ended before it took the claim": (
        Wanted(recorded=(NODE_FAILED,), max_attempts=2),
        seen(job("RUNNING", "10", submit_time=900)),
        Rest("Active"),
    ),
    "so it is where nobody wants another attempt": (
        Wanted(recorded=(NODE_FAILED,)),
        seen(job("NODE_FAIL"), job("RUNNING", "11", start_time=300)),
        Rest("Active"),
    ),
    "so it is where the first one was suspended before it began": (
        Wanted(recorded=(replace(SUBMITTED, suspended=True, final="Suspended"),), suspend=True),
        seen(job("CANCELLED", start_time=None), job("RUNNING", "11", start_time=300)),
        Cancel("Suspended", job("RUNNING", "11", start_time=300)),
    ),
    "a run that has ended lives again where the site has requeued its job": (
        Wanted(recorded=(FAILED,)),
        seen(job("RUNNING", "10", submit_time=900, restart_count=1)),
        Rest("Active"),
    ),
    "a job of a run that has ended, which waits, is cancelled though nobody wants another attempt": (
        Wanted(recorded=(NODE_FAILED,)),
        seen(job("NODE_FAIL"), job("PENDING", "11")),
        Cancel(DUPLICATE, job("PENDING", "11")),
    ),
    "so is one beside a job whose end is not yet written down": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("NODE_FAIL"), job("PENDING", "11"), quiet=False),
        Cancel(DUPLICATE, job("PENDING", "11")),
    ),
    "what accounting alone has as alive reopens no end": (
        Wanted(recorded=(NODE_FAILED,)),
        seen(job("RUNNING", "11", live=False)),
        Rest("Finished"),
    ),
    "another cluster's job of that marker reopens none either": (
        Wanted(recorded=(NODE_FAILED,)),
        seen(job("RUNNING", "11", cluster="leonardo"), identity=THERE),
        Rest("Finished"),
    ),
    "a deletion lets no run go that has ended, where the site has requeued its job": (
        Wanted(deleting=True, recorded=(FAILED,)),
        seen(job("RUNNING", "10", submit_time=900, restart_count=1)),
        Cancel("Deleted", job("RUNNING", "10", submit_time=900, restart_count=1)),
    ),
    "nor where a second job of it waits": (
        Wanted(deleting=True, recorded=(NODE_FAILED,)),
        seen(job("NODE_FAIL"), job("PENDING", "11")),
        Cancel("Deleted", job("PENDING", "11")),
    ),
    "nor where a second job of it runs": (
        Wanted(deleting=True, recorded=(FAILED,)),
        seen(job("FAILED"), job("RUNNING", "11", start_time=300)),
        Cancel("Deleted", job("RUNNING", "11", start_time=300)),
    ),
    "nor where the site that has it can't be asked any more": (
        Wanted(deleting=True, recorded=(NODE_FAILED,)),
        seen(job("RUNNING", "11"), identity=None),
        Rest("SiteSilent"),
    ),
    "an attempt whose end is written down lives again where the site has requeued its job": (
        Wanted(recorded=(NODE_FAILED,), max_attempts=2),
        seen(job("RUNNING", "10", submit_time=900, restart_count=1)),
        Rest("Active"),
    ),
    "one of them that waits is cancelled as before": (
        Wanted(recorded=(NODE_FAILED,), max_attempts=2),
        seen(job("PENDING", "10", submit_time=900, start_time=None)),
        Cancel(DUPLICATE, job("PENDING", "10", submit_time=900, start_time=None)),
    ),
    "a job that is found counts for an attempt that was believed lost, whatever its id": (
        Wanted(recorded=(replace(NODE_FAILED, final=OUTCOME_LOST),)),
        seen(job("RUNNING", "10", submit_time=900)),
        Rest("Active"),
    ),
    "an ended run is not let go while a later attempt's submit is unanswered, whose intent the status has lost": (
        Wanted(deleting=True, recorded=(FAILED,)),
        seen(doubtful=frozenset({2})),
        LookUp("AnswerMissing", 2),
    ),
    "a deleted job is cancelled": (
        Wanted(deleting=True, recorded=(SUBMITTED,)),
        seen(job()),
        Cancel("Deleted", job()),
    ),
    "a deleted job is released once its end is seen": (
        Wanted(deleting=True, recorded=(SUBMITTED,)),
        seen(job("CANCELLED")),
        Release("Ended"),
    ),
    "a deleted job is not released before a last look for others under its marker": (
        Wanted(deleting=True, recorded=(SUBMITTED,)),
        seen(job("CANCELLED"), quiet=False),
        LookUp("OthersMayLive", last=True),
    ),
    "a job that was cancelled is not the end before a last look for others under its marker": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("CANCELLED"), quiet=False),
        LookUp("OthersMayLive", last=True),
    ),
    "nor is one that may have ended before it took the claim": (
        Wanted(recorded=(SUBMITTED,), max_attempts=2),
        seen(job("NODE_FAIL"), quiet=False),
        LookUp("OthersMayLive", last=True),
    ),
    "nor is it while a second job, which may not have begun either, cleans up": (
        Wanted(recorded=(SUBMITTED,), max_attempts=2),
        seen(job("NODE_FAIL"), job("NODE_FAIL+COMPLETING", "11", start_time=120), quiet=False),
        LookUp("OthersMayLive", last=True),
    ),
    "an end that is on record is looked at no more": (
        Wanted(recorded=(replace(SUBMITTED, suspended=True, final="Suspended"),)),
        seen(job("CANCELLED"), quiet=False),
        Intend("Wanted", 2),
    ),
    "a job that had the claim has ended, whatever else there is": (
        Wanted(recorded=(SUBMITTED,)),
        seen(job("FAILED"), quiet=False),
        Rest("Finished"),
    ),
    "a deleted job waits until the site has cleaned up": (
        Wanted(deleting=True, recorded=(SUBMITTED,)),
        seen(job("CANCELLED+COMPLETING")),
        Rest("Ending"),
    ),
    "a deleted job waits for a site that can't be asked": (
        Wanted(deleting=True, recorded=(SUBMITTED,)),
        Seen(),
        Rest("SiteSilent"),
    ),
    "a deleted job that was seen and is believed gone was not never submitted": (
        Wanted(deleting=True, held_finalizer=True, recorded=(SUBMITTED,)),
        seen(absent=frozenset({1})),
        Release("OutcomeLost"),
    ),
    "a deleted job of which accounting alone told was not never submitted": (
        Wanted(deleting=True, held_finalizer=True, recorded=(INTENT,)),
        seen(absent=frozenset({1}), lost=frozenset({1})),
        Release("OutcomeLost"),
    ),
    "a deleted lost job is looked for once more": (
        Wanted(deleting=True, held_finalizer=True, recorded=(LOST,)),
        Seen(identity=HERE),
        LookUp("NotYetLooked"),
    ),
    "a deleted lost job waits for a site that can't be asked": (
        Wanted(deleting=True, held_finalizer=True, recorded=(LOST,)),
        Seen(),
        Rest("SiteSilent"),
    ),
    "a deleted lost job that is found again is cancelled": (
        Wanted(deleting=True, held_finalizer=True, recorded=(LOST,)),
        seen(job()),
        Cancel("Deleted", job()),
    ),
    "a deleted lost job that is not found is released": (
        Wanted(deleting=True, held_finalizer=True, recorded=(LOST,)),
        seen(absent=frozenset({1}), lost=frozenset({1})),
        Release("Ended"),
    ),
    "a deleted lost job is not let go for another cluster's silence": (
        Wanted(deleting=True, held_finalizer=True, recorded=(LOST,)),
        seen(identity=THERE),
        Rest("IdentityChanged"),
    ),
    "nor is it made again at another cluster": (
        Wanted(recorded=(LOST,), retry_requested=True),
        seen(identity=THERE),
        Rest("IdentityChanged"),
    ),
    "that it is, where a person gives up the first one": (
        Wanted(recorded=(LOST,), retry_requested=True, abandon=True),
        seen(identity=THERE),
        Intend("Wanted", 2),
    ),
    "an earlier lost attempt, after which another one was asked for, waits for nobody": (
        Wanted(recorded=(LOST, replace(FAILED, number=2, identity=THERE)), retry_requested=True),
        seen(identity=THERE),
        Intend("Wanted", 3),
    ),
    "a lost job needs no site": (Wanted(recorded=(LOST,), max_attempts=9), Seen(), Rest("Finished")),
    "a lost job that is found alive goes on": (
        Wanted(recorded=(LOST,), retry_requested=True),
        seen(job()),
        Rest("Active"),
    ),
    "a lost job whose end is found has ended so": (Wanted(recorded=(LOST,)), seen(job("COMPLETED")), Rest("Succeeded")),
    "a lost job is made again when asked": (
        Wanted(recorded=(LOST,), retry_requested=True),
        seen(absent=frozenset({1}), lost=frozenset({1})),
        Intend("Wanted", 2),
    ),
    "an intent whose job accounting alone told of is lost, not sent again": (
        Wanted(recorded=(INTENT,), max_attempts=9),
        seen(absent=frozenset({1}), lost=frozenset({1})),
        Rest("OutcomeLost"),
    ),
    "an attempt that is lost and on no record is not made again": (
        Wanted(max_attempts=9),
        seen(lost=frozenset({2})),
        Rest("OutcomeLost"),
    ),
    "a deletion without a site ends by the annotation": (
        Wanted(deleting=True, abandon=True, recorded=(SUBMITTED,)),
        Seen(),
        Release("Abandoned"),
    ),
    "a deletion of an ended job needs no site": (
        Wanted(deleting=True, recorded=(FAILED,)),
        Seen(),
        Release("Ended"),
    ),
    "a deletion of a run to which another attempt is owed looks for that first": (
        Wanted(deleting=True, held_finalizer=True, recorded=(NODE_FAILED,), max_attempts=2),
        Seen(identity=HERE),
        LookUp("NotYetLooked"),
    ),
    "a deletion with an emptied status looks first": (
        Wanted(deleting=True),
        Seen(identity=HERE),
        LookUp("NotYetLooked"),
    ),
    "a deletion asks for an unanswered submit with its first look": (
        Wanted(deleting=True, recorded=(INTENT,)),
        Seen(identity=HERE),
        LookUp("NotYetLooked", 1),
    ),
    "a deletion waits until an unanswered submit is settled": (
        Wanted(deleting=True, recorded=(INTENT,)),
        seen(),
        LookUp("AnswerMissing", 1),
    ),
    "a deletion waits for an unanswered submit whose intent the status has lost": (
        Wanted(deleting=True, held_finalizer=True),
        seen(doubtful=frozenset({1})),
        LookUp("AnswerMissing", 1),
    ),
    "a deletion is released when an unanswered submit is believed absent": (
        Wanted(deleting=True, recorded=(INTENT,)),
        seen(absent=frozenset({1})),
        Release("NeverSubmitted"),
    ),
    "a deletion of an intent that was never sent is released": (
        Wanted(deleting=True, recorded=(INTENT,)),
        seen(fresh=frozenset({1})),
        Release("NeverSubmitted"),
    ),
    "a deletion needs no valid plan": (
        Wanted(deleting=True, plannable=False, recorded=(SUBMITTED,)),
        seen(job()),
        Cancel("Deleted", job()),
    ),
    "a deletion at another cluster waits": (
        Wanted(deleting=True, recorded=(SUBMITTED,)),
        seen(identity=THERE),
        Rest("IdentityChanged"),
    ),
}


@pytest.mark.parametrize("sentence", TABLE)
def test_the_table(sentence: str) -> None:
    wanted, picture, action = TABLE[sentence]

    assert decide(wanted, picture) == action


def test_of_two_jobs_with_one_marker_the_one_that_started_first_is_the_attempt() -> None:
    recorded_but_waiting = job("PENDING", "10")
    running = job("RUNNING", "11")
    current = current_attempt(Wanted(recorded=(SUBMITTED,)), seen(recorded_but_waiting, running))

    assert current is not None
    assert current.job == running
    assert current.duplicates == (recorded_but_waiting,)


def test_of_two_jobs_that_nothing_else_tells_apart_the_lower_number_is_the_attempt() -> None:
    ninth, tenth = job("RUNNING", "9"), job("RUNNING", "10")
    current = current_attempt(Wanted(), seen(tenth, ninth))

    assert current is not None
    assert current.job == ninth


def test_a_cancelled_duplicate_that_never_ran_is_not_the_outcome() -> None:
    cancelled = job("CANCELLED", "10", start_time=90, node_count=0)
    done = job("COMPLETED", "11")
    current = current_attempt(Wanted(recorded=(INTENT,)), seen(cancelled, done))

    assert current is not None
    assert current.job == done


@pytest.mark.parametrize(
    "ended",
    [
        job("CANCELLED"),
        job("NODE_FAIL"),
        job("BOOT_FAIL"),
        job("PREEMPTED"),
        job("DEADLINE", start_time=None),
        job("FAILED", exit_code=212),
        job("FAILED", exit_signal=53),
        job("FAILED", start_time=None),
    ],
    ids=lambda ended: f"{ended.state} {ended.ending.reason}",
)
def test_whoever_may_have_ended_before_the_claim_yields_to_what_runs_and_is_no_end_before_a_last_look(
    ended: RemoteJob,
) -> None:
    wanted = Wanted(recorded=(SUBMITTED,))
    running = job("RUNNING", "11", start_time=300)
    current = current_attempt(wanted, seen(ended, running))

    assert current is not None
    assert current.job == running
    assert decide(wanted, seen(ended, quiet=False)) == LookUp("OthersMayLive", last=True)


@pytest.mark.parametrize("ended", [job("COMPLETED"), job("FAILED"), job("TIMEOUT"), job("FAILED", exit_code=214)])
def test_whoever_had_the_claim_yields_to_nobody(ended: RemoteJob) -> None:
    wanted = Wanted(recorded=(SUBMITTED,))
    current = current_attempt(wanted, seen(ended, job("RUNNING", "11", start_time=300)))

    assert current is not None
    assert current.job == ended
    assert decide(wanted, seen(ended, quiet=False)) == decide(wanted, seen(ended))


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED", "NODE_FAIL"])
def test_the_copy_that_was_seen_to_run_is_the_outcome(state: str) -> None:
    ended = job(state, "11", start_time=300)
    current = current_attempt(Wanted(recorded=(replace(SUBMITTED, job_id="11"),)), seen(job("NODE_FAIL"), ended))

    assert current is not None
    assert current.job == ended


def test_whatever_had_the_claim_is_the_outcome_though_it_was_never_seen_to_run() -> None:
    current = current_attempt(
        Wanted(recorded=(SUBMITTED,)), seen(job("NODE_FAIL"), job("COMPLETED", "11", start_time=300))
    )

    assert current is not None
    assert current.job == job("COMPLETED", "11", start_time=300)

"""What a status says, from the facts of a pass."""

import json
from dataclasses import replace

import pytest

from passerelle.actions import Action, Intend, LookUp, Rest
from passerelle.attempts import epoch, is_final, rfc3339, with_job
from passerelle.ends import failure
from passerelle.errors import Invalid, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.facts import Facts, Unseen, Word
from passerelle.marker import Run
from passerelle.progress import Report
from passerelle.slurm import JobState, RemoteJob
from passerelle.status import report
from passerelle.v1alpha1.trainingjob_status import ATTEMPTS_KEPT, Attempt, PlanSummary, Reached, TrainingJobStatus

RUN = Run("psr-" + "a" * 26)
NOW = "2026-01-02T03:04:05Z"
LATER = "2026-01-02T04:00:00Z"

INTENT = Attempt(
    number=1,
    marker=RUN.marker(1),
    cluster="lumi",
    user="startup",
    run_directory=f"/scratch/{RUN.key}",
    script_digest="0" * 64,
)

Table = dict[str, tuple[Facts, dict[str, tuple[str, str]], str]]


def job(state: str, **facts: object) -> RemoteJob:
    base = RemoteJob(
        job_id="77",
        name=RUN.marker(1),
        user="startup",
        cluster="lumi",
        state=JobState.parse(state.split("+")),
        submit_time=1_700_000_000,
        start_time=1_700_000_100,
        nodes="nid[001-002]",
        node_count=2,
        time_limit_minutes=60,
        standard_output="/scratch/log-%j",
    )
    return replace(base, **facts)  # type: ignore[arg-type]  # facts are RemoteJob's own fields


def facts(action: Action, remote: RemoteJob | None = None, **more: object) -> Facts:
    attempts = (with_job(INTENT, remote),) if remote is not None else ()
    base = Facts(
        namespace="team-a", name="run", generation=3, now=NOW, site="lumi", action=action, attempts=attempts, job=remote
    )
    return replace(base, **more)  # type: ignore[arg-type]  # more are Facts' own fields


INVALID = Invalid("timeLimit is too long; write at most 48h.", reason="TimeLimitTooLong")
ELSEWHERE = Unseen(Invalid("The Site leads to another user now.", reason="IdentityChanged"))
REJECTED = Rejected("Invalid qos specification", reason="QosInvalid")

ENDED_BY_SUSPENSION = with_job(INTENT.model_copy(update={"suspended": True}), job("CANCELLED"))

TABLE: Table = {
    "a spec that can't be planned stalls with what to write instead": (
        facts(Rest("NotPlannable"), invalid=INVALID),
        {
            "Accepted": ("False", "TimeLimitTooLong"),
            "Submitted": ("False", "NotPlanned"),
            "Finished": ("False", "Active"),
            "Ready": ("False", "TimeLimitTooLong"),
            "Stalled": ("True", "TimeLimitTooLong"),
        },
        "Refused",
    ),
    "a refusal of the scheduler stalls with its words": (
        facts(Rest("Held"), trouble=REJECTED, attempts=(INTENT,)),
        {"Submitted": ("False", "QosInvalid"), "Stalled": ("True", "QosInvalid")},
        "Stalled",
    ),
    "a refused credential stalls": (
        facts(Rest("SiteSilent"), trouble=Unauthorized("The token has expired.")),
        {"Submitted": ("False", "Unauthorized"), "Stalled": ("True", "Unauthorized")},
        "Stalled",
    ),
    "a site that is away is waited for": (
        facts(Rest("SiteSilent"), trouble=Unavailable("Connection refused")),
        {"Submitted": ("False", "Unavailable"), "Reconciling": ("True", "Unavailable")},
        "Waiting",
    ),
    "a submit whose answer is missing is unknown": (
        facts(LookUp("AnswerMissing", 1), attempts=(INTENT,)),
        {"Submitted": ("Unknown", "AnswerMissing"), "Reconciling": ("True", "AnswerMissing")},
        "Accepted",
    ),
    "a suspended job is neither ready nor reconciling": (
        facts(Rest("Suspended"), suspend=True),
        {"Submitted": ("False", "Suspended"), "Ready": ("False", "Suspended"), "Finished": ("False", "Active")},
        "Suspended",
    ),
    "a held job says what holds it": (
        facts(Rest("Held"), hold=Word("False", "MaxJobs", "Site lumi has its maxJobs.")),
        {"Submitted": ("False", "MaxJobs"), "Reconciling": ("True", "MaxJobs")},
        "Waiting",
    ),
    "a waiting job shows Slurm's reason": (
        facts(Rest("Active"), job("PENDING", start_time=None, state_reason="AssocGrpCPURunMinutesLimit")),
        {
            "Submitted": ("True", "Submitted"),
            "Running": ("False", "AssocGrpCPURunMinutesLimit"),
            "Ready": ("True", "Submitted"),
            "Succeeded": ("Unknown", "Active"),
        },
        "Queued",
    ),
    "a job whose account has no hours left needs a person": (
        facts(Rest("Active"), job("PENDING", start_time=None, state_reason="AssocGrpCPUMinutesLimit")),
        {
            "Submitted": ("True", "Submitted"),
            "Running": ("False", "AssocGrpCPUMinutesLimit"),
            "Ready": ("False", "AssocGrpCPUMinutesLimit"),
            "Stalled": ("True", "AssocGrpCPUMinutesLimit"),
            "Succeeded": ("Unknown", "Active"),
            "Finished": ("False", "Active"),
        },
        "Stalled",
    ),
    "a job that is about to be suspended waits for nobody": (
        facts(Rest("Active"), job("PENDING", start_time=None, state_reason="JobHeldUser"), suspend=True),
        {"Running": ("False", "JobHeldUser"), "Ready": ("True", "Submitted")},
        "Suspended",
    ),
    "a running job runs": (
        facts(Rest("Active"), job("RUNNING")),
        {"Running": ("True", "Running"), "Succeeded": ("Unknown", "Active"), "Finished": ("False", "Active")},
        "Running",
    ),
    "a job that ends is not finished before its nodes are free": (
        facts(Rest("Ending"), job("COMPLETED+COMPLETING")),
        {"Running": ("False", "Ending"), "Succeeded": ("Unknown", "Active"), "Finished": ("False", "Active")},
        "Ending",
    ),
    "a completed job has succeeded and finished": (
        facts(Rest("Succeeded"), job("COMPLETED")),
        {"Succeeded": ("True", "Completed"), "Finished": ("True", "Completed"), "Ready": ("True", "Submitted")},
        "Succeeded",
    ),
    "a failed job has finished and stalls": (
        facts(Rest("Finished"), job("FAILED", exit_code=1)),
        {"Succeeded": ("False", "Failed"), "Finished": ("True", "Failed"), "Stalled": ("True", "Failed")},
        "Failed",
    ),
    "a job that was refused after it had been taken has failed": (
        facts(Rest("Finished"), job("FAILED", start_time=None, state_reason="BadConstraints")),
        {"Succeeded": ("False", "Refused"), "Finished": ("True", "Refused"), "Stalled": ("True", "Refused")},
        "Failed",
    ),
    "a chain that stands still has failed": (
        facts(Rest("NoProgress"), job("TIMEOUT"), chain=True, reached={1: 40}),
        {"Succeeded": ("False", "NoProgress"), "Finished": ("True", "NoProgress"), "Stalled": ("True", "NoProgress")},
        "Failed",
    ),
    "a stopped attempt at the end of its chain has failed": (
        facts(Rest("Finished"), job("FAILED", exit_code=215), chain=True),
        {"Succeeded": ("False", "Stopped"), "Finished": ("True", "Stopped"), "Stalled": ("True", "Stopped")},
        "Failed",
    ),
    "a stopped attempt with another to come has not finished": (
        facts(Intend("Continued", 2), job("FAILED", exit_code=215), chain=True),
        {
            "Submitted": ("Unknown", "Submitting"),
            "Succeeded": ("Unknown", "Active"),
            "Finished": ("False", "Active"),
            "Reconciling": ("True", "Submitting"),
        },
        "Ended",
    ),
    "a failed attempt with another to come has not finished": (
        facts(Intend("Wanted", 2), job("NODE_FAIL")),
        {
            "Submitted": ("Unknown", "Submitting"),
            "Succeeded": ("Unknown", "Active"),
            "Finished": ("False", "Active"),
            "Reconciling": ("True", "Submitting"),
        },
        "Ended",
    ),
    "what was suspended is not submitted, and nothing reconciles": (
        facts(Rest("Suspended"), attempts=(ENDED_BY_SUSPENSION,), suspend=True),
        {
            "Submitted": ("False", "Suspended"),
            "Running": ("False", "Ended"),
            "Ready": ("False", "Suspended"),
            "Finished": ("False", "Active"),
        },
        "Suspended",
    ),
    "a site out of sight is told of, and what it said last stands": (
        facts(Rest("Active"), job("RUNNING"), unseen=Unseen(Unavailable("It is away."), "2026-01-01T00:00:00Z")),
        {"Running": ("True", "Running"), "SiteReachable": ("False", "Unavailable"), "Ready": ("True", "Submitted")},
        "Running",
    ),
    "a site that is gone needs a person": (
        facts(Rest("SiteSilent"), job("RUNNING"), unseen=Unseen(Invalid("No such Site.", reason="SiteNotFound"))),
        {
            "SiteReachable": ("False", "SiteNotFound"),
            "Ready": ("False", "SiteNotFound"),
            "Stalled": ("True", "SiteNotFound"),
        },
        "Running",
    ),
    "a deletion waits for the job's end": (
        facts(Rest("Ending"), job("RUNNING"), deleting=True),
        {"Ready": ("False", "Deleting"), "Reconciling": ("True", "Deleting")},
        "Deleting",
    ),
    "a deletion that can't ask the site stalls after a while": (
        facts(
            Rest("SiteSilent"),
            job("RUNNING"),
            deleting=True,
            trouble=Unavailable("It is away."),
            unseen=Unseen(Unavailable("It is away.")),
        ),
        {"Ready": ("False", "Deleting"), "Stalled": ("True", "Deleting"), "SiteReachable": ("False", "Unavailable")},
        "Deleting",
    ),
    "a lost outcome is unknown, and finished": (
        facts(
            Rest("OutcomeLost"),
            attempts=(INTENT.model_copy(update={"job_id": "77", "reason": "OutcomeLost"}),),
        ),
        {
            "Succeeded": ("Unknown", "OutcomeLost"),
            "Finished": ("True", "OutcomeLost"),
            "Stalled": ("True", "OutcomeLost"),
        },
        "Lost",
    ),
    "an answer from another cluster needs a person": (
        facts(Rest("IdentityChanged"), attempts=(INTENT,), unseen=ELSEWHERE),
        {"Submitted": ("Unknown", "IdentityChanged"), "Stalled": ("True", "IdentityChanged")},
        "Stalled",
    ),
}


@pytest.mark.parametrize("sentence", TABLE)
def test_conditions_and_summary(sentence: str) -> None:
    known, expected, summary = TABLE[sentence]

    status = report(TrainingJobStatus(), known)

    conditions = {condition.type: (condition.status, condition.reason) for condition in status.conditions}
    assert {kind: conditions.get(kind) for kind in expected} == expected
    assert status.summary == summary
    assert {"Reconciling", "Stalled"} & conditions.keys() <= expected.keys(), "an abnormal condition too many"


def test_a_late_refusal_is_told_in_the_words_of_who_refused() -> None:
    refused = job("FAILED", start_time=None, refusal="Batch job submission failed: Invalid qos specification")

    size = {"nodes": 1, "gpus": 2, "gpus_per_node": 2, "tasks": 2, "cpus_per_task": 1, "time_limit_minutes": 10}
    old = TrainingJobStatus(plan=PlanSummary(**size, partition="gpu", qos="normal"))
    status = report(old, facts(Rest("Finished"), replace(refused, account="project_x", partition="gpu")))

    message = next(found.message for found in status.conditions if found.type == "Succeeded")
    assert message == (
        "Attempt 1 (Slurm job 77) was refused after it had been taken: Batch job submission failed: Invalid qos "
        "specification. It was sent to partition gpu with account project_x and QoS normal: what the spec leaves out "
        "is the Site's choice, by admission and partition. Nothing is tried by itself: once it is mended, ask for "
        "another attempt with the annotation passerelle.dev/retry-requested-at."
    )


def test_the_message_of_a_failure_holds_rank_code_and_last_words() -> None:
    comment = json.dumps({"v": 1, "end": {"code": 3, "signal": None, "rank": 5, "err": "ValueError: no such corpus"}})

    status = report(TrainingJobStatus(), facts(Rest("Finished"), job("FAILED", exit_code=1, comment=comment)))

    message = next(found.message for found in status.conditions if found.type == "Succeeded")
    assert "rank 5 exited with code 3" in message
    assert "ValueError: no such corpus" in message


def succeeded(status: TrainingJobStatus) -> str:
    return next(found.message for found in status.conditions if found.type == "Succeeded")


@pytest.mark.parametrize(
    "remote, sentence",
    [
        (
            job("FAILED", exit_code=None, exit_signal=53),
            (
                "Attempt 1 (Slurm job 77) did not start: Slurm could not open its log; create /scratch at the site, "
                "writable for startup."
            ),
        ),
        (
            job("CANCELLED", node_count=0, start_time=None, cancelled_by="root", exit_code=None),
            "Attempt 1 (Slurm job 77) was cancelled by root before it started.",
        ),
        (
            job("TIMEOUT", exit_code=143, comment=json.dumps({"v": 1, "end": {"code": 143, "err": "a\nb\nlast"}})),
            (
                "Attempt 1 (Slurm job 77) ended with TIMEOUT after its time limit of 60 minutes: the batch script "
                "exited with code 143. Last line of stderr: last\nThe lines before it:\na\nb"
            ),
        ),
    ],
    ids=["its log can't be opened", "cancelled in the queue", "a time limit"],
)
def test_a_failure_is_one_sentence_that_names_its_cause(remote: RemoteJob, sentence: str) -> None:
    assert succeeded(report(TrainingJobStatus(), facts(Rest("Finished"), remote))) == sentence


def test_a_chain_that_stands_still_tells_both_steps() -> None:
    second = with_job(INTENT.model_copy(update={"number": 2}), job("TIMEOUT"))
    still = facts(Rest("NoProgress"), job("TIMEOUT"), attempts=(second,), chain=True)

    stuck = succeeded(report(TrainingJobStatus(), replace(still, reached={1: 40, 2: 39})))
    silent = succeeded(report(TrainingJobStatus(), still))

    assert "Attempt 2 ended at its time limit and came to step 39" in stuck
    assert "an earlier one had come to step 40" in stuck
    assert "reported no step, nor did one before it" in silent


@pytest.mark.parametrize(
    "remote,chain,told",
    [
        (job("NODE_FAIL"), False, "retry.maxAttempts, 3, allows no other"),
        (job("PREEMPTED"), False, "retry.maxAttempts, 3, allows no other"),
        (job("TIMEOUT"), True, "retry.maxAttempts, 3, allows no other"),
        (job("FAILED", exit_code=215), True, "retry.maxAttempts, 3, allows no other"),
        (job("FAILED", exit_code=215), False, "only a TrainingJob with checkpoint gets"),
        (job("TIMEOUT"), False, ""),
        (job("FAILED", exit_code=1), True, ""),
    ],
)
def test_a_last_attempt_tells_why_none_follows(remote: RemoteJob, chain: bool, told: str) -> None:
    message = succeeded(report(TrainingJobStatus(), facts(Rest("Finished"), remote, chain=chain, max_attempts=3)))

    assert told in message
    assert ("maxAttempts" in message) == ("maxAttempts" in told)


def test_an_attempt_keeps_its_steps_when_a_poorer_record_comes() -> None:
    rich = with_job(INTENT, job("RUNNING", comment='{"v":1,"f":11,"s":20,"c":15}'))

    ended = with_job(rich, job("TIMEOUT", live=False))

    assert (ended.first_step, ended.last_step, ended.checkpoint_step) == (11, 20, 15)


def test_an_attempt_that_is_listed_no_longer_leaves_how_far_it_came() -> None:
    came = tuple(
        INTENT.model_copy(update={"number": number, "last_step": 100 - number, "checkpoint_step": None})
        for number in range(1, ATTEMPTS_KEPT + 3)
    )

    ten = report(TrainingJobStatus(), facts(Rest("Active"), attempts=came[:ATTEMPTS_KEPT]))
    more = report(ten, facts(Rest("Active"), attempts=came[: ATTEMPTS_KEPT + 1]))
    most = report(more, facts(Rest("Active"), attempts=(*more.attempts, came[-1])))

    assert (ten.earlier_attempts, more.earlier_attempts) == (None, Reached(last_step=99))
    assert most.earlier_attempts == Reached(last_step=99)
    assert [each.number for each in most.attempts] == list(range(3, ATTEMPTS_KEPT + 3))


def test_nodes_to_keep_away_from_are_remembered() -> None:
    once = report(TrainingJobStatus(), facts(Rest("Active"), job("RUNNING"), excluded=("n2", "n5")))

    assert report(once, facts(Rest("Active"), job("RUNNING"))).excluded_nodes == ["n2", "n5"]


def test_without_an_epilogue_the_message_says_so_and_names_the_log() -> None:
    status = report(TrainingJobStatus(), facts(Rest("Finished"), job("TIMEOUT")))

    message = next(found.message for found in status.conditions if found.type == "Succeeded")
    assert "after its time limit of 60 minutes" in message
    assert "epilogue left no lines" in message
    assert "/scratch/log-77" in message


def test_a_batch_script_that_could_not_say_why_has_most_often_found_no_run_root() -> None:
    dead = job("FAILED", exit_code=212)
    known = report(TrainingJobStatus(), facts(Rest("Finished"), dead))
    doubted = report(TrainingJobStatus(), facts(Rest("Finished"), replace(dead, report_trouble="No way.")))

    assert "exited with code 212." in said(known)
    assert said(known).endswith(
        "It could not tell why: most often /scratch is missing at the site, or not writable for startup; where "
        "/scratch/log-77 is there, it tells more."
    )
    assert "could not be read: No way. Read /scratch/log-77 at the site." in said(doubted)


def said(status: TrainingJobStatus) -> str:
    return next(found.message for found in status.conditions if found.type == "Succeeded")


def test_a_log_has_slurms_number_in_its_name_whatever_the_gateway_calls_the_job() -> None:
    known = with_job(INTENT, job("RUNNING", job_id="a-b", slurm_id="77"))
    unknown = with_job(INTENT, job("RUNNING", job_id="a-b"))

    assert (known.job_id, known.log_path) == ("a-b", "/scratch/log-77")
    assert unknown.log_path == "/scratch/log-%j"
    assert with_job(unknown, job("RUNNING", job_id="a-b", slurm_id="77", standard_output="")).log_path == known.log_path


def test_a_failure_names_slurms_number_where_it_is_known() -> None:
    failed = job("FAILED", job_id="a-b", slurm_id="77")

    assert failure(INTENT, failed, Report()).startswith("Attempt 1 (Slurm job 77) ended with FAILED")
    assert failure(INTENT, replace(failed, slurm_id=""), Report()).startswith("Attempt 1 (Slurm job a-b) ended")


@pytest.mark.parametrize(
    "number, word", [("77", "release 77`"), ("", f"release jobname={RUN.marker(1)}`")], ids=["number", "name"]
)
def test_a_held_job_is_released_by_what_scontrol_knows(number: str, word: str) -> None:
    held = job("PENDING", job_id="a-b", slurm_id=number, start_time=None, state_reason="JobHeldUser")
    status = report(TrainingJobStatus(), facts(Rest("Active"), held))

    assert word in next(found.message for found in status.conditions if found.type == "Running")


def test_a_failures_message_survives_passes_that_ask_the_site_no_more() -> None:
    comment = json.dumps({"v": 1, "end": {"code": 3, "signal": None, "rank": 5, "err": "ValueError"}})
    first = facts(Rest("Finished"), job("FAILED", comment=comment))
    ended = report(TrainingJobStatus(), first)

    again = report(ended, replace(first, job=None, attempts=tuple(ended.attempts), now=LATER))

    assert again == ended


def test_a_second_pass_over_the_same_facts_changes_nothing() -> None:
    for known, _, _ in TABLE.values():
        once = report(TrainingJobStatus(), known)

        assert report(once, replace(known, now=LATER)) == once


def test_a_condition_keeps_its_time_until_its_status_turns() -> None:
    queued = report(TrainingJobStatus(), facts(Rest("Active"), job("PENDING", start_time=None)))
    running = report(queued, facts(Rest("Active"), job("RUNNING"), now=LATER))

    times = {condition.type: condition.last_transition_time for condition in running.conditions}
    assert (times["Submitted"], times["Running"]) == (NOW, LATER)


def test_an_attempt_lists_at_most_32_nodes_and_their_count() -> None:
    attempt = with_job(INTENT, job("RUNNING", nodes="gpu-a,nid[0098-0101,0200-0400]", node_count=206))

    assert attempt.nodes[:6] == ["gpu-a", "nid0098", "nid0099", "nid0100", "nid0101", "nid0200"]
    assert (len(attempt.nodes), attempt.node_count) == (32, 206)


def test_names_that_are_longer_than_the_crd_allows_are_cut() -> None:
    cabinet = "rack[1-4]node[1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37]"  # what no expansion understands
    attempt = with_job(INTENT, job("RUNNING", nodes=cabinet, partition="p" * 100, account="a" * 100))

    assert Attempt.model_validate(attempt.model_dump()) == attempt
    assert attempt.nodes
    assert (attempt.partition, attempt.account) == ("p" * 64, "a" * 64)


def test_a_cancelled_attempt_is_suspended_only_where_that_was_written_first() -> None:
    suspended = with_job(INTENT.model_copy(update={"suspended": True}), job("CANCELLED"))
    outside = with_job(INTENT, job("CANCELLED"))
    failed_meanwhile = with_job(INTENT.model_copy(update={"suspended": True}), job("FAILED"))
    stopped = with_job(INTENT.model_copy(update={"suspended": True}), job("FAILED", exit_code=215))

    assert [suspended.reason, outside.reason, failed_meanwhile.reason] == ["Suspended", "Cancelled", "Failed"]
    assert stopped.reason == "Suspended"
    assert all(map(is_final, (suspended, outside, failed_meanwhile, stopped)))
    assert not is_final(with_job(INTENT, job("PENDING", state_reason="Priority")))


def test_times_go_both_ways() -> None:
    assert rfc3339(1_700_000_000) == "2023-11-14T22:13:20Z"
    assert epoch("2023-11-14T22:13:20Z") == 1_700_000_000
    assert (rfc3339(None), epoch(None)) == (None, None)


def test_troubles_of_the_site_leave_a_submitted_job_alone() -> None:
    troubles: list[PasserelleError] = [Unauthorized("expired"), Unavailable("down")]
    for trouble in troubles:
        status = report(TrainingJobStatus(), facts(Rest("SiteSilent"), job("RUNNING"), trouble=trouble))

        assert status.summary == "Running"

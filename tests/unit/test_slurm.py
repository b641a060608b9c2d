"""Slurm's states and flags in our words."""

import random
import re
from dataclasses import replace

import pytest

from passerelle.slurm import JOB_ID, Blame, JobState, RemoteJob, Stage, id_order


@pytest.mark.parametrize(
    "words,stage",
    [
        (["PENDING"], Stage.QUEUED),
        (["PENDING", "COMPLETING"], Stage.QUEUED),  # requeued, its last life still cleans up
        (["PENDING", "REQUEUED"], Stage.QUEUED),
        (["RUNNING", "CONFIGURING"], Stage.QUEUED),
        (["RUNNING"], Stage.RUNNING),
        (["RUNNING", "SIGNALING"], Stage.RUNNING),
        (["SUSPENDED"], Stage.RUNNING),
        (["CANCELLED", "COMPLETING"], Stage.ENDING),
        (["COMPLETED"], Stage.ENDED),
        (["FAILED", "SOME_FLAG_OF_TOMORROW"], Stage.ENDED),
        (["NODE_FAIL", "REQUEUED"], Stage.QUEUED),
        (["FAILED", "REQUEUE_HOLD"], Stage.QUEUED),
        (["FAILED", "SPECIAL_EXIT"], Stage.QUEUED),
        (["COMPLETING", "TIMEOUT"], Stage.ENDING),  # the base state stands at any place
        (["A_STATE_OF_TOMORROW"], Stage.QUEUED),  # never an end that nobody saw
        ([], Stage.QUEUED),
    ],
)
def test_states_and_flags_tell_how_far_a_job_has_come(words: list[str], stage: Stage) -> None:
    assert JobState.parse(words).stage is stage


@pytest.mark.parametrize(
    "base,succeeded,reason",
    [
        ("COMPLETED", True, "Completed"),
        ("FAILED", False, "Failed"),
        ("TIMEOUT", False, "TimeLimit"),
        ("CANCELLED", False, "Cancelled"),
        ("OUT_OF_MEMORY", False, "OutOfMemory"),
        ("NODE_FAIL", False, "NodeFailure"),
    ],
)
def test_success_follows_from_the_state_alone(base: str, succeeded: bool, reason: str) -> None:
    ending = JobState(base).ending

    assert ending is not None
    assert (ending.succeeded, ending.reason) == (succeeded, reason)


@pytest.mark.parametrize(
    "state,code,reason",
    [
        ("FAILED", 1, "Failed"),
        ("FAILED", None, "Failed"),
        ("FAILED", 212, "SiteFault"),
        ("FAILED", 214, "BadNode"),
        ("FAILED", 215, "Stopped"),
        ("TIMEOUT", 215, "TimeLimit"),
        ("CANCELLED", 214, "Cancelled"),
    ],
)
def test_a_code_of_ours_says_more_than_failed(state: str, code: int | None, reason: str) -> None:
    job = RemoteJob(
        job_id="1", name="x", user="u", cluster="c", state=JobState(state), submit_time=1, start_time=2, exit_code=code
    )

    assert job.ending is not None
    assert job.ending.reason == reason


def test_a_job_that_was_taken_and_then_refused_is_no_failure_of_the_trainer() -> None:
    job = RemoteJob(job_id="1", name="x", user="u", cluster="c", state=JobState("FAILED"), submit_time=1)

    assert job.refused
    assert job.ending is not None
    assert (job.ending.reason, job.ending.blame, job.ending.succeeded) == ("Refused", Blame.USER, False)


def test_a_live_job_has_no_ending() -> None:
    assert JobState("RUNNING").ending is None
    assert JobState.parse(["FAILED", "REQUEUED"]).ending is None


def test_job_ids_are_ordered_as_numbers() -> None:
    numbers = [str(number) for number in (1, 2, 9, 10, 11, 99, 100, 4711, 10_000)]
    mixed = random.sample(numbers, len(numbers))

    assert sorted(mixed, key=id_order) == numbers
    assert id_order("") < id_order("0")
    assert sorted(["b7", "a7"], key=id_order) == sorted(["a7", "b7"], key=id_order)


@pytest.mark.parametrize("job_id", ["4711", "0f9a2c1e-6a0e-4c39-9d8e-1f3d5b7a9c0e", "uLyMDmKd.x_1", "x" * 64])
def test_what_may_be_a_job_id(job_id: str) -> None:
    assert re.fullmatch(JOB_ID, job_id)


@pytest.mark.parametrize("job_id", ["", "x" * 65, "a/b", "..", "-7", "a b", "https://a.example/rest/1.0/jobs/x", "é"])
def test_what_is_no_job_id(job_id: str) -> None:
    assert not re.fullmatch(JOB_ID, job_id)


def test_slurms_number_is_the_id_or_told_beside_it_or_unknown() -> None:
    job = RemoteJob(job_id="4711", name="x", user="u", cluster="c", state=JobState("RUNNING"), submit_time=1)

    assert job.slurm_number == "4711"
    assert replace(job, job_id="a-b", slurm_id="4711").slurm_number == "4711"
    assert replace(job, job_id="a-b").slurm_number == ""
    assert replace(job, job_id="653522854873").slurm_number == "", "one of A-REX's"

"""Slurm's states and flags in our words."""

import pytest

from passerelle.slurm import JobState, RemoteJob, Stage


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
        job_id=1, name="x", user="u", cluster="c", state=JobState(state), submit_time=1, start_time=2, exit_code=code
    )

    assert job.ending is not None
    assert job.ending.reason == reason


def test_a_live_job_has_no_ending() -> None:
    assert JobState("RUNNING").ending is None
    assert JobState.parse(["FAILED", "REQUEUED"]).ending is None

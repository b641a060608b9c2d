"""Which of Slurm's waiting reasons end by themselves."""

from __future__ import annotations

import pytest

from passerelle.v1alpha1.meta import Condition
from passerelle.waiting import wait

AT = "2026-11-24T12:00:00Z"


@pytest.mark.parametrize(
    "reason",
    [
        "AssocGrpCPUMinutesLimit",
        "AssocGrpGRESMinutes",
        "AssocGrpBillingMinutes",
        "AssocGrpWallLimit",
        "QOSGrpNodeMinutes",
        "QOSGrpMemoryMinutes",
    ],
)
def test_hours_that_are_used_up_are_told(reason: str) -> None:
    told = wait(reason, "7")
    assert (told.reason, told.in_vain) == (reason, True)
    assert reason in told.message
    assert "hours" in told.message
    assert "starts by itself once more are granted" in told.message


@pytest.mark.parametrize(
    "reason",
    [
        "Priority",
        "Resources",
        "ReqNodeNotAvail, UnavailableNodes:n1",
        "PartitionDown",
        "BeginTime",
        "QOSMaxJobsPerUserLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "QOSMaxNodePerUserLimit",
        "AssocMaxJobsLimit",
        "AssocGrpCpuLimit",
        "AssocGrpGRES",
        "AssocGrpCPURunMinutesLimit",
        "AssocGrpGRESRunMinutes",
        "QOSGrpMemoryRunMinutes",
        "QOSUsageThreshold",
        "Prolog",
        "a reason of a later release",
    ],
)
def test_a_wait_that_passes_is_left_alone(reason: str) -> None:
    told = wait(reason, "7")
    assert not told.in_vain
    assert told.message == f"The job waits in Slurm's queue: {reason}."


@pytest.mark.parametrize(
    "reason",
    [
        "AssocMaxWallDurationPerJobLimit",
        "AssocMaxNodePerJobLimit",
        "AssocMaxCpuMinutesPerJobLimit",
        "QOSMaxGRESPerJob",
        "QOSMaxGRESPerNode",
        "QOSMinGRES",
        "QOSMinCpuNotSatisfied",
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "InvalidAccount",
        "RequiresReservation",
    ],
)
def test_a_request_beyond_a_limit_waits_in_vain(reason: str) -> None:
    told = wait(reason, "7")
    assert told.in_vain
    assert "takes this one's place" in told.message


@pytest.mark.parametrize(
    "reason, word",
    [
        ("JobHeldUser", "JobHeldUser"),
        ("launch failed requeued held", "LaunchFailedRequeuedHeld"),
        ("launch_failed_requeued_held", "LaunchFailedRequeuedHeld"),
    ],
)
def test_a_hold_names_the_command_that_ends_it(reason: str, word: str) -> None:
    told = wait(reason, "4711")
    assert (told.reason, told.in_vain) == (word, True)
    assert "`scontrol release 4711`" in told.message


@pytest.mark.parametrize("reason", ["Prologue échoué", "échoué", "完了", "1st try"])
def test_a_sites_own_reason_becomes_a_conditions_word(reason: str) -> None:
    told = wait(reason, "7")

    made = Condition(type="Submitted", status="True", reason=told.reason, message=told.message, last_transition_time=AT)
    assert made.reason == told.reason
    assert reason in told.message


@pytest.mark.parametrize("reason", ["", "None", "(null)"])
def test_no_reason_is_no_reason(reason: str) -> None:
    assert wait(reason, "7").reason == "Queued"
    assert not wait(reason, "7").in_vain

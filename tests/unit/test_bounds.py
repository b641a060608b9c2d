"""A status fits, and loses what is worth least first."""

import pytest

import samples
from passerelle.bounds import STATUS_LIMIT, fit, size
from passerelle.crd import schema
from passerelle.v1alpha1.meta import Condition
from passerelle.v1alpha1.trainingjob_status import (
    ATTEMPTS_KEPT,
    Attempt,
    Exit,
    Metric,
    Progress,
    Reached,
    TrainingJobStatus,
)

SCHEMA = schema(TrainingJobStatus)
RUNS = "/scratch/project_465001234/passerelle"
KEY = "psr-abcdefghijklmnopqrstuvwxyz"


def attempt(number: int) -> Attempt:
    return Attempt(
        number=number,
        marker=f"{KEY}-{number}",
        cluster="lumi",
        user="alicealice",
        run_directory=f"{RUNS}/{KEY}",
        script_digest="a" * 64,
        log_path=f"{RUNS}/{KEY}-{number}-12345678.log",
        job_id="12345678",
        submit_time="2026-01-02T03:04:05Z",
        start_time="2026-01-02T03:04:05Z",
        end_time="2026-01-02T03:04:05Z",
        partition="standard-g",
        account="project_465001234",
        nodes=[f"nid{node:06d}" for node in range(32)],
        node_count=64,
        state="NODE_FAIL",
        reason="NodeFailure",
        exit=Exit(code=1, rank=3),
        first_step=10_001,
        last_step=20_000,
        checkpoint_step=20_000,
    )


def rich() -> TrainingJobStatus:
    lengths = {
        "Accepted": 90,
        "Submitted": 90,
        "Running": 90,
        "Finished": 40,
        "ProgressAvailable": 90,
        "Reconciling": 90,
    }
    return TrainingJobStatus(
        conditions=[
            Condition(
                type=name,
                status="False",
                observed_generation=1,
                last_transition_time="2026-01-02T03:04:05Z",
                reason="NodeFailure",
                message="m" * length,
            )
            for name, length in (lengths | {"Succeeded": 800, "Ready": 800, "Stalled": 800}).items()
        ],
        attempts=[attempt(number + 1) for number in range(ATTEMPTS_KEPT)],
        attempts_total=ATTEMPTS_KEPT,
        excluded_nodes=[f"nid{node:06d}" for node in range(8)],
        progress=Progress(step=1, metrics=[Metric(name="loss", value="1.2345")] * 8),
        summary="Failed",
        reason="NodeFailure",
        script_digest="a" * 64,
    )


def test_a_rich_status_loses_nothing() -> None:
    assert rich() == fit(rich())


@pytest.mark.parametrize("character", ["x", "ß", "𝄞", "\n"])
def test_a_status_at_all_its_bounds_fits_and_keeps_the_newest_attempt(character: str) -> None:
    full = TrainingJobStatus.model_validate(samples.status_at_bounds(SCHEMA, character))
    assert size(full) > 2 * STATUS_LIMIT

    fitted = fit(full)

    assert size(fitted) <= STATUS_LIMIT
    assert full.attempts[-1].marker == fitted.attempts[-1].marker
    assert full.attempts[-1].log_path == fitted.attempts[-1].log_path
    assert [condition.type for condition in full.conditions] == [condition.type for condition in fitted.conditions]
    assert full.attempts_total == fitted.attempts_total


def test_the_nodes_of_earlier_attempts_go_first() -> None:
    fitted = fit(rich(), size(rich()) - 1)

    assert [[]] * 9 + [rich().attempts[-1].nodes] == [attempt.nodes for attempt in fitted.attempts]
    assert rich().conditions == fitted.conditions


def test_long_messages_go_before_attempts() -> None:
    without_nodes = rich().model_copy(
        update={"attempts": [a.model_copy(update={"nodes": []}) for a in rich().attempts]}
    )

    fitted = fit(without_nodes, size(without_nodes) - 100)

    assert len(fitted.attempts) == ATTEMPTS_KEPT
    assert [len(condition.message) for condition in fitted.conditions] == [90, 90, 90, 40, 90, 90, 510, 510, 510]


def test_the_oldest_attempts_go_before_the_newest_nodes() -> None:
    fitted = fit(rich(), 4000)

    assert fitted.attempts[-1].number == ATTEMPTS_KEPT
    assert rich().attempts[-1].nodes == fitted.attempts[-1].nodes
    assert len(fitted.attempts) < ATTEMPTS_KEPT


def test_how_far_the_attempts_came_is_told_when_they_go() -> None:
    told = rich()
    came = [
        each.model_copy(update={"last_step": 9 - place, "checkpoint_step": None})
        for place, each in enumerate(told.attempts)
    ]
    told = told.model_copy(update={"attempts": came, "earlier_attempts": Reached(last_step=7, checkpoint_step=5)})

    assert fit(told, 4000).earlier_attempts == Reached(last_step=9, checkpoint_step=5)


def test_a_status_without_attempts_fits() -> None:
    assert TrainingJobStatus() == fit(TrainingJobStatus(), 1)

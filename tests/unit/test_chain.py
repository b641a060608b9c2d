"""What the attempts of a run leave to the next one."""

from dataclasses import replace

import pytest

from passerelle.chain import excluded, failed_nodes, reached
from passerelle.current import Seen
from passerelle.slurm import JobState, RemoteJob
from passerelle.v1alpha1.trainingjob_status import NODES_KEPT, Attempt, Reached, TrainingJobStatus


def job(state: str = "RUNNING", **facts: object) -> RemoteJob:
    base = RemoteJob(
        job_id="7",
        name="psr",
        user="startup",
        cluster="lumi",
        state=JobState(state),
        submit_time=1,
        start_time=2,
        nodes="n[1-2]",
        node_count=2,
    )
    return replace(base, **facts)  # type: ignore[arg-type]  # facts are RemoteJob's own fields


def status(*steps: tuple[int | None, int | None], nodes: tuple[str, ...] = ()) -> TrainingJobStatus:
    """Attempts from 1 on, with their last and checkpoint steps."""
    attempts = [
        Attempt(
            number=number,
            marker="psr",
            cluster="lumi",
            user="startup",
            run_directory="/r",
            script_digest="",
            last_step=last,
            checkpoint_step=saved,
        )
        for number, (last, saved) in enumerate(steps, 1)
    ]
    return TrainingJobStatus(attempts=attempts, excluded_nodes=list(nodes))


def seen(number: int, *jobs: RemoteJob) -> Seen:
    return Seen(jobs=tuple((number, each) for each in jobs))


TABLE = {
    "a run that tells no step came nowhere": (status((None, None)), Seen(), {}),
    "steps count where no checkpoint is told of": (status((40, None), (80, None)), Seen(), {1: 40, 2: 80}),
    "a checkpoint counts for more than a step": (status((48, 40), (55, 50)), Seen(), {1: 40, 2: 50}),
    "an attempt without a checkpoint came nowhere, where others tell of theirs": (
        status((48, 40), (49, None)),
        Seen(),
        {1: 40},
    ),
    "what the job tells is newer": (
        status((40, None), (60, None)),
        seen(2, job(comment='{"v":1,"s":80}')),
        {1: 40, 2: 80},
    ),
    "a job whose comment is gone leaves what was written down": (
        status((40, None), (60, None)),
        seen(2, job("TIMEOUT")),
        {1: 40, 2: 60},
    ),
    "what the status lists no longer came before all else": (
        status((70, None), (75, None)).model_copy(update={"earlier_attempts": Reached(last_step=80)}),
        Seen(),
        {0: 80, 1: 70, 2: 75},
    ),
    "a checkpoint that the status lists no longer counts for more than steps": (
        status((48, None), (55, None)).model_copy(
            update={"earlier_attempts": Reached(last_step=48, checkpoint_step=40)}
        ),
        Seen(),
        {0: 40},
    ),
    "a duplicate beside the attempt hides nothing that it told": (
        status((40, None), (60, None)),
        seen(2, job(comment='{"v":1,"s":80}'), job("FAILED", job_id="8", exit_code=213)),
        {1: 40, 2: 80},
    ),
    "what a job without a word leaves open is read from another one of the attempt": (
        status((40, None), (60, None)),
        seen(2, job(comment='{"v":1,"s":80}'), job("CANCELLED", job_id="8")),
        {1: 40, 2: 80},
    ),
    "of two jobs that ran as one attempt the one that came further counts": (
        status((40, None), (60, None)),
        seen(
            2, job(comment='{"v":1,"s":90,"c":80}'), job("FAILED", job_id="8", exit_code=213, comment='{"v":1,"s":85}')
        ),
        {2: 80},
    ),
    "an attempt that the status lost is read from its job": (
        TrainingJobStatus(),
        seen(1, job(comment='{"v":1,"s":8}')),
        {1: 8},
    ),
}


@pytest.mark.parametrize("sentence", TABLE)
def test_how_far_each_attempt_came(sentence: str) -> None:
    known, picture, steps = TABLE[sentence]

    assert reached(known, picture) == steps


BAD = '{"v":1,"end":{"code":214,"nodes":["n2"]}}'


@pytest.mark.parametrize(
    "remote,nodes",
    [
        (job("NODE_FAIL", failed_node="n2"), ("n2",)),
        (job("NODE_FAIL", failed_node="n[2-3]"), ("n2", "n3")),
        (job("NODE_FAIL", failed_node="n2 --nodelist=n9"), ()),
        (job("NODE_FAIL"), ()),
        (job("NODE_FAIL", nodes="n7", node_count=1), ("n7",)),
        (job("FAILED", exit_code=214, comment=BAD), ("n2",)),
        (job("FAILED", exit_code=214, nodes="n7", node_count=1), ()),
        (job("NODE_FAIL", failed_node="n1", comment=BAD), ("n2",)),
        (job("FAILED", exit_code=212, nodes="n7", node_count=1), ()),
        (job("FAILED", exit_code=1, comment=BAD), ()),
        (job("PREEMPTED", failed_node="n2"), ()),
        (job("RUNNING", failed_node="n2"), ()),
    ],
)
def test_a_node_is_to_blame_where_somebody_names_it(remote: RemoteJob, nodes: tuple[str, ...]) -> None:
    assert failed_nodes(remote) == nodes


def test_nodes_are_kept_in_the_order_of_their_failures_each_once_and_not_without_end() -> None:
    names = tuple(f"n{number}" for number in range(100, 100 + NODES_KEPT))
    new = seen(1, job("NODE_FAIL", failed_node="n7"))

    assert excluded(status(nodes=("n9", "n7")), new) == ("n9", "n7")
    assert excluded(status(nodes=names), new) == (*names[1:], "n7")

"""When an attempt with checkpoints is told to stop."""

import pytest

from passerelle.errors import Invalid
from passerelle.grace import LONGEST_WARNING_SECONDS, grace_seconds, longest_grace, warning_seconds
from passerelle.render import render
from passerelle.v1alpha1.trainingjob import Checkpoint
from plans import job, planned


@pytest.mark.parametrize("grace,warning", [(1, 120), (30, 120), (31, 180), (300, 420), (330, 420), (331, 480)])
def test_the_warning_leaves_the_grace_a_minute_and_kill_wait_in_whole_minutes(grace: int, warning: int) -> None:
    assert warning_seconds(grace) == warning


@pytest.mark.parametrize("minutes", range(1, 61))
def test_the_longest_grace_is_longest(minutes: int) -> None:
    def fits(grace: int) -> bool:
        return grace * 2 < minutes * 60 and warning_seconds(grace) + 60 < minutes * 60

    most = longest_grace(minutes)

    assert not fits(max(most, 0) + 1)
    assert most <= 0 or fits(most)


def test_slurm_can_warn_no_earlier_than_it_can_count() -> None:
    assert warning_seconds(longest_grace(60 * 24 * 7)) == LONGEST_WARNING_SECONDS <= 65_535


def test_a_grace_that_leaves_no_time_to_train_is_refused_with_the_longest_that_does() -> None:
    with pytest.raises(Invalid, match=r"write a grace of at most 299s, or a longer timeLimit\.$") as refused:
        grace_seconds(Checkpoint(grace="5m"), 10)

    assert refused.value.reason == "GraceTooLong"
    assert grace_seconds(Checkpoint(grace="299s"), 10) == 299


def test_a_time_limit_that_no_grace_fits_is_refused() -> None:
    with pytest.raises(Invalid, match=r"; write a longer timeLimit\.$"):
        grace_seconds(Checkpoint(grace="1s"), 3)


def test_a_plan_asks_for_the_warning_and_keeps_away_from_nodes() -> None:
    options = render(planned(job(checkpoint={}, timeLimit="1h"), exclude=("n2", "n5"))).options

    assert (options.warning_signal, options.warning_seconds, options.exclude) == ("USR1", 420, ("n2", "n5"))
    assert render(planned()).options.warning_seconds is None

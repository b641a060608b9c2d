"""The hour's calls: what slides, who gives way, and what each keeps whatever happens."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from passerelle.gateways.budget import ENOUGH, FULL, HOUR_SECONDS, READ_OF_A_JOB, SHARES, Budget
from passerelle.gateways.purpose import Purpose

LIMIT = 1000


@dataclass
class Clock:
    now: float = 1_000_020.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> Budget:
    return Budget(clock, LIMIT)


def spend(budget: Budget, purpose: Purpose, calls: int) -> None:
    for _ in range(calls):
        budget.note(purpose)


def test_the_hour_slides_and_forgets_no_call_early(budget: Budget, clock: Clock) -> None:
    spend(budget, Purpose.LOOK, 3)
    clock.now += 1800
    spend(budget, Purpose.END, 2)
    assert (budget.spent(), budget.spent(Purpose.LOOK), budget.spent(Purpose.END)) == (5, 3, 2)
    clock.now += 1799
    assert budget.spent() == 5
    clock.now += 61
    assert budget.spent() == 2
    clock.now += 1860
    assert budget.spent() == 0


def test_an_hour_of_calls_takes_no_more_memory_than_its_minutes(budget: Budget, clock: Clock) -> None:
    for _ in range(20_000):
        budget.note(Purpose.LOOK)
        clock.now += 1

    assert len(budget._minutes) <= 61
    assert HOUR_SECONDS <= budget.spent() <= HOUR_SECONDS + 60


@pytest.mark.parametrize("purpose", SHARES)
def test_what_is_paced_may_burst_and_then_goes_at_its_pace(budget: Budget, clock: Clock, purpose: Purpose) -> None:
    share = SHARES[purpose]
    spend(budget, purpose, int(share.burst * LIMIT))
    assert budget.wait(purpose) == pytest.approx(0, abs=0.1)
    spend(budget, purpose, 10)
    assert budget.room(purpose) == pytest.approx(-10)
    assert budget.wait(purpose) == pytest.approx(10 / ((share.up_to - share.burst) * LIMIT / HOUR_SECONDS))
    clock.now += budget.wait(purpose) + 0.01
    assert budget.wait(purpose) == 0


@pytest.mark.parametrize("purpose", SHARES)
def test_in_no_hour_does_what_is_paced_take_more_than_its_share(budget: Budget, clock: Clock, purpose: Purpose) -> None:
    worst = 0
    for _ in range(3 * 3600):
        while budget.wait(purpose) == 0:
            budget.note(purpose)
        worst = max(worst, budget.spent())
        clock.now += 1

    assert worst <= SHARES[purpose].up_to * LIMIT * 61 / 60 + 2


def test_progress_gives_way_to_files_and_files_to_looks_and_looks_to_what_is_done(budget: Budget, clock: Clock) -> None:
    order = [Purpose.PROGRESS, Purpose.FILES, Purpose.LOOK, Purpose.SUBMIT]
    for place, after in enumerate(order[1:], start=1):
        clock.now += HOUR_SECONDS * 2
        before = {each: budget._rate(each) for each in SHARES}
        spend(budget, after, 20)
        slower = {each for each in SHARES if budget._rate(each) < before[each]}
        assert slower == set(order[:place])


def test_progress_leaves_from_the_beginning_what_looks_will_need_in_an_hour(budget: Budget, clock: Clock) -> None:
    """Were only the last hour counted, which has just begun, it would be used up by progress when looks want it."""
    for _ in range(10):
        spend(budget, Purpose.LOOK, 12)
        clock.now += 60

    assert budget._rate(Purpose.PROGRESS) * HOUR_SECONDS == pytest.approx(SHARES[Purpose.PROGRESS].least * LIMIT)


def test_submits_end_with_the_hour_and_begin_when_old_calls_are_of_it_no_more(budget: Budget, clock: Clock) -> None:
    spend(budget, Purpose.NEWS, 500)
    clock.now += 600
    spend(budget, Purpose.NEWS, int(ENOUGH * LIMIT) - 501)
    assert budget.wait(Purpose.SUBMIT) == 0
    budget.note(Purpose.NEWS)
    wait = budget.wait(Purpose.SUBMIT)
    assert 2990 < wait <= 3060
    clock.now += wait - 1
    assert budget.wait(Purpose.SUBMIT) > 0
    clock.now += 2
    assert budget.wait(Purpose.SUBMIT) == 0


def test_a_submit_counts_with_what_will_be_read_of_its_job(budget: Budget, clock: Clock) -> None:
    """Of a burst nothing has been read yet: it would else use up the hour, and its jobs' ends were told beyond it."""
    submits = 0
    while budget.wait(Purpose.SUBMIT) == 0:
        budget.note(Purpose.SUBMIT)
        submits += 1
    assert submits == ENOUGH * LIMIT / (1 + READ_OF_A_JOB)
    spend(budget, Purpose.NEWS, READ_OF_A_JOB * submits)
    assert budget.spent() == ENOUGH * LIMIT
    assert not budget.full
    spend(budget, Purpose.NEWS, int((FULL - ENOUGH) * LIMIT) + 1)
    assert budget.full


def test_when_all_is_used_up_looks_go_on_slowly_and_an_end_at_once(budget: Budget, clock: Clock) -> None:
    spend(budget, Purpose.NEWS, 2 * LIMIT)
    assert budget.wait(Purpose.END) == 0
    assert budget.wait(Purpose.LOOK) == 0
    assert budget.room(Purpose.PROGRESS) == 0
    assert budget.wait(Purpose.FILES) > 0
    spend(budget, Purpose.LOOK, int(SHARES[Purpose.LOOK].burst * LIMIT) + 1)
    assert 0 < budget.wait(Purpose.LOOK) <= HOUR_SECONDS / (SHARES[Purpose.LOOK].least * LIMIT) + 0.1


def test_a_larger_budget_counts_at_once(budget: Budget) -> None:
    spend(budget, Purpose.NEWS, LIMIT)
    assert budget.wait(Purpose.SUBMIT) > 0
    budget.limit = 2 * LIMIT
    assert budget.wait(Purpose.SUBMIT) == 0


def test_a_budget_of_nothing_waits_and_does_not_divide_by_it() -> None:
    assert Budget(Clock(), 0).wait(Purpose.SUBMIT) == HOUR_SECONDS


def test_an_operator_that_starts_anew_goes_on_with_the_hours_count() -> None:
    clock = Clock()
    clock.now = 100_000.0
    budget = Budget(clock, 1000)
    budget.begin(950, 1800.0)

    assert budget.spent() == budget.former == 950
    assert budget.hour()[1] == pytest.approx(1800, abs=60)
    assert budget.wait(Purpose.SUBMIT) > 1800, "as many as are more than nine tenths must be forgotten first"
    assert budget.room(Purpose.PROGRESS) == 0
    assert 0 < budget.room(Purpose.LOOK) <= 0.06 * 0.25 * 1000 + 1
    clock.now += 3700
    assert (budget.spent(), budget.wait(Purpose.SUBMIT)) == (0, 0)


def test_of_a_count_that_is_hours_old_the_last_hours_part_counts() -> None:
    budget = Budget(Clock(), 1000)
    budget.begin(900, 3 * 3600.0)

    assert budget.spent() == pytest.approx(300, abs=6)


def test_without_a_count_there_is_no_burst_of_progress_and_one_of_looks() -> None:
    clock = Clock()
    budget = Budget(clock, 1000)
    budget.begin(0, 0.0)

    assert budget.room(Purpose.PROGRESS) == pytest.approx(0)
    assert budget.room(Purpose.LOOK) == 250
    assert budget.hour() == (0, 0)
    clock.now += 60
    assert budget.room(Purpose.PROGRESS) > 5

"""Open after failures in a row, one call on trial, twice as long each time, closed by any answer."""

from __future__ import annotations

from dataclasses import dataclass

from passerelle.errors import Unavailable
from passerelle.gateways.breaker import FAILURES, TRIAL_SECONDS, Breaker

LOST = Unavailable("The answer was lost.", reason="Unreachable")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, *, spread: float = 1.0) -> Breaker:
    breaker = Breaker(clock, first=10, most=35, spread=lambda: spread)
    for _ in range(FAILURES):
        breaker.failed(LOST, trial=breaker.begin())
    return breaker


def test_it_opens_after_failures_in_a_row_and_no_sooner() -> None:
    clock = Clock()
    breaker = Breaker(clock, first=10, most=35)
    for _ in range(FAILURES - 1):
        breaker.failed(LOST, trial=breaker.begin())
    breaker.answered()
    for _ in range(FAILURES - 1):
        breaker.failed(LOST, trial=breaker.begin())
    assert (breaker.wait(), breaker.why) == (0, None)
    breaker.failed(LOST, trial=breaker.begin())

    assert (breaker.wait(), breaker.why) == (10, LOST)


def test_one_call_is_on_trial_and_the_others_wait_for_what_becomes_of_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10
    assert breaker.wait() == 0
    assert breaker.begin()
    assert breaker.wait() == TRIAL_SECONDS
    breaker.answered()

    assert (breaker.wait(), breaker.why) == (0, None)
    assert not breaker.begin()


def test_a_trial_that_fails_opens_it_for_twice_as_long_up_to_the_most() -> None:
    clock = Clock()
    breaker = opened(clock)
    waits = []
    for _ in range(4):
        waits.append(breaker.wait())
        clock.now += breaker.wait()
        breaker.failed(LOST, trial=breaker.begin())

    assert waits == [10, 20, 35, 35]
    breaker.answered()
    for _ in range(FAILURES):
        breaker.failed(LOST, trial=breaker.begin())
    assert breaker.wait() == 10, "what was mended begins anew"


def test_each_pause_is_spread() -> None:
    assert opened(Clock(), spread=1.1).wait() == 11


def test_what_had_begun_before_it_opened_makes_it_no_worse_and_may_close_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    for _ in range(20):
        breaker.failed(LOST, trial=False)
    assert breaker.wait() == 10
    breaker.answered()

    assert breaker.wait() == 0


def test_a_trial_that_came_to_nothing_gives_another_one_its_turn() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10
    breaker.left(trial=breaker.begin())

    assert (breaker.wait(), breaker.why) == (0, LOST)


def test_whoever_has_failed_leaves_the_trial_to_those_who_wait() -> None:
    clock = Clock()
    breaker = Breaker(clock, first=10, most=35)
    for _ in range(FAILURES):
        breaker.failed(LOST, "bad", trial=breaker.begin("bad"))
    assert breaker.wait("good") == 10
    clock.now += 10

    assert breaker.wait("bad") == TRIAL_SECONDS
    assert breaker.wait("good") == 0
    assert breaker.begin("good")
    breaker.answered()
    assert breaker.wait("bad") == 0


def test_those_who_fail_take_turns() -> None:
    clock = Clock()
    breaker = opened(clock)
    tried = []
    for _ in range(9):
        clock.now += max(breaker.wait(each) for each in "abc")
        whom = next(each for each in "abc" if breaker.wait(each) == 0)  # "a" comes first each time
        tried.append(whom)
        breaker.failed(LOST, whom, trial=breaker.begin(whom))

    assert tried == list("abcabcabc")


def test_one_that_is_alone_takes_the_trial_again_and_waits_for_nobody_who_has_left() -> None:
    clock = Clock()
    breaker = opened(clock)
    breaker.wait("gone")
    clock.now += 10
    breaker.failed(LOST, "bad", trial=breaker.begin("bad"))
    breaker.wait("gone")
    clock.now += 20
    assert breaker.wait("bad") == TRIAL_SECONDS
    clock.now += TRIAL_SECONDS
    assert breaker.wait("bad") == 0
    breaker.failed(LOST, "bad", trial=breaker.begin("bad"))
    clock.now += 35

    assert breaker.wait("bad") == 0, "it came no more"


def test_a_trial_that_came_to_nothing_was_a_turn() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10
    trial = breaker.begin("odd")
    breaker.wait("other")
    clock.now += 60
    breaker.left(trial=trial)

    assert (breaker.wait("odd"), breaker.wait("other")) == (TRIAL_SECONDS, 0)

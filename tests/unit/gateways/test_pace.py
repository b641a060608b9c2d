"""A burst goes at once, the rest one after the other, and nobody is passed over."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from passerelle.gateways.pace import BURST_SECONDS, Pace
from passerelle.profiles.machine import ACTS_PER_SECOND

BURST = int(ACTS_PER_SECOND * BURST_SECONDS)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_goes_at_once_and_the_rest_in_the_order_in_which_it_came() -> None:
    pace = Pace(Clock())
    waits = [pace.take() for _ in range(BURST + 30)]

    assert BURST == 50
    assert waits[:BURST] == pytest.approx([0.0] * BURST, abs=1e-6)
    assert waits[BURST:] == pytest.approx([each / ACTS_PER_SECOND for each in range(1, 31)])


def test_it_fills_again_and_no_further_than_a_burst() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(BURST):
        pace.take()
    clock.now += 1
    assert [pace.take() > 1e-6 for _ in range(11)] == [False] * 10 + [True]
    clock.now += 3600
    assert sum(pace.take() <= 1e-6 for _ in range(2 * BURST)) == BURST


def test_a_slower_machine_has_a_smaller_burst() -> None:
    pace = Pace(Clock(), rate=2.0)
    waits = [pace.take() for _ in range(12)]

    assert waits == pytest.approx([0.0] * 10 + [0.5, 1.0], abs=1e-6)

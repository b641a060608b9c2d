"""How often a login node is tried: never so that it would shut us out."""

from __future__ import annotations

import pytest

from passerelle.errors import PasserelleError, Unauthorized, Unavailable
from passerelle.gateways.ssh.pauses import FAILED_FIRST, FAILED_MOST, REFUSED_MOST, STEADY_SECONDS, Pauses

REFUSED = Unauthorized("Refused.", reason="LoginRefused")
DOWN = Unavailable("Down.", reason="Unreachable", sent=False)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pauses(clock: Clock) -> Pauses:
    return Pauses(clock)


def tries(pauses: Pauses, clock: Clock, error: Unauthorized | Unavailable, seconds: float, digest: str = "a") -> int:
    """How many tries so much time allows, asked every second, each ending the same way."""
    done, end = 0, clock.now + seconds
    while clock.now < end:
        held: PasserelleError | None = None
        try:
            pauses.hold(digest)
        except PasserelleError as raised:
            held = raised
        if held is None:
            done += 1
            pauses.failed(error, digest)
        else:
            assert (type(held), held.message) == (type(error), error.message)
        clock.now += 1
    return done


def test_a_refused_credential_is_shown_a_few_times_an_hour_and_then_once(pauses: Pauses, clock: Clock) -> None:
    assert tries(pauses, clock, REFUSED, 3600) == 5
    assert tries(pauses, clock, REFUSED, 24 * 3600) <= 24 * 3600 / REFUSED_MOST + 1


def test_a_host_that_is_down_is_tried_more_often_but_not_often(pauses: Pauses, clock: Clock) -> None:
    assert tries(pauses, clock, DOWN, 300) == 5
    assert tries(pauses, clock, DOWN, 3600) <= 3600 / FAILED_MOST + 1


def test_another_credential_is_tried_at_once(pauses: Pauses, clock: Clock) -> None:
    pauses.failed(REFUSED, "old")
    with pytest.raises(Unauthorized):
        pauses.hold("old")

    pauses.hold("new")


def test_what_is_held_back_was_not_sent_and_says_when_to_ask_again(pauses: Pauses, clock: Clock) -> None:
    pauses.failed(Unavailable("Down.", reason="Unreachable"), "a")
    clock.now += 4

    with pytest.raises(Unavailable) as caught:
        pauses.hold("a")

    assert (caught.value.sent, caught.value.retry_after) == (False, 6.0)


def test_a_connection_that_soon_breaks_counts_as_none(pauses: Pauses, clock: Clock) -> None:
    pauses.lost(DOWN, "a", lived=1.0)

    with pytest.raises(Unavailable):
        pauses.hold("a")


def test_one_that_held_is_made_again_at_once(pauses: Pauses, clock: Clock) -> None:
    pauses.failed(DOWN, "a")
    pauses.lost(DOWN, "a", lived=STEADY_SECONDS)

    pauses.hold("a")
    pauses.failed(DOWN, "a")
    clock.now += 10.0
    pauses.hold("a")  # the first pause again, and not the second one


def test_connections_that_break_together_count_as_one(pauses: Pauses, clock: Clock) -> None:
    for _ in range(2):
        pauses.lost(DOWN, "a", lived=1.0)

    clock.now += FAILED_FIRST
    pauses.hold("a")

"""The small parts of courtesy: haste, turns, periods, and what a profile says of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from passerelle.doctor import door
from passerelle.gateways.open import DRIVERS
from passerelle.haste import EARLY, Haste
from passerelle.periods import MUTE, READERS, Periods, periods
from passerelle.profiles import load, names
from passerelle.rota import Rota
from plans import site


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_some_looks_may_come_early_one_after_the_other_and_then_as_many_in_a_period() -> None:
    clock = Clock()
    haste = Haste(clock)
    looks = []
    for _ in range(10 * 120):
        if haste.wait(120) == 0:
            haste.take(120)
            looks.append(clock.now - 1000)
        clock.now += 1

    assert looks[:EARLY] == [0, 1, 2, 3]
    assert 10 * EARLY <= len(looks) <= EARLY + 10 * EARLY


def test_haste_is_forgotten_after_a_period() -> None:
    clock = Clock()
    haste = Haste(clock)
    for _ in range(EARLY):
        haste.take(30)
    assert haste.wait(30) == pytest.approx(30 / EARLY)
    clock.now += 30
    assert haste.wait(30) == 0


def test_of_many_that_run_each_has_its_turn() -> None:
    clock = Clock()
    rota = Rota(clock)
    running = [str(number) for number in range(10)]
    seen: list[str] = []
    for _ in range(5):
        turn = rota.turn(running, 2.0)
        rota.took(turn, len(turn))
        seen += turn
        clock.now += 60

    assert sorted(seen) == sorted(running)
    assert rota.waited() == 300


def test_all_have_their_turn_where_the_room_is_for_all() -> None:
    assert Rota(Clock()).turn(["1", "2"], 2.0) == ["1", "2"]


def test_what_a_job_costs_is_learnt() -> None:
    clock = Clock()
    rota = Rota(clock)
    running = [str(number) for number in range(100)]
    for _ in range(12):
        rota.took(rota.turn(running, 10.0), 1)  # one command tells of all
        clock.now += 60
    assert len(rota.turn(running, 10.0)) == 100
    for _ in range(12):
        rota.took(turn := rota.turn(running, 10.0), 5 * len(turn))
        clock.now += 60
    assert len(rota.turn(running, 10.0)) == 2


def test_without_room_nobody_is_asked_and_with_a_little_at_least_one() -> None:
    rota = Rota(Clock())
    rota.took(rota.turn(["1", "2"], 2.0), 20)

    assert rota.turn(["1", "2"], 0.0) == rota.turn(["1", "2"], -3.0) == []
    assert len(rota.turn(["1", "2"], 0.5)) == 1


def test_a_period_is_never_shorter_than_the_machines_least() -> None:
    found = periods(site(profile="lumi-g", pollingPeriod="45s", progressPeriod="5m"), load("lumi-g"))

    assert (found.look, found.progress, found.raised) == (120, 300, ("pollingPeriod",))


def test_a_default_that_is_too_short_is_raised_without_a_word() -> None:
    found = periods(site(profile="lumi-g"), load("lumi-g"))

    assert (found.look, found.progress, found.raised) == (120, 120, ())


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_each_kind_of_gateway_hears_of_a_job_is_known_by_name(driver: str) -> None:
    kind = DRIVERS[driver].kind()

    assert ("comment" in kind.traits.silent) == (driver in MUTE)
    assert callable(getattr(kind, "read", None)) == (driver in READERS)


def at(driver: str, **more: object) -> Periods:
    """A Site of that kind, on a machine that says nothing of periods."""
    gateway = {"driver": driver, "url": "https://site.example.eu", "credentials": {"name": "t"}}
    gateway |= {"firecrest": {"system": "s"}, "ssh": {"url": "ssh://site.example.eu"}}.get(driver, {})
    return periods(site(profile="vega-gpu", gateway=gateway, **more), load("vega-gpu"))


@pytest.mark.parametrize(
    "driver,more,expected",
    [
        ("slurmrestd", {}, (60, 300, 300)),
        ("ssh", {}, (60, 300, 60)),
        ("unicore", {}, (60, 300, 60)),
        ("firecrest", {}, (60, None, 60)),
        ("arc", {"commentPeriod": "1m"}, (60, None, 60)),
        ("slurmrestd", {"commentPeriod": "2m"}, (60, 120, 120)),
        ("slurmrestd", {"commentPeriod": "1s"}, (60, 60, 60)),
        ("ssh", {"progressPeriod": "10m"}, (600, 600, 600)),
        ("slurmrestd", {"progressPeriod": "10m", "commentPeriod": "20m"}, (600, 1200, 1200)),
    ],
)
def test_a_comment_has_a_longer_period_and_progress_is_as_old_where_nothing_else_is_heard(
    driver: str, more: dict[str, object], expected: tuple[int, int | None, int]
) -> None:
    found = at(driver, **more)

    assert (found.progress, found.comment, found.read) == expected


def test_the_least_comment_period_is_five_minutes_where_a_site_says_nothing() -> None:
    least = {name: load(name).least_comment_period_seconds for name in names()}

    assert {name: each for name, each in least.items() if each != 300} == {"sandbox": 1, "sandbox-bare": 1}


def test_a_progress_period_that_is_shorter_than_a_comments_is_told_where_nothing_else_is_heard() -> None:
    found = at("slurmrestd", progressPeriod="2m")

    assert found.told("vega-gpu") == (
        "progressPeriod is 2m, and this gateway shows a job's progress by its comment alone, which the job writes "
        "every 300s: it counts as 300s."
    )
    assert found.fix == (
        "Write a progressPeriod of 300s or more, or leave it out; or a shorter commentPeriod, if the site agrees to so "
        "many requests to its slurmctld."
    )
    assert not found.as_written
    assert at("slurmrestd", progressPeriod="2m", commentPeriod="3m").as_written, "whoever wrote both knows"
    assert at("ssh", progressPeriod="2m").as_written
    assert at("slurmrestd").as_written
    assert at("slurmrestd", commentPeriod="10s").raised == ("commentPeriod",)


def test_the_least_period_is_half_a_minute_where_a_site_says_nothing() -> None:
    least = {name: load(name).least_period_seconds for name in names()}

    assert {name: each for name, each in least.items() if each != 30} == {
        "lumi-g": 120,
        "sandbox": 1,
        "sandbox-bare": 1,
    }


def test_the_doctor_tells_of_a_period_that_does_not_count() -> None:
    told = {each.id: each for each in door.site("lumi", site(profile="lumi-g", pollingPeriod="5s"), load("lumi-g"))}

    assert told["BelowFloor"].verdict == "warning"
    assert "pollingPeriod is shorter than 120s" in told["BelowFloor"].text
    assert told["BelowFloor"].fix == "Write 120s or more, or leave it out."
    assert "BelowFloor" not in {each.id for each in door.site("lumi", site(profile="lumi-g"), load("lumi-g"))}

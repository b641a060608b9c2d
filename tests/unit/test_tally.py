"""The contract suite's closing line: what passed on a live server, and what did not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from contract.tally import SERVER, tally


@dataclass
class Report:
    """A phase of a test, as pytest tells of it."""

    nodeid: str
    outcome: str = "passed"
    when: str | None = "call"
    user_properties: list[tuple[str, Any]] = field(default_factory=list)


def of(gateway: str, nodeid: str, *, server: str = "", recorded: bool = False, **more: str) -> Report:
    facts: list[tuple[str, Any]] = [("gateway", gateway), ("recorded", recorded)]
    return Report(nodeid, user_properties=facts + ([(SERVER, server)] if server else []), **more)


LIVE = {"sid", "unicore"}


def test_a_key_for_each_driver_and_server_version() -> None:
    told = [of("sid", "a", server="slurmrestd 26.05.5"), of("unicore", "b", server="unicore 11.0.0")]

    assert tally(told, live=LIVE) == {
        "slurmrestd 26.05.5": {"live": True, "passed": 1, "failed": 0, "recorded": 0, "skipped": 0},
        "unicore 11.0.0": {"live": True, "passed": 1, "failed": 0, "recorded": 0, "skipped": 0},
    }


def test_a_recorded_row_is_never_passed_by_a_server() -> None:
    told = [of("unicore", "a", server="unicore 11.0.0"), of("unicore", "b", recorded=True)]

    assert tally(told, live=LIVE)["unicore 11.0.0"] == {
        "live": True, "passed": 1, "failed": 0, "recorded": 1, "skipped": 0,
    }  # fmt: skip


def test_recorded_rows_alone_make_no_server_live() -> None:
    assert tally([of("unicore", "b", recorded=True)], live=LIVE) == {
        "unicore": {"live": False, "passed": 0, "failed": 0, "recorded": 1, "skipped": 0}
    }


def test_make_believe_is_not_live() -> None:
    assert tally([of("memory", "a", server="memory")], live=LIVE)["memory"]["live"] is False


def test_a_row_that_fails_in_any_phase_failed_once() -> None:
    for phases in (("passed", "failed"), ("failed", "passed"), ("failed", "failed")):
        told = [
            of("sid", "a", server="s", when=when, outcome=outcome)
            for when, outcome in zip(("call", "teardown"), phases, strict=True)
        ]
        assert (tally(told, live=LIVE)["s"]["passed"], tally(told, live=LIVE)["s"]["failed"]) == (0, 1)


def test_a_site_that_can_t_be_started_fails_its_rows() -> None:
    assert tally([of("sid", "a", when="setup", outcome="failed")], live=LIVE) == {
        "sid": {"live": False, "passed": 0, "failed": 1, "recorded": 0, "skipped": 0}
    }


def test_a_skipped_row_is_told_and_a_recorded_row_may_fail() -> None:
    told = [
        of("sid", "a", server="s", when="setup", outcome="skipped"),
        of("sid", "b", recorded=True, outcome="failed"),
    ]

    assert tally(told, live=LIVE)["s"] == {"live": True, "passed": 0, "failed": 1, "recorded": 0, "skipped": 1}


def test_other_tests_are_not_counted() -> None:
    assert tally([Report("x")], live=LIVE) == {}

"""What the check of three truths says of attempts that a person asked for."""

from __future__ import annotations

import pytest

from faults.history import Blow, Job, Task, Told, What, check

RUN = "psr-" + "a" * 26
TOLD = Told(finished=True, succeeded="True", reason="Completed", attempts=2, job_ids=("7", "8"))


def judged(first: str, *, again: int = 0, paused: int = 0) -> list[str]:
    """Of a run with two attempts, the second of which completed."""
    jobs = (Job("7", f"{RUN}-1", first), Job("8", f"{RUN}-2", "COMPLETED"))
    executed = {f"{RUN}-1": ["7"], f"{RUN}-2": ["8"]}
    task = Task("job-0", RUN, "ok", paused=paused, again=again)
    return check([task], jobs, executed, {"job-0": TOLD}).defects


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "CANCELLED"])
def test_what_a_person_asks_for_again_may_follow_any_end(end: str) -> None:
    assert judged(end, again=1) == []
    assert judged(end) == ["job-0 has 2 attempts, where one was asked for"]


def test_what_was_suspended_follows_no_failure() -> None:
    assert judged("CANCELLED", paused=2) == []
    assert judged("FAILED", paused=2) == ["job-0 has 2 attempts, and nothing befell number 1"]


def test_what_was_suspended_may_be_lost_and_goes_on_all_the_same() -> None:
    jobs = (Job("7", f"{RUN}-1", "RUNNING", known=False), Job("8", f"{RUN}-2", "COMPLETED"))
    executed = {f"{RUN}-1": ["7"], f"{RUN}-2": ["8"]}
    lost = [Blow(f"{RUN}-1", "7", What.LOST)]

    def judged_so(task: Task) -> list[str]:
        return check([task], jobs, executed, {"job-0": TOLD}, blows=lost).defects

    assert judged_so(Task("job-0", RUN, "ok", paused=1)) == []
    assert judged_so(Task("job-0", RUN, "ok", most=2)) == ["job-0 has 2 attempts, and nothing befell number 1"]

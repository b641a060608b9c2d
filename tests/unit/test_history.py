"""What the check of three truths says of attempts that a person asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from faults.history import Blow, Job, Task, Told, What, check

RUN = "psr-" + "a" * 26
TOLD = Told(finished=True, succeeded="True", reason="Completed", attempts=2, job_ids=("7", "8"))


def judged(first: str, *, again: int = 0, paused: int = 0, blows: Collection[Blow] = ()) -> list[str]:
    """Of a run with two attempts, the second of which completed."""
    jobs = (Job("7", f"{RUN}-1", first), Job("8", f"{RUN}-2", "COMPLETED"))
    executed = {f"{RUN}-1": ["7"], f"{RUN}-2": ["8"]}
    task = Task("job-0", RUN, "ok", paused=paused, again=again)
    return check([task], jobs, executed, {"job-0": TOLD}, blows=blows).defects


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED", "TIMEOUT"])
def test_what_a_person_asks_for_again_may_follow_any_failure(end: str) -> None:
    assert judged(end, again=1) == []
    assert judged(end) == ["job-0 has 2 attempts, where one was asked for"]


def test_nobody_asks_for_more_after_a_success_unless_that_was_forgotten() -> None:
    forgotten = [Blow(f"{RUN}-1", "7", What.LOST)]

    assert judged("COMPLETED", again=1) == ["job-0 has 2 attempts, and nothing befell number 1"]
    assert judged("COMPLETED", again=1, blows=forgotten) == []


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


FIRST, SECOND = f"{RUN}-1", f"{RUN}-2"
FAILED_NODE = [Blow(FIRST, "7", What.NODE_FAIL, 10)]


def tried_twice(*first: Job, at: int, began: tuple[str, ...] = ("7",), blows: list[Blow] | None = None) -> list[str]:
    """Of a run whose second attempt was submitted at this second."""
    jobs = [*first, Job("8", SECOND, "COMPLETED", at, over=True, ended=at + 50)]
    executed = {SECOND: ["8"]} | ({FIRST: list(began)} if began else {})
    task = Task("job-0", RUN, "ok", most=2)
    return check([task], jobs, executed, {"job-0": TOLD}, blows=blows or FAILED_NODE).wrong_end


@pytest.mark.parametrize("at,early", [(20, 880), (899, 1), (900, 0), (901, 0)])
def test_the_next_attempt_comes_after_the_end_and_the_same_second_is_after(at: int, early: int) -> None:
    first = Job("7", FIRST, "NODE_FAIL", 10, over=True, ended=900)

    wrong = tried_twice(first, at=at)

    assert wrong == ([f"job-0: attempt 2 was submitted {early} s before number 1 had ended"] if early else [])


def test_the_end_of_the_job_that_was_the_attempt_counts_and_no_twin_s() -> None:
    first = Job("7", FIRST, "NODE_FAIL", 10, over=True, ended=90)
    turned_away = Job("6", FIRST, "FAILED", 11, over=True, ended=200)
    later = Job("9", FIRST, "CANCELLED", 150, over=True, ended=300)

    assert tried_twice(first, turned_away, later, at=100) == []
    assert tried_twice(replace(first, ended=190), turned_away, later, at=100) != []
    waited = replace(first, ended=190), replace(turned_away, state="NODE_FAIL", ended=95)
    assert tried_twice(*waited, at=100, began=()) == [], "of those that never began, one had come to nothing"
    assert tried_twice(*waited, at=94, began=()) != []


def test_what_was_lost_ends_when_nobody_looks() -> None:
    first = Job("7", FIRST, "NODE_FAIL", 10, over=True, ended=900)

    assert tried_twice(first, at=500, blows=[*FAILED_NODE, Blow(FIRST, "7", What.LOST, 10)]) == []


class TestDeleted:
    def judged(self, *jobs: Job, task: Task | None = None, **facts: object) -> list[str]:
        return check([task or Task("job-0", RUN, "deleted", deleted_at=1000.0)], jobs, {}, {}, **facts).defects  # type: ignore[arg-type]

    @pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"])
    def test_its_job_ends_within_some_seconds(self, state: str) -> None:
        in_time = Job("7", FIRST, state, 900, over=True, ended=1060)
        late = replace(in_time, ended=1061, by="1000" if state == "CANCELLED" else "")

        assert self.judged(in_time) == []
        words = "CANCELLED by 1000" if state == "CANCELLED" else state
        assert self.judged(late) == [f"job-0 was deleted, and its job 7 is {words}, 61 s later"]

    def test_while_nobody_could_act_it_may_go_on(self) -> None:
        task = Task("job-0", RUN, "deleted", deleted_at=1000.0, hit=40.0)

        assert self.judged(Job("7", FIRST, "COMPLETED", 900, over=True, ended=1100), task=task) == []
        assert self.judged(Job("7", FIRST, "COMPLETED", 900, over=True, ended=1101), task=task) != []

    def test_where_no_moment_is_known_its_trainer_s_own_end_tells(self) -> None:
        task, failed = Task("job-0", RUN, "deleted"), Job("7", FIRST, "FAILED", 900, over=True)

        assert self.judged(failed, task=task) == []
        assert self.judged(failed, task=task, ended={FIRST: ["7+0"]}) == ["job-0 was deleted, and its job 7 is FAILED"]

    def test_a_job_that_somebody_else_ended_says_nothing_of_it(self) -> None:
        task, late = Task("job-0", RUN, "deleted", deleted_at=1000.0), Job("7", FIRST, "CANCELLED", 900, ended=1500)
        others = [Blow(FIRST, "7", What.CANCELLED, 900)]

        found, alone = (check([task], [late], {}, {}, blows=blows) for blows in (others, []))

        assert (found.orphans, found.stopping_seconds) == ([], 0.0)
        assert (len(alone.orphans), alone.stopping_seconds) == (1, 500.0)

    def test_it_has_no_more_attempts_than_another_may_have(self) -> None:
        jobs = [Job(str(each), f"{RUN}-{each}", "CANCELLED", 10 * each, over=True) for each in range(1, 6)]
        task = Task("job-0", RUN, "deleted")

        assert self.judged(*jobs[:1], task=task) == []
        assert self.judged(*jobs, task=task) == ["job-0 has 5 attempts, where one was asked for"]
        assert self.judged(*jobs[:2], task=replace(task, most=2)) == [
            "job-0 has 2 attempts, and nothing befell number 1"
        ]


def test_who_cancelled_a_job_is_said() -> None:
    jobs = [Job("7", FIRST, "CANCELLED", 10, over=True, by="1000")]
    told = Told(finished=True, succeeded="False", reason="Cancelled", attempts=1, job_ids=("7",))

    (said,) = check([Task("job-0", RUN, "ok")], jobs, {FIRST: ["7"]}, {"job-0": told}).defects

    assert said.endswith("accounting says CANCELLED by 1000")

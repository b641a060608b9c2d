"""Turns: the oldest first, and a site that takes no more jobs is asked by a few."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from passerelle.line import Door, Limit, Line
from passerelle.objects import Key, TrainingJob, trainingjob


def job(uid: int, created: int = 0) -> TrainingJob:
    meta = {"namespace": "team", "name": str(uid), "uid": f"{uid:04}", "resourceVersion": "1"}
    made = trainingjob({"metadata": meta, "spec": {"site": "lumi"}})
    return replace(made, created=f"{created:04}")


def key(uid: int) -> Key:
    return Key("team", str(uid))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 3)), max_size=40))
def test_a_line_is_in_order_whoever_joins_and_leaves(steps: list[tuple[bool, int, int]]) -> None:
    line, there = Line(), dict[int, int]()
    for joins, uid, created in steps:
        if joins:
            line.join(job(uid, there.setdefault(uid, created)))
        else:
            assert line.leave(job(uid, there.get(uid, created))) is (there.pop(uid, None) is not None)
    order = sorted((created, uid) for uid, created in there.items())

    assert [each for _, each in line.first(len(line))] == [key(uid) for _, uid in order]
    assert [line.before(job(uid, created)) for created, uid in order] == list(range(len(order)))
    assert line.first(-1) == []


def test_who_cannot_come_is_passed_by_nobody_until_it_has_been_kept_long_enough() -> None:
    line = Line()
    for uid in (1, 2, 3):
        line.join(job(uid))
        line.keep(job(uid), 10 + uid)
    line.keep(job(1), 99)
    line.join(job(2))
    line.keep(job(3), inf)
    line.keep(job(4), 5)
    assert (line.lapse(10), line.before(job(3))) == (False, 2)
    assert line.lapse(11), "counted from the first word on"
    assert [each for _, each in line.first(3)] == [key(2), key(3)]
    assert not line.lapse(1000)
    assert line.leave(job(3))
    assert not line.leave(job(1))


def test_who_should_have_tried_again_long_ago_is_waited_for_no_more() -> None:
    door = full(waiting=3)
    door.refused(job(1), 50)
    door.refused(job(2), 40)
    assert (door.lapse(39), door.shut("0100")) == ([], True)
    assert door.lapse(40) == [key(100)]
    door.refused(job(1), 90)
    assert door.lapse(50) == []
    assert door.lapse(90) == [key(100), key(101), key(102)], "all of them"
    assert not door.shut("0100")


def full(*refused: int, waiting: int = 5) -> Door:
    door = Door()
    for uid in refused:
        door.refused(job(uid))
    for uid in range(100, 100 + waiting):
        door.line.join(job(uid))
    return door


def test_a_door_is_open_until_a_job_is_refused_and_again_when_the_last_of_these_is_taken() -> None:
    assert not Door().shut("0100")
    door = full(1, 2)
    assert [door.shut(uid) for uid in ("0001", "0002", "0100")] == [False, False, True]
    door.taken(job(1))
    assert door.shut("0104")
    assert door.taken(job(2)) == [key(uid) for uid in range(100, 105)], "all of them"
    assert not door.shut("0104")


def test_each_that_is_taken_lets_the_next_one_try_whoever_it_was() -> None:
    door = full(1, 2)
    assert door.taken(job(1)) == [key(100)]
    assert (door.shut("0100"), door.shut("0101")) == (False, True)
    door.line.leave(job(100))
    assert door.taken(job(100)) == [key(101)], "it was taken, too"
    door.line.leave(job(101))
    door.refused(job(101))
    assert door.one_more() == [key(102)], "one of ours has ended"
    assert door.taken(job(999)) == [key(103)]
    assert door.shut("0104")


def test_where_nobody_waits_nobody_is_let_in() -> None:
    assert full(1, 2, waiting=0).taken(job(1)) == []
    assert Door().taken(job(1)) == []


def limited(*refused: int, waiting: int = 5) -> Limit:
    limit = Limit()
    for uid in refused:
        limit.tried(job(uid))
    for uid in range(100, 100 + waiting if limit.shut("0100") else 100):
        limit.wait(job(uid))
    return limit


def test_a_limit_shuts_when_a_few_were_refused_and_these_alone_try_again() -> None:
    assert not limited(1, 2, 3).shut("0100")
    limit = limited(1, 2, 3, 4, 5)
    assert [limit.shut(f"{uid:04}") for uid in (1, 4, 5, 100)] == [False, False, True, True]


def test_each_that_is_refused_again_lets_another_try_the_least_refused_first() -> None:
    limit = limited(1, 2, 3, 4, 5)
    limit.wait(job(5))
    assert limit.tried(job(1)) == [key(100)], "the fifth was refused once"
    limit.line.leave(job(100))
    assert limit.tried(job(100)) == []
    assert limit.shut("0100")
    limit.wait(job(100))
    assert [limit.tried(job(2))[0] for _ in range(6)] == [*(key(uid) for uid in (101, 102, 103, 104)), key(5), key(100)]


def test_each_that_is_taken_lets_the_next_one_try_and_the_last_of_the_few_opens_the_limit() -> None:
    limit = limited(1, 2, 3, 4)
    assert limit.taken(job(1)) == [key(100)]
    assert limit.shut("0101"), "others wait before it"
    limit.line.leave(job(100))
    assert limit.taken(job(100)) == [key(101)]
    for uid in (2, 3):
        limit.leave(job(uid))
    assert limit.leave(job(4)) == [key(uid) for uid in range(101, 105)]
    assert not limit.shut("0104")

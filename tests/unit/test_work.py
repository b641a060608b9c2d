"""The queue: no key twice at once, none forgotten, defects outlived."""

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

import virtual_time
from passerelle.work import WorkQueue


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in virtual time: a busy machine changes nothing."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        virtual_time.run(test(*args, **named))

    return run


@contextlib.asynccontextmanager
async def running(queue: WorkQueue[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@virtual
async def test_no_key_is_worked_on_twice_at_once_and_a_key_added_meanwhile_runs_again() -> None:
    at_once: Counter[str] = Counter()
    passes: Counter[str] = Counter()
    most = 0

    async def work(key: str) -> None:
        nonlocal most
        at_once[key] += 1
        most = max(most, at_once[key])
        await asyncio.sleep(0.01)
        passes[key] += 1
        at_once[key] -= 1

    queue: WorkQueue[str] = WorkQueue("site", work, workers=4)
    async with running(queue):
        queue.add("a")
        await asyncio.sleep(0.005)
        for _ in range(10):
            queue.add("a")
            queue.add("b")
        await asyncio.sleep(0.08)

    assert most == 1
    assert passes == Counter(a=2, b=1)


@virtual
async def test_workers_bound_how_many_keys_are_in_hand() -> None:
    now, most = 0, 0

    async def work(_: str) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1

    queue: WorkQueue[str] = WorkQueue("site", work, workers=3)
    async with running(queue):
        for number in range(20):
            queue.add(str(number))
        await asyncio.sleep(0.1)

    assert (most, queue.depth) == (3, 0)


@virtual
async def test_a_key_is_due_again_when_its_pass_says_so_and_earlier_if_something_happens() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(_: str) -> float | None:
        times.append(loop.time())
        return 0.05 if len(times) == 1 else 60.0

    queue: WorkQueue[str] = WorkQueue("site", work)
    async with running(queue):
        queue.add("a")
        await asyncio.sleep(0.1)
        queue.add("a")
        await asyncio.sleep(0.02)

    assert len(times) == 3
    assert times[1] - times[0] >= 0.05


@virtual
async def test_a_pass_that_fails_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("passerelle.work.FIRST_BACKOFF_SECONDS", 0.01)
    passes = 0

    async def work(_: str) -> None:
        nonlocal passes
        passes += 1
        if passes < 3:
            raise RuntimeError("a defect")

    queue: WorkQueue[str] = WorkQueue("site", work)
    async with running(queue):
        queue.add("a")
        await asyncio.sleep(0.2)

    assert passes == 3
    assert [record.message for record in caplog.records] == ["pass failed", "pass failed"]


@virtual
async def test_a_pass_in_hand_is_finished_when_the_queue_ends() -> None:
    finished = False
    begun = asyncio.Event()

    async def work(_: str) -> None:
        nonlocal finished
        begun.set()
        await asyncio.sleep(0.05)
        finished = True

    queue: WorkQueue[str] = WorkQueue("site", work)
    async with running(queue):
        queue.add("a")
        await begun.wait()

    assert finished


@virtual
async def test_a_dropped_key_is_not_due_again() -> None:
    passes = 0

    async def work(_: str) -> float | None:
        nonlocal passes
        passes += 1
        return 0.02

    queue: WorkQueue[str] = WorkQueue("site", work)
    async with running(queue):
        queue.add("a")
        await asyncio.sleep(0.01)
        queue.drop("a")
        await asyncio.sleep(0.05)

    assert passes == 1


@virtual
async def test_what_the_site_told_of_comes_before_what_people_asked_for() -> None:
    done: list[str] = []

    async def work(key: str) -> None:
        await asyncio.sleep(0.01)
        done.append(key)

    queue: WorkQueue[str] = WorkQueue("site", work, workers=1)
    for number in range(5):
        queue.add(f"new-{number}")
    queue.add("runs", first=True)
    queue.add("new-4")  # waits already, and keeps its place
    assert queue.depth == 6
    async with running(queue):
        await asyncio.sleep(0.1)

    assert done == ["runs", *(f"new-{number}" for number in range(5))]


@virtual
async def test_every_fourth_turn_is_the_lanes_however_much_the_site_tells() -> None:
    done: list[str] = []

    async def work(key: str) -> None:
        await asyncio.sleep(0.01)
        done.append(key)

    queue: WorkQueue[str] = WorkQueue("site", work, workers=1)
    for number in range(5):
        queue.add(f"news-{number}", first=True)
    async with running(queue):
        await asyncio.sleep(0.035)
        queue.add("delete")
        queue.add("create")
        for number in range(5, 12):
            queue.add(f"news-{number}", first=True)
        await asyncio.sleep(1)

    assert done.index("delete") == 4 + 3
    assert done.index("create") == done.index("delete") + 4
    assert len(done) == 14


@virtual
async def test_lanes_take_turns_so_that_a_crowd_holds_nobody_else_up() -> None:
    done: list[str] = []

    async def work(key: str) -> None:
        await asyncio.sleep(0.01)
        done.append(key)

    queue: WorkQueue[str] = WorkQueue("site", work, workers=1, lane=lambda key: key[0])
    for number in range(4):
        queue.add(f"a{number}")
    queue.add("b0")
    queue.add("c0")
    async with running(queue):
        await asyncio.sleep(0.035)
        queue.add("b1")  # a lane that was empty goes behind those that wait
        await asyncio.sleep(0.1)

    assert done == ["a0", "b0", "c0", "a1", "a2", "b1", "a3"]


@pytest.mark.parametrize("first", [False, True], ids=["asked-for", "news"])
def test_what_was_begun_goes_on_before_all_else(first: bool) -> None:
    done: list[str] = []

    async def work(key: str) -> float | None:
        await asyncio.sleep(0.01)
        done.append(key)
        return 0.0 if done.count(key) == 1 else None

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue("site", work, workers=2)
        for number in range(4):
            queue.add(str(number), first=first)
        async with running(queue):
            await asyncio.sleep(0.2)

    virtual_time.run(main())
    assert sorted(done[:4]) == ["0", "0", "1", "1"]
    assert sorted(done[4:]) == ["2", "2", "3", "3"]


@virtual
async def test_a_key_that_was_added_while_it_was_worked_on_and_goes_on_at_once_runs_once_more() -> None:
    passes = 0

    async def work(key: str) -> float | None:
        nonlocal passes
        passes += 1
        if passes == 1:
            queue.add(key)
        await asyncio.sleep(0.01)
        return 0.0 if passes == 1 else None

    queue: WorkQueue[str] = WorkQueue("site", work)
    queue.add("a")
    async with running(queue):
        await asyncio.sleep(0.2)

    assert passes == 2


@virtual
async def test_a_key_that_has_urgent_news_by_now_moves_up_and_runs_once() -> None:
    order: list[str] = []

    async def work(key: str) -> None:
        await asyncio.sleep(0.01)
        order.append(key)

    queue: WorkQueue[str] = WorkQueue("site", work, workers=1)
    for key in "abcdef":
        queue.add(key)
    queue.add("e", first=True)
    queue.add("f", first=True)
    queue.add("f", first=True)
    queue.add("f")
    assert queue.depth == 6
    async with running(queue):
        await asyncio.sleep(0.03)
        queue.add("e")  # once more, while the place that it had first is still in the lane
        await asyncio.sleep(0.2)

    assert order == ["e", "f", "a", "b", "c", "d", "e"]
    assert queue.depth == 0


@virtual
async def test_a_key_may_move_up_again_while_the_places_that_it_had_are_still_in_its_lane() -> None:
    order: list[str] = []

    async def work(key: str) -> None:
        await asyncio.sleep(0.01)
        order.append(key)

    queue: WorkQueue[str] = WorkQueue("site", work, workers=1)
    for key in "abcdefgh":
        queue.add(key)
    queue.add("h", first=True)
    async with running(queue):
        for seconds in (0.015, 0.02):  # another one is worked on
            await asyncio.sleep(seconds)
            queue.add("h")
            queue.add("h", first=True)
        queue.add("z")  # behind all of them
        await asyncio.sleep(0.5)

    assert order == ["h", "a", "h", "b", "h", *"cdefgz"]
    assert queue.depth == 0

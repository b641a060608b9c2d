import ast
import asyncio
from pathlib import Path

import pytest

import passerelle
from passerelle.errors import Unavailable
from passerelle.gateways.together import in_turn, together


async def value(of: int) -> int:
    await asyncio.sleep(0.01 * (3 - of))
    return of


async def test_all_values_come_in_the_order_of_their_works() -> None:
    assert await together(value(each) for each in (0, 1, 2)) == [0, 1, 2]


async def test_the_first_failure_ends_the_others_before_it_is_raised() -> None:
    """Else they ask on, though nobody waits for them, and fail once more when the door is closed."""
    told: list[str] = []

    async def fails() -> None:
        raise Unavailable("The site does not answer.", reason="Unreachable", sent=False)

    async def asks() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            told.append("ended")

    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="does not answer"):
            await together((asks(), fails(), asks()))

    assert told == ["ended", "ended"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_so_many_run_at_a_time_and_the_next_begins_as_one_ends() -> None:
    running: set[int] = set()
    most: list[int] = []
    all_begun = asyncio.Event()

    async def asks(which: int, seconds: float) -> int:
        running.add(which)
        most.append(len(running))
        if len(most) == 7:
            all_begun.set()
        await asyncio.sleep(seconds)
        running.discard(which)
        return which

    async with asyncio.timeout(5):
        slow = asyncio.create_task(in_turn((asks(each, 60 if each == 0 else 0) for each in range(7)), 2))
        await all_begun.wait()

    assert max(most) == 2
    slow.cancel()
    assert await in_turn((asks(each, 0) for each in range(7)), 3) == list(range(7))


async def test_what_waits_never_begins_after_a_failure() -> None:
    begun: list[int] = []

    async def asks(which: int) -> None:
        begun.append(which)
        await asyncio.sleep(0)
        raise Unavailable("The site does not answer.", reason="Unreachable", sent=False)

    with pytest.raises(Unavailable, match="does not answer"):
        await in_turn(map(asks, range(9)), 2)

    assert begun == [0, 1]


async def test_who_is_ended_ends_them_all() -> None:
    begun = asyncio.create_task(together((asyncio.sleep(60), asyncio.sleep(60))))
    await asyncio.sleep(0.01)

    begun.cancel()
    await asyncio.gather(begun, return_exceptions=True)

    assert begun.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_nothing_is_gathered_whose_failure_would_leave_the_rest_alone() -> None:
    source = Path(passerelle.__file__).parent
    files = [each for each in source.rglob("*.py") if each.name != "together.py"]
    loose = [
        f"{file.relative_to(source)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "asyncio.gather"
        and not any(word.arg == "return_exceptions" for word in node.keywords)
    ]
    assert loose == []

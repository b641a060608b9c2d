import ast
import asyncio
from pathlib import Path

import pytest

import passerelle
from passerelle.errors import Unavailable
from passerelle.gateways.together import together


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

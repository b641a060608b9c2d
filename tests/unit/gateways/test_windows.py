"""How far accounting is searched, and what becomes of a search that is refused as too wide."""

from __future__ import annotations

from datetime import date

import pytest

from passerelle.errors import Unavailable
from passerelle.gateways.base import DAY_SECONDS
from passerelle.gateways.windows import QUERY_TOO_WIDE, Window, Windows

NOW = 1_782_907_200.0
"""2026-07-01, at noon."""


class Accounting:
    """Refuses what is wider than `most` days; `asked` are the windows."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[Window] = []

    async def ask(self, window: Window) -> list[date]:
        self.asked.append(window)
        start = date.fromisoformat(window.start)
        end = date.fromisoformat(window.end) if window.end else date(2026, 7, 2)
        if (end - start).days > self.most:
            raise Unavailable("too wide", reason=QUERY_TOO_WIDE)
        return [date.fromordinal(each) for each in range(start.toordinal(), end.toordinal())]


async def test_a_search_goes_back_as_far_as_asked_and_no_further() -> None:
    accounting = Accounting(10_000)
    await Windows(lambda: NOW).search(2.5 * DAY_SECONDS, accounting.ask)

    assert accounting.asked == [Window("2026-06-28")]


@pytest.mark.parametrize("most", [1, 7, 30])
async def test_one_that_is_refused_is_made_of_narrower_ones_without_a_gap(most: int) -> None:
    accounting, windows = Accounting(most), Windows(lambda: NOW)
    found = await windows.search(90 * DAY_SECONDS, accounting.ask)
    days = {date.fromordinal(each) for each in range(date(2026, 4, 2).toordinal(), date(2026, 7, 3).toordinal())}
    assert days <= set(found)

    accounting.asked.clear()
    await windows.search(90 * DAY_SECONDS, accounting.ask)
    assert len(accounting.asked) <= 93 / max(most // 2, 1) + 2
    assert all(window.end for window in accounting.asked), "the width is kept: nothing is refused again"


async def test_a_narrow_search_is_one_where_a_wide_one_is_many() -> None:
    accounting, windows = Accounting(30), Windows(lambda: NOW)
    await windows.search(90 * DAY_SECONDS, accounting.ask)
    accounting.asked.clear()
    await windows.search(DAY_SECONDS, accounting.ask)

    assert accounting.asked == [Window("2026-06-30")]


async def test_where_even_a_day_is_refused_that_is_the_error() -> None:
    accounting = Accounting(0)
    with pytest.raises(Unavailable) as caught:
        await Windows(lambda: NOW).search(90 * DAY_SECONDS, accounting.ask)

    assert caught.value.reason == QUERY_TOO_WIDE
    assert len(accounting.asked) < 10


async def test_other_failures_split_nothing() -> None:
    asked = []

    async def ask(window: Window) -> list[str]:
        asked.append(window)
        raise Unavailable("away", reason="AccountingUnavailable")

    with pytest.raises(Unavailable):
        await Windows(lambda: NOW).search(90 * DAY_SECONDS, ask)
    assert len(asked) == 1

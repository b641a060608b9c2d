"""The sieve: what is handed over and what is left are what the whole text says, in whatever pieces it comes."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerelle.gateways import sieve
from passerelle.gateways.sieve import Sieve

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=8)
OTHERS = TEXT.filter(lambda key: key != "jobs")


def sifted(content: bytes, size: int) -> tuple[list[dict[str, Any]], bytes]:
    found: list[dict[str, Any]] = []
    through = Sieve("jobs", found.append)
    for start in range(0, len(content), size):
        through.feed(content[start : start + size])
    return found, through.rest()


@given(
    records=RECORDS,
    before=st.dictionaries(OTHERS, TEXT | st.integers(), max_size=3),
    after=st.dictionaries(OTHERS, VALUES, max_size=3),
    size=st.integers(1, 50),
    piece=st.integers(1, 100),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_nothing_is_lost_and_nothing_is_made_up(
    records: list[dict[str, Any]],
    before: dict[str, Any],
    after: dict[str, Any],
    size: int,
    piece: int,
    indent: int | None,
    ascii_only: bool,
) -> None:
    after = {key: value for key, value in after.items() if key not in before}
    text = json.dumps({**before, "jobs": records, **after}, indent=indent, ensure_ascii=ascii_only)
    usual, sieve.PIECE = sieve.PIECE, piece
    try:
        found, rest = sifted(text.encode(), size)
    finally:
        sieve.PIECE = usual
    assert found == records
    assert json.loads(rest) == {**before, "jobs": [], **after}


@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b'{"errors": [{"error_number": 2007}]}', b"[]", b"null"])
def test_what_has_no_such_list_is_kept_as_it_is(content: bytes) -> None:
    assert sifted(content, 7) == ([], content)


def test_of_a_text_that_is_cut_off_nothing_whole_is_left() -> None:
    content = json.dumps({"jobs": [{"job_id": 1}, {"job_id": 2}], "errors": []}).encode()
    for length in range(content.index(b"[") + 1, len(content)):
        _, rest = sifted(content[:length], 9)
        with pytest.raises(ValueError, match=r"."):
            json.loads(rest)


def test_a_list_of_the_name_within_a_text_is_none() -> None:
    content = json.dumps({"meta": 'a "jobs": [1, 2] in words', "jobs": [{"job_id": 1}]}).encode()
    found, rest = sifted(content, 5)

    assert found == [{"job_id": 1}]
    assert json.loads(rest) == {"meta": 'a "jobs": [1, 2] in words', "jobs": []}


def test_what_is_no_record_and_has_no_end_is_not_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "ELEMENT_LIMIT", 1_000)
    monkeypatch.setattr(sieve, "PIECE", 100)
    content = b'{"jobs": [{"x": "' + b"y" * 10_000

    assert sifted(content, 50) == ([], content)


def test_a_listing_of_20_mb_passes_through_half_a_megabyte() -> None:
    record = json.dumps({"job_id": 1, "name": "theirs"} | {f"field{each}": {"number": each} for each in range(200)})
    pieces = [b'{"jobs": [' + record.encode(), *[b"," + record.encode()] * 4_000, b'], "errors": []}']
    assert sum(map(len, pieces)) > 20e6
    taken = 0

    def take(_: dict[str, Any]) -> None:
        nonlocal taken
        taken += 1

    through = Sieve("jobs", take)
    tracemalloc.start()
    for piece in pieces:
        through.feed(piece)
    rest = through.rest()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (taken, json.loads(rest)) == (4_001, {"jobs": [], "errors": []})
    assert peak < 500_000

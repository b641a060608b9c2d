"""Which entries may be copied together."""

from __future__ import annotations

import pytest

from passerelle.staging.place import place
from passerelle.staging.steps import Direction, Step, overlap


def step(direction: Direction, name: str, path: str, url: str, who: str = "s3") -> Step:
    return Step(name=name, direction=direction, path=path, place=place(url), secret=who)


@pytest.mark.parametrize(
    "paths, meet",
    [
        (("/a/b", "/a/b"), True),
        (("/a/b/", "/a/b"), True),
        (("/a", "/a/b/c"), True),
        (("/a/b", "/a/x/../b/c"), True),
        (("/a/b", "/a/bc"), False),
        (("/a/b", "/a/c"), False),
    ],
)
def test_data_that_lie_within_one_another_are_refused(paths: tuple[str, str], meet: bool) -> None:
    steps = [step("In", f"n{number}", path, f"s3://bucket/{number}/") for number, path in enumerate(paths)]
    for each in (steps, steps[::-1]):
        refusal = overlap(each)
        assert (refusal is not None) == meet
        assert refusal is None or refusal.reason == "CopiesOverlap"


@pytest.mark.parametrize(
    "urls, meet",
    [
        (("s3://bucket/run/", "s3://bucket/run/"), True),
        (("s3://bucket/run/", "s3://bucket/run/log/"), True),
        (("s3://bucket/run/", "s3://bucket/run/log"), True),
        (("s3://bucket/", "s3://bucket/log"), True),
        (("s3://bucket/log", "s3://bucket/log"), True),
        (("s3://bucket/log", "s3://bucket/log2"), False),
        (("s3://bucket/log", "s3://bucket/log/"), False),
        (("s3://bucket/a/", "s3://bucket/b/"), False),
        (("s3://bucket/a/", "s3://other/a/"), False),
    ],
)
def test_outputs_that_may_become_one_object_are_refused(urls: tuple[str, str], meet: bool) -> None:
    steps = [step("Out", f"n{number}", f"/{number}", url) for number, url in enumerate(urls)]
    for each in (steps, steps[::-1]):
        assert (overlap(each) is not None) == meet


def test_stores_of_two_secrets_are_two_stores() -> None:
    assert overlap([step("Out", name, "/a", "s3://bucket/run/", who=name) for name in "ab"]) is None


def test_what_is_read_and_what_is_written_may_be_one() -> None:
    assert overlap([step("In", "a", "/a", "s3://bucket/run/"), step("Out", "b", "/a", "s3://bucket/run/")]) is None

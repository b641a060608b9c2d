"""Which entries may be copied, alone and together."""

from __future__ import annotations

from typing import Any

import pytest

from passerelle.gateways.base import Handover, Transfer
from passerelle.gateways.open import DRIVERS
from passerelle.staging.entries import MOVERS, overlap, refused
from passerelle.staging.place import place
from passerelle.staging.steps import Direction, Step
from plans import job


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


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_drivers_that_move_large_files_are_known_by_name(driver: str) -> None:
    def has(capability: type) -> bool:
        methods = [name for name, value in vars(capability).items() if callable(value) and not name.startswith("_")]
        assert methods
        return all(callable(getattr(DRIVERS[driver].kind(), name, None)) for name in methods)

    assert (has(Transfer) or has(Handover)) == (driver in MOVERS)


COPIED: dict[str, Any] = {"s3": {"url": "s3://bucket/a/", "secretRef": {"name": "s3"}}}
DATA = {"name": "corpus", "path": "/scratch/corpus", "source": COPIED}
OUTPUT = {"name": "model", "path": "final", "destination": COPIED}


@pytest.mark.parametrize(
    "asked, field", [({"data": [DATA]}, "spec.data"), ({"outputs": [OUTPUT]}, "spec.outputs"), ({}, None)]
)
def test_what_a_gateway_does_not_move_is_refused_in_its_field(asked: dict[str, Any], field: str | None) -> None:
    refusal = refused(job(**asked), site="lumi", driver="slurmrestd", moves=False)

    assert (refusal and (refusal.reason, refusal.field)) == (field and ("NeedsFiles", field))
    assert refusal is None or all(each in str(refusal) for each in ("Site lumi", "slurmrestd", *MOVERS))
    assert refused(job(**asked), site="lumi", driver="ssh", moves=True) is None


def test_data_that_lie_there_already_need_no_gateway_that_moves_files() -> None:
    there = {"name": "corpus", "path": "/scratch/corpus"}

    assert refused(job(data=[there]), site="lumi", driver="slurmrestd", moves=False) is None


def test_copies_that_meet_are_refused_in_their_field() -> None:
    twice = [DATA, DATA | {"name": "again"}]
    out = [OUTPUT, OUTPUT | {"name": "log"}]

    for asked, field in (({"data": twice}, None), ({"outputs": out}, "spec.outputs")):
        refusal = refused(job(**asked), site="lumi", driver="ssh", moves=True)
        assert refusal is not None
        assert (refusal.reason, refusal.field) == ("CopiesOverlap", field)

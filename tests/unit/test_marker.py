"""The marker names a run and an attempt, and nothing else does."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerelle.marker import ATTEMPT_LIMIT, Run, parse


@given(st.uuids(), st.integers(1, ATTEMPT_LIMIT))
def test_a_marker_leads_back_to_its_run_and_attempt_and_fits_every_site(uid: uuid.UUID, attempt: int) -> None:
    marker = Run.of_uid(str(uid)).marker(attempt)

    assert parse(marker) == (Run.of_uid(str(uid)), attempt)
    assert re.fullmatch(r"[a-z0-9-]{1,36}", marker)


@given(st.text(max_size=50))
def test_a_name_that_is_no_marker_is_nobodys_job(name: str) -> None:
    parsed = parse(name)

    assert parsed is None or parsed[0].marker(parsed[1]) == name


def test_the_same_run_id_in_another_namespace_is_another_run() -> None:
    runs = {Run.of_run_id("a", "b", "c"), Run.of_run_id("a", "c", "b"), Run.of_run_id("b", "a", "c")}

    assert len(runs) == 3
    assert Run.of_run_id("a", "b", "c") in runs


def test_a_slash_in_a_run_id_is_refused_since_two_triples_could_meet() -> None:
    with pytest.raises(ValueError, match="no slash"):
        Run.of_run_id("a", "b/c", "d")


@pytest.mark.parametrize("attempt", [0, -1, ATTEMPT_LIMIT + 1])
def test_an_attempt_outside_its_bounds_has_no_marker(attempt: int) -> None:
    with pytest.raises(ValueError, match="attempt"):
        Run("psr-" + "a" * 26).marker(attempt)


def test_the_marker_is_stable_over_releases() -> None:
    uid = "12345678-1234-5678-1234-567812345678"

    assert Run.of_uid(uid).marker(7) == "psr-ci2fm6asgrlhqerukz4bencwpa-7"
    assert Run.of_run_id("team-a", "llm", "run-1").marker(1) == "psr-wsrrpoet5t3dpxb7t2munph2ea-1"

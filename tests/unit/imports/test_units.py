"""Times and sizes as Slurm writes them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passerelle.imports.units import duration, slurm_memory, slurm_seconds
from passerelle.v1alpha1.meta import seconds


@pytest.mark.parametrize(
    "text, expected",
    [
        ("90", 5400),
        ("1:30", 90),
        ("12:00:00", 43_200),
        ("1-12", 129_600),
        ("1-12:30", 131_400),
        ("1-12:30:15", 131_415),
        ("0", 0),
        ("UNLIMITED", None),
        ("12h", None),
        ("1:2:3:4", None),
        ("", None),
        ("-1", None),
    ],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(text: str, expected: int | None) -> None:
    assert slurm_seconds(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("480G", "480Gi"),
        ("480g", "480Gi"),
        ("491520", "480Gi"),
        ("494000M", "494000Mi"),
        ("1T", "1024Gi"),
        ("2048K", "2Mi"),
        ("0", None),
        ("all", None),
    ],
)
def test_memory_is_read_as_sbatch_reads_it(text: str, expected: str | None) -> None:
    assert slurm_memory(text) == expected


@given(st.integers(1, 99_999 * 3600))
@settings(deadline=None)  # a busy machine is slow, and no bug
def test_a_duration_loses_nothing(number: int) -> None:
    assert seconds(duration(number)) == number


def test_a_duration_is_bounded_by_what_a_trainingjob_takes() -> None:
    assert duration(0) == "1s"
    assert duration(10**9) == "99999h"

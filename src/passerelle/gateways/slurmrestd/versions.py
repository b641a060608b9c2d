"""The API versions that are spoken, and in what they differ.

A release serves three or four versions: 22.05 up to v0.0.38, 23.02 v0.0.39, 23.11 v0.0.40, … 26.05 v0.0.42 to .45.
v0.0.39 is in no distribution that could be tested: its shapes are from its specification.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from passerelle.batch import Batch
from passerelle.gateways.slurmrestd import encode
from passerelle.gateways.windows import Window

Query = list[tuple[str, str]]


NO_SIGNALS = "its release can't signal a batch script alone: a run that is suspended can't save first"
NO_LIGHT_LISTING = (
    "its release lists the jobs of all users at each look: so it is looked at once a minute at most, and less often "
    "where that takes long"
)


@dataclass(frozen=True, slots=True)
class Version:
    """One version. `light`: has `jobs/state`. `names_cluster`: every answer's meta names the cluster. `signals_batch`:
    can signal the batch script alone.

    `by_submit` has an accounting search go by submit times, from the date that follows the last word. The usual window
    goes by the time at which a job became eligible, so that one held since its submit would never be found by its name.
    """

    number: int
    submit: Callable[[Batch], dict[str, Any]]
    by_submit: tuple[str, ...]
    filters_users: bool = True
    light: bool = True
    names_cluster: bool = True
    signals_batch: bool = True

    @property
    def word(self) -> str:
        return f"v0.0.{self.number}"

    @property
    def slurm(self) -> str:
        return f"slurm/{self.word}"

    @property
    def lacks(self) -> tuple[str, ...]:
        """What it can't do, in clauses."""
        return (() if self.signals_batch else (NO_SIGNALS,)) + (() if self.light else (NO_LIGHT_LISTING,))

    def submitted(self, window: Window) -> Query:
        """Jobs that were submitted in this window. Dates, since v0.0.38, .40 and .41 refuse epoch seconds."""
        *flags, start = self.by_submit
        query = [*((flag, "true") for flag in flags), (start, window.start)]
        return query if window.end is None else [*query, ("end_time", window.end)]

    @property
    def slurmdb(self) -> str:
        return f"slurmdb/{self.word}"


_BY_SUBMIT = ("usage_time_as_submit_time", "start_time")
_SUBMITTED = ("submit_time",)

KNOWN = (
    *(Version(number, encode.submit_v39, _BY_SUBMIT) for number in range(45, 39, -1)),
    Version(39, encode.submit_v39, _SUBMITTED, light=False, names_cluster=False, signals_batch=False),
    Version(
        38, encode.submit_v38, _SUBMITTED, filters_users=False, light=False, names_cluster=False, signals_batch=False
    ),
)
"""Newest first."""

NEWEST = KNOWN[0]

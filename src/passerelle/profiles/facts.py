"""What every group of facts has: where it was read, and how sure it is.

A fact that was looked for and not found is absent, and absent means unknown: nothing here is guessed. The confidence
of a group is that of its weakest fact, so a doubtful fact stands in a group of its own.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from passerelle.v1alpha1.meta import ABSOLUTE_PATH, DURATION_HELP, DURATION_PATTERN, SLURM_WORD, Model, seconds

Confidence = Literal["high", "medium", "low"]
"""high: the site says so. medium: users' configurations, or an old text of the site. low: one voice, or two at odds."""

MEMORY_PATTERN = r"^[1-9][0-9]{0,8}(Mi|Gi|Ti)$"
_MIB = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
_SECONDS_PER_MINUTE = 60


def mib(memory: str) -> int:
    """MiB of an amount like 480Gi. Slurm's own M and G are these, too."""
    return int(memory[:-2]) * _MIB[memory[-2:]]


def _minutes(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(DURATION_PATTERN, value) or seconds(value) % _SECONDS_PER_MINUTE:
        raise ValueError(f"{value!r} is no time in whole minutes: {DURATION_HELP}")
    return seconds(value) // _SECONDS_PER_MINUTE


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(DURATION_PATTERN, value):
        raise ValueError(f"{value!r} is no time: {DURATION_HELP}")
    return seconds(value)


def _mib(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(MEMORY_PATTERN, value):
        raise ValueError(f"{value!r} is no amount of memory: write it like 480Gi")
    return mib(value)


Path = Annotated[str, Field(max_length=1024, pattern=ABSOLUTE_PATH)]
Word = Annotated[str, Field(max_length=64, pattern=SLURM_WORD)]
Text = Annotated[str, Field(min_length=1, max_length=400)]
Count = Annotated[int, Field(ge=1)]
Minutes = Annotated[int, BeforeValidator(_minutes), Field(ge=1)]
"""Written as a Duration, like 48h."""
Seconds = Annotated[int, BeforeValidator(_seconds), Field(ge=1)]
"""Likewise, like 2m."""
Mib = Annotated[int, BeforeValidator(_mib), Field(ge=1)]
"""Written with its unit, like 480Gi."""
Environment = Annotated[dict[str, str], Field(max_length=64)]


class Facts(Model):
    """A group of facts. `source` holds keys of the profile's `sources`."""

    model_config = ConfigDict(extra="forbid")  # a misspelt fact would read as unknown

    source: list[Word] = Field(min_length=1, max_length=8)
    confidence: Confidence

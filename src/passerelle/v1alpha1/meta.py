"""The shapes that the kinds share: the base model, rules for the API server, durations, times, conditions.

A model says beside each field what the API server shall refuse, in words that tell what to write instead. A pattern's
message shows a regular expression, so whatever a person is likely to mistype carries a rule with a sentence, too.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

DURATION_PATTERN = r"^([0-9]{1,5}(h|m|s)){1,3}$"
DURATION_HELP = "write hours, minutes and seconds, like 12h, 1h30m or 90s: 24h for a day, 36h for Slurm's 1-12:00:00"
DURATION_ZERO = "write at least one second: to Slurm, no time means no limit"

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

SLURM_WORD = r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$"
"""Names of accounts, QoS, partitions and reservations: no space, comma, quote or newline, and no option in disguise."""

ABSOLUTE_PATH = r"^/[^\x00\n\r]*$"

NO_NUL = r"^[^\x00]*$"
"""Whatever an argument vector or an environment can carry, newlines and quotes included."""

_UNITS = {"h": 3600, "m": 60, "s": 1}


def rules(*each: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """What the API server checks beside the schema; goes into `json_schema_extra`."""
    return {"x-kubernetes-validations": list(each)}


def rule(expression: str, message: str, **more: JsonValue) -> dict[str, JsonValue]:
    """One CEL rule. `more` is the API's own: reason, fieldPath."""
    return {"rule": expression, "message": message, **more}


def matching(pattern: str, message: str) -> dict[str, JsonValue]:
    """The rule that a string follows a pattern, with a sentence for a person. CEL's raw strings need no escapes."""
    return rule(f"self.matches(r'{pattern}')", message)


def map_list(*keys: str) -> dict[str, JsonValue]:
    """A list whose items are known by these keys: two managers may own one item each. Other lists have one owner."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def seconds(duration: str) -> int:
    """Seconds of a Duration; `1h30m` is 5400."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(h|m|s)", duration))


def _check_duration(text: str) -> str:
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is no duration: {DURATION_HELP}")
    if not seconds(text):
        raise ValueError(f"{text!r} is no duration: {DURATION_ZERO}")
    return text


Duration = Annotated[
    str,
    Field(
        max_length=18,
        json_schema_extra={
            "pattern": DURATION_PATTERN,  # for editors and other clients, which read no rules
            **rules(
                matching(DURATION_PATTERN, DURATION_HELP),
                rule("self.matches('[1-9]') || !self.matches('[0-9]')", DURATION_ZERO),
            ),
        },
    ),
    AfterValidator(_check_duration),
]
"""Hours, minutes and seconds, at least one second."""

Time = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
"""A moment as Kubernetes writes it: RFC 3339."""


class Model(BaseModel):
    """Camel case outside, snake case inside. What a newer CRD knows and this code doesn't is ignored, not removed."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Condition(Model):
    """A condition as Kubernetes writes them."""

    type: str = Field(max_length=63, description="type is the condition's name.")
    status: Literal["True", "False", "Unknown"] = Field(description="status is True, False or Unknown.")
    observed_generation: int = Field(
        default=0,
        ge=0,
        description="observedGeneration is the metadata.generation that this condition speaks of.",
    )
    last_transition_time: Time = Field(description="lastTransitionTime is when the status last changed.")
    reason: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z][A-Za-z0-9]*$",
        description="reason is one CamelCase word that tells why, for programs.",
    )
    message: str = Field(max_length=2048, description="message tells a person what happened and what to do.")

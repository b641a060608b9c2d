"""The shapes that the kinds share: the base model, rules for the API server, names, durations, times, conditions.

A model says beside each field what the API server shall refuse, in words that tell what to write instead. Whatever a
person is likely to mistype carries a rule with a sentence, and no pattern: the API server would answer with both, and
the regular expression comes first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, JsonValue
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

SLURM_WORD = r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$"
"""Names of Slurm's: no space, comma, quote or newline, and no option in disguise."""
SLURM_WORD_HELP = "write one name of Slurm's: letters, digits and _ . @ + -, a letter, digit or _ first, no spaces"

ABSOLUTE_PATH = r"^/[^\x00\n\r]*$"
ABSOLUTE_PATH_HELP = "write an absolute path: one line that begins with /"

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_LABEL_HELP = "write at most 63 lower-case letters, digits and hyphens, a letter or digit first and last"

DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DNS_SUBDOMAIN_HELP = "write lower-case letters, digits, hyphens and dots, a letter or digit first and last"

DURATION_PATTERN = r"^([0-9]{1,5}h([0-9]{1,5}m)?([0-9]{1,5}s)?|[0-9]{1,5}m([0-9]{1,5}s)?|[0-9]{1,5}s)$"
DURATION_HELP = (
    "write hours, minutes and seconds in this order, like 12h, 1h30m or 90s: 24h for a day, 36h for Slurm's 1-12:00:00"
)
DURATION_ZERO = "write at least one second: to Slurm, no time means no limit"

NO_NUL = r"^[^\x00]*$"
"""Whatever an argument vector or an environment can carry, newlines and quotes included."""

_UNITS = {"h": 3600, "m": 60, "s": 1}


def rules(*each: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """What the API server checks beside the schema; goes into `json_schema_extra`."""
    return {"x-kubernetes-validations": list(each)}


def rule(expression: str, message: str, **more: JsonValue) -> dict[str, JsonValue]:
    """One CEL rule. `more` is the API's own: reason, fieldPath."""
    return {"rule": expression, "message": message, **more}


@dataclass(frozen=True, slots=True)
class Matching:
    """Beside a string type: the text matches a pattern, which is anchored at both ends. API server and model say the
    same sentence of one that doesn't; it never repeats the text, which may hold a password.
    """

    pattern: str
    message: str

    def holds(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text) is not None

    def rule(self) -> dict[str, JsonValue]:
        """CEL's raw strings need no escapes."""
        return rule(f"self.matches(r'{self.pattern}')", self.message)

    def _checked(self, text: str) -> str:
        if not self.holds(text):
            raise ValueError(self.message)
        return text

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, told: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(told)
        return schema | rules(*schema.get("x-kubernetes-validations", []), self.rule())


class Without(Matching):
    """Beside a string type: the pattern is found nowhere in the text."""

    def holds(self, text: str) -> bool:
        return re.search(self.pattern, text) is None

    def rule(self) -> dict[str, JsonValue]:
        return rule(f"!self.matches(r'{self.pattern}')", self.message)


def map_list(*keys: str) -> dict[str, JsonValue]:
    """A list whose items are known by these keys: two managers may own one item each. Other lists have one owner."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def seconds(duration: str) -> int:
    """Seconds of a Duration; `1h30m` is 5400."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(h|m|s)", duration))


DnsLabel = Annotated[str, Field(max_length=63), Matching(DNS_LABEL, DNS_LABEL_HELP)]
"""The name of a Site, a namespace, a profile."""

DnsSubdomain = Annotated[
    str,
    Field(max_length=253),
    Matching(DNS_SUBDOMAIN, DNS_SUBDOMAIN_HELP),
]
"""The name of a Secret or a ConfigMap."""

SlurmWord = Annotated[str, Field(max_length=64), Matching(SLURM_WORD, SLURM_WORD_HELP)]
"""The name of an account, a QoS, a partition, a reservation."""

AbsolutePath = Annotated[str, Matching(ABSOLUTE_PATH, ABSOLUTE_PATH_HELP)]
"""Each field sets its own bound."""

Duration = Annotated[
    str,
    Field(max_length=18),
    Matching(DURATION_PATTERN, DURATION_HELP),
    Without(r"^[0hms]*0[0hms]*$", DURATION_ZERO),
]
"""Hours, minutes and seconds, each at most once and in this order; at least one second."""

OptionalText = Annotated[str, Field(exclude_if=lambda text: not text)]
"""A text of a status that is left out while it is empty."""

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

"""A twin as its YAML tells it. Slurm's words pass through as they stand; only their places are checked here."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from passerelle_sandbox.errors import SandboxError

Word = StrictStr | StrictInt
"""Strict, and with each time in quotes: YAML reads a bare 24:00:00 as the number 86400."""
Words = Annotated[dict[str, Word], Field(min_length=1)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Qos(_Told):
    """A quality of service; `limits` in sacctmgr's words."""

    name: StrictStr
    limits: dict[str, Word] = Field(default_factory=dict)


class Account(_Told):
    """An account that the twin's user may charge, with the QoS that it may use; the first is its default."""

    name: StrictStr
    qos: list[StrictStr] = Field(min_length=1)
    default_qos: bool = True
    """False where the machine gives none: a job must name its QoS."""
    limits: dict[str, Word] = Field(default_factory=dict)


class Twin(_Told):
    """One machine. `settings`, `nodes` and `partitions` are lines of slurm.conf(5), `rule` is Lua."""

    description: StrictStr
    settings: dict[str, Word] = Field(default_factory=dict)
    nodes: list[Words] = Field(min_length=1)
    partitions: list[Words] = Field(min_length=1)
    qos: list[Qos] = Field(default_factory=list)
    accounts: list[Account] = Field(min_length=1)
    account_required: bool
    """A job that names no account is refused."""
    unknown: list[StrictStr]
    """Limits that the machine surely has and its pages don't tell: the twin lets such jobs pass, and proves nothing."""
    rule: StrictStr | None = None


def names() -> list[str]:
    """The twins of this checkout."""
    return sorted(
        each.name.removesuffix(".yaml")
        for each in resources.files(__package__).iterdir()
        if each.name.endswith(".yaml")
    )


@cache
def load(name: str) -> Twin:
    """The twin of a name. A SandboxError where there is none."""
    if name not in names():
        raise SandboxError(f"There is no twin {name!r}; it is one of {', '.join(names())}.")
    here = resources.files(__package__)
    told = yaml.safe_load(here.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    lua = here.joinpath(f"{name}.lua")
    return Twin.model_validate(told | ({"rule": lua.read_text(encoding="utf-8")} if lua.is_file() else {}))

"""Profiles: facts about one supercomputer, one YAML file each, and their model.

A profile holds what is true of the machine for everyone. What differs between users (accounts, paths of theirs) stands
in the Site.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml

from passerelle.errors import Invalid
from passerelle.profiles.billing import Billing, Cost, cost
from passerelle.profiles.facts import Facts, mib
from passerelle.profiles.machine import Runtime
from passerelle.profiles.model import Profile
from passerelle.profiles.partition import Limits, Partition, Qos

__all__ = [
    "Billing",
    "Cost",
    "Facts",
    "Limits",
    "Partition",
    "Profile",
    "Qos",
    "Runtime",
    "cost",
    "load",
    "mib",
    "names",
]


def names() -> list[str]:
    """The profiles of this release."""
    files = resources.files(__name__).iterdir()
    return sorted(each.name.removesuffix(".yaml") for each in files if each.name.endswith(".yaml"))


@cache
def load(name: str) -> Profile:
    """The profile of a name. Raises Invalid where there is none."""
    if name not in names():
        text = f"There is no profile {name!r}; write one of {', '.join(names())}."
        raise Invalid(text, reason="ProfileNotFound")
    text = resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return Profile.model_validate({"name": name} | yaml.safe_load(text))

"""Profiles: facts about one supercomputer, one YAML file each, and their model.

A profile holds what is true of the machine for everyone. What differs between users (accounts, paths of theirs) stands
in the Site. A fact enters with the code that reads it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import Field, model_validator

from passerelle.errors import Invalid
from passerelle.v1alpha1.meta import ABSOLUTE_PATH, SLURM_WORD, Model

_Path = Annotated[str, Field(max_length=1024, pattern=ABSOLUTE_PATH)]
_Word = Annotated[str, Field(max_length=64, pattern=SLURM_WORD)]


class Partition(Model):
    """One partition. `memory_per_gpu_mib` None: the site's own default counts, and no memory is asked for."""

    name: _Word
    gpus_per_node: int = Field(ge=1, le=64)
    gpu_type: _Word | None = None
    cpus_per_gpu: int = Field(ge=1, le=1024)
    memory_per_gpu_mib: int | None = Field(default=None, ge=1)
    max_time_minutes: int = Field(ge=1)
    whole_nodes: bool
    """Jobs get, and pay, nodes with all their GPUs."""


class Apptainer(Model):
    """How containers start: `options` such as --nv or --rocm, and `binds`, the site's paths that trainers see."""

    options: list[Annotated[str, Field(max_length=256)]] = Field(default_factory=list, max_length=32)
    binds: list[_Path] = Field(default_factory=list, max_length=32)


class Profile(Model):
    """One supercomputer. `apptainer` None: trainers run on the nodes as they are, without image and files."""

    description: str = Field(max_length=256)
    partitions: list[Partition] = Field(min_length=1, max_length=64)
    default_partition: _Word
    apptainer: Apptainer | None
    environment: dict[str, str] = Field(default_factory=dict, max_length=64)
    """Variables of every trainer; a TrainingJob's own win."""
    torchrun_rendezvous: Literal["static", "file"] = "static"

    def partition(self, name: str) -> Partition | None:
        return next((each for each in self.partitions if each.name == name), None)

    @model_validator(mode="after")
    def _default_exists(self) -> Profile:
        if self.partition(self.default_partition) is None:
            raise ValueError(f"there is no partition {self.default_partition!r}")
        return self


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
    return Profile.model_validate(yaml.safe_load(text))

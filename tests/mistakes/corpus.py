"""The corpus: TrainingJobs with the mistakes that people make who come from a cloud, and what is to be said of each.

It is written from what the machines and launchers demand, before the checks and without a look at them: a check that
misreads a site's rule disagrees with it. The format stands in README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from passerelle.v1alpha1 import API_VERSION
from passerelle.v1alpha1.site import SiteSpec

HERE = Path(__file__).parent
NAMESPACE = "team-a"
"""The namespace of every TrainingJob here; the Site admits it."""

_FIELD = r"^(spec|site\.spec)(\.[a-z][A-Za-z]*(\[[0-9]+\])?)+$"


class _Told(BaseModel):
    """Strict, so that a slip in the corpus is none in the checks."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Expected(_Told):
    """One finding. `fixed`, a merge patch of spec, is there exactly where the finding must carry a patch of its own."""

    id: str = Field(pattern=r"^([A-Z][a-z]+)+$")
    severity: Literal["error", "warning", "info"]
    field: str = Field(pattern=_FIELD)
    cost: bool = False
    """Hours are paid for nothing, and the finding says how many."""
    fixed: dict[str, Any] | None = None


class Place(_Told):
    """The Site, as far as findings depend on it."""

    profile: str
    partition: str | None = None
    accounts: list[str]
    qos: list[str] = Field(default_factory=list)
    run_root: str

    def spec(self) -> SiteSpec:
        admission = {"namespaces": [NAMESPACE], "accounts": self.accounts, "qos": self.qos}
        return SiteSpec.model_validate(
            {
                "profile": self.profile,
                "gateway": {"driver": "slurmrestd", "url": "https://site.example.eu", "credentials": {"name": "token"}},
                "partition": self.partition,
                "runRoot": self.run_root,
                "admission": [admission],
            }
        )


class _Sidecar(_Told):
    why: Annotated[str, Field(min_length=20, max_length=240, pattern=r"^[A-Z/].*\.$")]
    site: Place
    expect: list[Expected] = Field(default_factory=list)


class Case(_Told):
    """One file: a TrainingJob, where it goes, and the errors and warnings that it deserves."""

    path: Path
    why: str
    site: Place
    expect: tuple[Expected, ...]
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> int:
        return int(self.name.partition("-")[0])

    @property
    def spec(self) -> dict[str, Any]:
        """What the user wrote."""
        found: dict[str, Any] = self.manifest["spec"]
        return found


def mistakes() -> list[Case]:
    """Manifests that deserve exactly what they expect."""
    return _numbered(HERE)


def odd() -> list[Case]:
    """Manifests that look wrong, are right, and deserve nothing."""
    return _numbered(HERE / "odd")


def _numbered(folder: Path) -> list[Case]:
    return sorted((load(path) for path in folder.glob("[0-9]*.yaml")), key=lambda case: case.number)


@cache
def load(path: Path) -> Case:
    """One file. Raises ValueError where it isn't a sidecar and a TrainingJob."""
    told, manifest = yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    sidecar = _Sidecar.model_validate(told)
    if (manifest["apiVersion"], manifest["kind"]) != (API_VERSION, "TrainingJob"):
        raise ValueError(f"{path.name}: the second document is no TrainingJob")
    return Case(path=path, why=sidecar.why, site=sidecar.site, expect=tuple(sidecar.expect), manifest=manifest)


def merged(value: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch applied (RFC 7386): null takes a field away, lists are replaced whole."""
    found = dict(value)
    for key, new in patch.items():
        if new is None:
            found.pop(key, None)
        elif isinstance(new, Mapping):
            below = found.get(key)
            found[key] = merged(below if isinstance(below, Mapping) else {}, new)
        else:
            found[key] = new
    return found

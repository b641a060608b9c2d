"""What people have already, brought to a machine that fits it: imported, completed as its notes ask, checked, planned.

A source's own words are told here a second time (nodes, GPUs, minutes), for a plan and a job that agree may both have
lost them. Pure, but for the fixtures that it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from passerelle.cli import manifests, offline
from passerelle.cli.manifests import Manifests
from passerelle.cli.written import written
from passerelle.errors import Invalid
from passerelle.imports import Imported, convert
from passerelle.imports.draft import NO_IMAGE
from passerelle.plan import Plan
from passerelle.preflight import Finding
from passerelle.profiles import Profile, load
from passerelle.v1alpha1.site import SiteSpec
from passerelle_sandbox.site.layout import RUN_ROOT
from plans import image_for, site

LOGIN_NODE = {"driver": "ssh", "url": "ssh://login.example.eu", "credentials": {"name": "login"}}
"""A door that carries files: some sources name Secrets."""

FIXTURES = Path(__file__).parents[1] / "unit" / "imports" / "fixtures"
_LEONARDO, _LUMI, _KAROLINA = "leonardo-booster", "lumi-g", "karolina-gpu"
_SITE = "my-site"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A fixture of the importers, a machine for its GPUs and their number, and what it asks for there.

    `partition`: the Site's, where the machine's own default doesn't fit. `completed`: what a person writes after the
    import, beside account and image. `explained`: findings of preflight, each with how the note begins that told of
    it, and `mended`: what that note asks for. `sbatch`: what a script must be told beside its own lines, None where
    Slurm can't read it there.
    """

    file: str
    machine: str = _LEONARDO
    nodes: int = 1
    gpus: int
    minutes: int = 60  # what import writes where the source has no limit
    partition: str | None = None
    completed: Mapping[str, Any] = field(default_factory=dict)
    explained: Mapping[str, str] = field(default_factory=dict)
    mended: Mapping[str, Any] = field(default_factory=dict)
    sbatch: str | None = None

    @property
    def text(self) -> str:
        return (FIXTURES / self.file).read_text(encoding="utf-8")

    @property
    def words(self) -> dict[str, object]:
        """As agreement has them."""
        return {"nodes": (self.nodes, self.nodes), "GPUs": self.gpus, "minutes": self.minutes}


SOURCES = (
    Source(
        file="job-image-only.yaml",
        gpus=1,
        completed={"command": ["python", "/opt/sweep.py"], "args": ["--epochs", "3"]},
    ),
    Source(file="job-indexed.yaml", machine=_LUMI, partition="small-g", gpus=4),
    Source(file="job-single.yaml", gpus=4),
    Source(file="mpijob-cpu.yaml", gpus=2),
    Source(file="mpijob-openmpi.yaml", nodes=2, gpus=8, minutes=90),
    Source(file="mpijob-script.yaml", nodes=4, gpus=16),
    Source(file="pytorchjob-elastic.yaml", nodes=2, gpus=8),
    Source(file="pytorchjob-plain.yaml", gpus=4),
    Source(
        file="pytorchjob-shell.yaml",
        nodes=2,
        gpus=8,
        explained={"LauncherNested": "command is a shell script with a launcher in it"},
        mended={
            "launcher": "torchrun",
            "command": ["bash", "-c", 'if [ "$RANK" = 0 ]; then python prepare.py; fi; python train.py'],
        },
    ),
    Source(file="pytorchjob-torchrun.yaml", nodes=8, gpus=32, minutes=12 * 60),
    Source(file="sbatch-megatron.sh", nodes=16, gpus=64, minutes=24 * 60, sbatch="-p boost_usr_prod"),
    Source(file="sbatch-pyxis.sh", machine=_KAROLINA, nodes=8, gpus=64, minutes=4 * 60, sbatch="-p qgpu"),
    Source(file="sbatch-srun.sh", nodes=2, gpus=8, minutes=30, sbatch="--gres=gpu:4"),  # no page tells GPUs' types
    Source(file="sbatch-steered.sh", nodes=2, gpus=8),  # an array without end, which waits for a job that never was
    Source(file="sbatch-torchrun.sh", machine=_LUMI, nodes=4, gpus=32, minutes=36 * 60, sbatch=""),
    Source(file="skypilot-plain.yaml", gpus=4),
    Source(file="skypilot-steered.yaml", gpus=1),
    Source(file="skypilot-torchrun.yaml", nodes=4, gpus=16),
    Source(file="trainjob-alone.yaml", gpus=2),
    Source(file="trainjob-runtime.yaml", nodes=4, gpus=16),
    Source(file="trainjob-torchrun.yaml", nodes=4, gpus=16),
)


@dataclass(frozen=True)
class Brought:
    """A source as a TrainingJob of the machine: its plan, if there is one, and what is wrong before Slurm is asked."""

    plan: Plan | None
    complaints: tuple[str, ...]


def of(machine: str) -> list[Source]:
    """Those that are brought to this machine."""
    return [source for source in SOURCES if source.machine == machine]


def imported(source: Source) -> Imported:
    """What `passerelle import` makes of it."""
    (only,) = convert(source.text, site=_SITE)
    return only


def brought(source: Source, found: Imported, account: str) -> Brought:
    """Complete it, check it, mend what its notes told of, and plan it."""
    profile = load(source.machine)
    completed = _completed(source, found.manifest["spec"], profile, account)
    complaints = [*_unexplained(source, found, *_written(source, found, completed, account))]
    read, place = _written(source, found, {**completed, **source.mended}, account)
    (job,) = read.jobs
    complaints += _unmended(source, read, place)
    try:
        plan = offline.planned(job, place, read)
    except Invalid as refused:
        return Brought(None, (*complaints, f"it can't be planned: {refused}"))
    return Brought(plan, (*complaints, *_lost(source, plan)))


def _completed(source: Source, spec: Mapping[str, Any], profile: Profile, account: str) -> dict[str, Any]:
    """The spec with what only its user knows."""
    known = {**spec, **source.completed}
    own_file = spec["image"].startswith("/") and spec["image"] != NO_IMAGE
    if not own_file and (spec["image"] == NO_IMAGE or not profile.egress.compute):
        known["image"] = image_for(profile)
    return known | ({"account": account} if "account" in spec else {})


def _written(source: Source, found: Imported, spec: dict[str, Any], account: str) -> tuple[Manifests, SiteSpec]:
    """The TrainingJob as a file beside the ConfigMaps that it names, read again, and the Site that admits it."""
    manifest = found.manifest | {"spec": spec}
    read = manifests.read(written(manifest, found.notes, f"From {found.source}."))
    if source.file.endswith(".yaml"):
        there = [each for each in yaml.safe_load_all(source.text) if each.get("kind") == "ConfigMap"]
        read.config_maps |= manifests.read(yaml.safe_dump_all(there)).config_maps if there else {}
    (job,) = read.jobs
    named = [files["configMap"] for files in spec.get("files", []) if "configMap" in files]
    named += [each["configMapRef"]["name"] for each in spec.get("envFrom", []) if "configMapRef" in each]
    for name in named:
        read.config_maps.setdefault((job.key.namespace, name), {"7b.yaml": b"lr: 3e-4\n"})
    entry = {"namespaces": [job.key.namespace], "accounts": [account], "qos": [spec["qos"]] if "qos" in spec else []}
    where = {"profile": source.machine, "partition": source.partition, "runRoot": RUN_ROOT, "gateway": LOGIN_NODE}
    return read, site(**where, admission=[entry])


def _findings(read: Manifests, place: SiteSpec) -> list[Finding]:
    """What `passerelle check` says, but for hints."""
    (job,) = read.jobs
    return [each for each in offline.findings(job, place, read, known=True) if each.severity != "info"]


def _unexplained(source: Source, found: Imported, read: Manifests, place: SiteSpec) -> Iterator[str]:
    """Errors of which no note told, and what was expected to be found and isn't."""
    findings = _findings(read, place)
    for each in findings:
        begins = source.explained.get(each.id)
        told = begins is not None and any(note.startswith(begins) for note in found.notes)
        if not told and (each.severity == "error" or begins is not None):
            yield f"preflight: no note told of {each.id} at {each.field}: {each}"
    missing = source.explained.keys() - {each.id for each in findings}
    yield from (f"preflight: {name} is expected, and isn't found" for name in sorted(missing))


def _unmended(source: Source, read: Manifests, place: SiteSpec) -> Iterator[str]:
    for each in _findings(read, place):
        if each.severity == "error" or each.id in source.explained:
            yield f"preflight, after it was mended: {each.id} at {each.field}: {each}"


def _lost(source: Source, plan: Plan) -> Iterator[str]:
    """What the plan has otherwise than the source."""
    got: dict[str, object] = {
        "nodes": (plan.nodes, plan.nodes),
        "GPUs": plan.nodes * plan.gpus_per_node,
        "minutes": plan.time_limit_minutes,
    }
    yield from (
        f"{word}: the source asks for {value}, the plan has {got[word]}"
        for word, value in source.words.items()
        if got[word] != value
    )

"""Imports: what people have already -> TrainingJobs, and notes on what could not be carried over. Pure.

One file a kind, each text or document -> Draft. Nothing is dropped in silence but what Passerelle sets by itself; what
would be a guess is noted as one; no secret's value comes through. `convert` is the only door.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from passerelle.errors import Invalid
from passerelle.imports import job, mpijob, pytorchjob, sbatch, skypilot, trainjob
from passerelle.imports.commands import relative
from passerelle.imports.documents import documents, lines
from passerelle.imports.draft import Draft, Imported, fits_label, joined
from passerelle.imports.fields import Fields

__all__ = ["KINDS", "Imported", "convert", "relative"]

_OBJECTS = {"PyTorchJob": "pytorchjob", "MPIJob": "mpijob", "TrainJob": "trainjob", "Job": "job"}
_GROUPS = {
    "PyTorchJob": "kubeflow.org/",
    "MPIJob": "kubeflow.org/",
    "TrainJob": "trainer.kubeflow.org/",
    "Job": "batch/",
}
KINDS = (*_OBJECTS.values(), "sbatch", "skypilot")
"""What `convert` reads."""
_BESIDE = frozenset({"ClusterTrainingRuntime", "TrainingRuntime"})
_TASK = frozenset({"run", "resources", "num_nodes", "setup", "file_mounts"})
_READS = "import reads PyTorchJob, MPIJob, TrainJob, Job, sbatch scripts and SkyPilot tasks"


def convert(text: str, kind: str | None = None, site: str | None = None) -> tuple[Imported, ...]:
    """The TrainingJobs of a text, one for each training in it; `kind` None finds out. Raises Invalid."""
    if site is not None and not fits_label(site):
        raise Invalid(f"site {site!r} is no name of a Site; write small letters, digits and dashes.")
    plain = lines(text)
    if not plain.strip():
        raise Invalid(f"The file is empty; {_READS}.")
    if kind == "sbatch" or (kind is None and _is_script(plain)):
        return (sbatch.convert(plain).finished(site),)
    read = [_document(each) for each in documents(plain)]
    drafts = _drafts(read, kind)
    return tuple(draft.finished(site) for draft in drafts)


def _is_script(text: str) -> bool:
    return text.startswith("#!") or bool(re.search(r"^#SBATCH\s", text, re.MULTILINE))


def _document(value: object) -> Fields:
    if not isinstance(value, dict):
        raise Invalid(f"The file is no manifest, no sbatch script and no SkyPilot task; {_READS}.")
    return Fields(value)


def _drafts(read: Sequence[Fields], kind: str | None) -> list[Draft]:
    objects = [each for each in _flat(read) if "apiVersion" in each]
    if kind == "skypilot" or (kind is None and not objects and any(_TASK & set(each.all_names()) for each in read)):
        return [_task(read)]
    chosen = [each for each in objects if (found := _kind(each)) and kind in {None, found}]
    if not chosen:
        there = list(dict.fromkeys(each.text("kind") or "something without a kind" for each in objects))
        if "TrainingJob" in there:
            raise Invalid("The file holds a TrainingJob already: nothing is to be imported.")
        what = f"no {kind}" if kind else joined(there) if there else "nothing that names its kind"
        raise Invalid(f"The file holds {what}; {_READS}.")
    drafts = [_object(each, objects) for each in chosen]
    others = [each for each in objects if each not in chosen and each.text("kind") not in _BESIDE]
    _note_others(drafts, others)
    return drafts


def _flat(read: Sequence[Fields]) -> list[Fields]:
    """The objects, those in a List of kubectl's among them."""
    found: list[Fields] = []
    for each in read:
        found += list(each.each("items")) if (each.text("kind") or "").endswith("List") and "items" in each else [each]
    return found


def _kind(document: Fields) -> str | None:
    """The importer's word for an object, or None."""
    name = document.text("kind") or ""
    group = _GROUPS.get(name)
    fits = group is not None and (document.text("apiVersion") or "").startswith(group)
    return _OBJECTS[name] if fits else None


def _object(document: Fields, objects: Sequence[Fields]) -> Draft:
    match _kind(document):
        case "pytorchjob":
            return pytorchjob.convert(document)
        case "mpijob":
            return mpijob.convert(document)
        case "trainjob":
            return trainjob.convert(document, objects)
        case _:
            return job.convert(document)


def _task(read: Sequence[Fields]) -> Draft:
    tasks = [each for each in read if set(each.all_names()) - {"name", "execution"}]
    if len(tasks) != 1:
        raise Invalid(f"The file is a pipeline of {len(tasks)} tasks; import each of them from a file of its own.")
    return skypilot.convert(tasks[0])


def _note_others(drafts: Sequence[Draft], others: Sequence[Fields]) -> None:
    """What else stands in the file: ConfigMaps are applied as before, the rest stays behind."""
    maps = [each for each in others if each.text("kind") == "ConfigMap"]
    rest = [f"{each.text('kind')} {each.under('metadata').text('name')}" for each in others if each not in maps]
    for draft in drafts:
        if rest:
            draft.note(f"{joined(rest)}: left out; import reads the training alone.")
        named = [each.under("metadata").text("name") or "?" for each in maps]
        if named:
            draft.note(f"ConfigMap {joined(named)}: apply it beside the TrainingJob, in the same namespace.")

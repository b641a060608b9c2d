"""A TrainingJob in the making, and notes on what could not be carried over. Pure.

Every note is one sentence or two that say what was left out and what to do instead. What a TrainingJob must have and
the source lacks is filled with a value that can't be overlooked, and noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from passerelle import confidential
from passerelle.errors import Invalid
from passerelle.imports import scripts, units
from passerelle.imports.commands import relative
from passerelle.imports.scripts import Script
from passerelle.imports.variables import READ_IT, absent, carried, given
from passerelle.v1alpha1 import API_VERSION
from passerelle.v1alpha1.meta import ABSOLUTE_PATH, DNS_LABEL, SLURM_WORD
from passerelle.v1alpha1.sources import VARIABLE, VARIABLE_HELP
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

NO_SITE = "my-site"
NO_IMAGE = "/scratch/CHANGE-ME/train.sif"
NO_COMMAND = "CHANGE-ME"
NO_TIME_LIMIT = "1h"

_ORDER = (
    "site",
    "image",
    "imagePullSecrets",
    "launcher",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "files",
    "gpus",
    "nodes",
    "gpusPerNode",
    "cpusPerGpu",
    "memory",
    "timeLimit",
    "checkpoint",
    "account",
    "qos",
    "reservation",
    "suspend",
    "retry",
    "ttlSecondsAfterFinished",
)
_ATTEMPTS = 100
_ENV_FROM = 16
_YEAR = 31_536_000


@dataclass(frozen=True, slots=True)
class Imported:
    """A TrainingJob as a mapping, where it came from, and what to look at."""

    manifest: dict[str, Any]
    source: str
    notes: tuple[str, ...]


@dataclass(slots=True)
class Draft:
    """What an importer fills in. `source` names the document for people: `PyTorchJob llm`."""

    source: str
    name: str
    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    references: dict[str, dict[str, Any]] = field(default_factory=dict)
    env_from: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, *texts: str) -> None:
        """Say what was left out; twice the same is said once."""
        self.notes += [text for text in texts if text not in self.notes]

    def refer(self, name: str, kind: str, reference: dict[str, Any]) -> None:
        """A variable whose value comes from a Secret or a ConfigMap."""
        if not re.fullmatch(VARIABLE, name):
            self.note(f"env {name}: can't be given to a trainer: {VARIABLE_HELP}.")
        elif not given(name):
            self.references[name] = {"name": name, "valueFrom": {kind: reference}}

    def secret(self, name: str | None) -> None:
        """Say what a Secret needs that comes along."""
        self.note(f"Secret {name}: it must be in the TrainingJob's namespace, and the Site's gateway must carry files.")

    def put(self, **values: object) -> None:
        """Fields of spec; None leaves one out."""
        self.spec |= {key: value for key, value in values.items() if value is not None}

    def word(self, **values: str | None) -> None:
        """Fields of spec that are names in Slurm; one that is none is noted."""
        for key, value in values.items():
            if value is not None and re.fullmatch(SLURM_WORD, value):
                self.spec[key] = value
            elif value is not None:
                self.note(f"{key} {value!r} is no name that Slurm takes: write {key} by hand.")

    def image(self, reference: str | None) -> None:
        """A path at the site stays; a reference to a registry stays, with a note on the digest."""
        if not reference:
            return
        self.spec["image"] = confidential.without(reference)
        if not reference.startswith("/") and "@sha256:" not in reference:
            self.note(
                f"image {self.spec['image']} comes from a registry under a tag, which can move: pin it with "
                "@sha256:..., or write the path of a SIF file at the site."
            )

    def working_dir(self, path: str | None) -> None:
        if path is None:
            return
        if re.fullmatch(ABSOLUTE_PATH, path):
            self.spec["workingDir"] = path
        else:
            self.note(f"workingDir {path!r} is no absolute path: write one that the container has.")

    def training(self, words: list[str]) -> Script | None:
        """Take an argument vector for the trainer, launchers off; None where it could not be taken apart."""
        found = scripts.literal(words, self.environment)
        if found is not None:
            self.script(found)
            return found
        self.put(command=words)
        text = " ".join(words)
        if re.search(r"\b(torchrun|torch\.distributed|accelerate|deepspeed|mpirun|mpiexec|srun)\b", text):
            self.note(
                "command is a shell script with a launcher in it, and is kept whole: take the launcher out, and name "
                "it as launcher; every trainer process runs command."
            )
        else:
            self.note("command is a shell script, and is kept whole: it runs once for every GPU.")
        self.note(*(scripts.NOT_SET.format(name) for name in absent(text)))
        return None

    def script(self, found: Script) -> None:
        """Take what a script came to."""
        trainer = found.trainer
        self.note(*found.notes, *trainer.notes)
        self.put(launcher=None if trainer.launcher == "srun" else trainer.launcher, command=list(found.command))
        self.environment |= found.environment
        self.working_dir(found.working_dir)
        if trainer.image:
            self.image(trainer.image)

    def one_process_per_gpu(self, found: Script | None, gpus: int) -> None:
        """Say what changes for a trainer that was started once for several GPUs."""
        if found is not None and not found.trainer.layers and gpus > 1:
            self.note(
                f"command was started once for {gpus} GPUs, and starts once for each GPU here, with RANK and "
                "LOCAL_RANK set: the trainer must not start processes of its own."
            )

    def time_limit(self, seconds: int | None) -> None:
        if seconds is not None:
            self.spec["timeLimit"] = units.duration(seconds)

    def attempts(self, number: int, why: str) -> None:
        """retry.maxAttempts, where there is more than one."""
        if number > 1:
            self.spec["retry"] = {"maxAttempts": min(number, _ATTEMPTS)}
            self.note(
                f"{why} became retry.maxAttempts: {min(number, _ATTEMPTS)}, which counts ends that are nobody's doing; "
                "a trainer that fails is not tried again."
            )

    def time_to_live(self, seconds: int | None) -> None:
        if seconds is not None:
            self.spec["ttlSecondsAfterFinished"] = min(seconds, _YEAR)

    def finished(self, site: str | None) -> Imported:
        """The TrainingJob, complete."""
        env, notes = carried(self.environment.items())
        self.note(*notes)
        own = [each for each in env if each["name"] not in self.references]
        self.put(env=[*own, *self.references.values()] or None)
        if len(self.env_from) > _ENV_FROM:
            self.note(f"envFrom takes {_ENV_FROM} entries; the last {len(self.env_from) - _ENV_FROM} are left out.")
        self.put(envFrom=self.env_from[:_ENV_FROM] or None)
        self._fill(site)
        if "workingDir" not in self.spec and (found := relative(self.spec["command"])) is not None:
            self.note(found)
        self._scrub()
        self._split()
        metadata: dict[str, object] = {"name": self._dns(self.name)}
        if self.namespace:
            metadata["namespace"] = self.namespace
        if self.labels:
            metadata["labels"] = self.labels
        spec = {key: self.spec[key] for key in _ORDER if key in self.spec}
        self._refuse(spec)
        manifest = {"apiVersion": API_VERSION, "kind": "TrainingJob", "metadata": metadata, "spec": spec}
        return Imported(manifest, _line(self.source), tuple(_line(note) for note in self.notes))

    def _refuse(self, spec: dict[str, Any]) -> None:
        """Raise Invalid for what no TrainingJob can hold, whatever its launcher: too many GPUs, too long a command."""
        given = {"image": NO_IMAGE, "command": [NO_COMMAND]} | spec
        try:
            TrainingJobSpec.model_validate({key: value for key, value in given.items() if key != "launcher"})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(place) for place in first["loc"])
            raise Invalid(f"{self.source} can't become a TrainingJob: {field}: {first['msg']}.") from None

    def _fill(self, site: str | None) -> None:
        self.spec["site"] = site or NO_SITE
        missing = []
        if site is None:
            missing.append("site: write the name of a Site; `kubectl get hpcsites` lists them.")
        if "image" not in self.spec:
            self.spec["image"] = NO_IMAGE
            missing.append("image: the source names none; write the path of a SIF file at the site.")
        if not self.spec.get("command"):
            self.spec["command"] = [NO_COMMAND]
            missing.append("command: the source leaves it to the image; write what the image starts.")
        if "timeLimit" not in self.spec:
            self.spec["timeLimit"] = NO_TIME_LIMIT
            missing.append(
                f"timeLimit: the source has none; {NO_TIME_LIMIT} is a guess, write how long the job may run."
            )
        self.notes[:0] = missing

    def _scrub(self) -> None:
        """No secret stays in command, neither by its form nor behind a name or a login that promises one."""
        words: list[str] = self.spec.get("command", [])
        clean = confidential.words_without(words)
        if clean != words:
            self.spec["command"] = clean
            self.note(
                f"command held what looks like a secret, and holds {confidential.LEFT_OUT} in its place: {READ_IT}."
            )

    def _split(self) -> None:
        """A long argument vector goes on in args, which may hold more."""
        words: list[str] = self.spec.get("command", [])
        if len(words) > _COMMAND:
            self.put(command=words[:1], args=words[1:])

    def _dns(self, name: str) -> str:
        """The name as Kubernetes takes it."""
        fit = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:_LABEL].strip("-") or "training"
        if fit != name:
            self.note(f"metadata.name {name!r} became {fit!r}: Kubernetes takes small letters, digits and dashes.")
        return fit


_LABEL = 63
_COMMAND = 256


def _line(text: str) -> str:
    """One line for people, of whatever a document held: no secret, no line break that would end a comment."""
    return " ".join("".join(c if c.isprintable() else " " for c in confidential.without_told(text)[0]).split())


def fits_label(text: str) -> bool:
    """Whether a text can be the name of a Site."""
    return bool(re.fullmatch(DNS_LABEL, text)) and len(text) <= _LABEL


def joined(texts: Iterable[str]) -> str:
    """Texts for a sentence: `a, b and c`."""
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last

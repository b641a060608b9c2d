"""The `#SBATCH` lines of the script that `launcher: script` runs, held against the TrainingJob. Pure.

No line is handed on as text. One that a field of spec has must say the same, or fills the field that was left out; one
of this list that the operator sets by itself is passed over; any other is refused with what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from passerelle.directives import Directive, directives
from passerelle.errors import Invalid
from passerelle.imports.sbatch import INSTEAD, gpu_count, gres_gpus
from passerelle.imports.units import slurm_memory, slurm_seconds
from passerelle.launch import Size
from passerelle.profiles import mib
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

_PASSED_OVER = frozenset(
    {
        "job-name", "output", "error", "open-mode", "parsable", "quiet", "verbose", "no-requeue", "no-kill",
        "kill-on-invalid-dep", "wait-all-nodes", "get-user-env", "comment", "gres-flags", "exclusive", "hint",
        "threads-per-core",
    }
)  # fmt: skip
"""Set for every job, or the profile's."""
_FIELDS: dict[str, Callable[[str], str | None]] = {
    "account": str,
    "qos": str,
    "reservation": str,
    "mem": slurm_memory,
}
"""Options that may fill a field, and how their value is written there; None for one that can't be read."""
_NAMES = {"mem": "memory"}
_INSTEAD = INSTEAD | {
    "signal": "write checkpoint.grace, and look for the file that PASSERELLE_STOP_FILE names",
    "chdir": "write workingDir",
    "export": "write env",
    "mem": "write memory, the memory of each node, like 480Gi",
    "time": "write timeLimit, like 12h",
}
_HARMLESS = {"export": {"ALL", "NONE"}}
_COUNT = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class Body:
    """The script's options, the last of a name: as sbatch(1), which reads them all. Empty for any other launcher."""

    path: str = ""
    asked: tuple[Directive, ...] = ()

    def of(self, name: str) -> Directive | None:
        return next((each for each in self.asked if each.name == name), None)

    def refusal(self, line: Directive, why: str) -> Invalid:
        told = line.value and line.name in {*_FIELDS, *_SIZES, "time", "partition"}  # any other may be a secret
        shown = f"--{line.name}" + (f"={line.value}" if told else "")
        return Invalid(f"{self.path}, line {line.line}, {shown}: {why}.", reason="ScriptOptionRefused")

    def count(self, name: str) -> int | None:
        """The whole number of an option. Raises Invalid for any other value, such as a range."""
        line = self.of(name)
        if line is None:
            return None
        if not _COUNT.fullmatch(line.value or ""):
            raise self.refusal(line, "write one whole number, or remove the line")
        return int(line.value or "")


def body(job: TrainingJobSpec, files: Sequence[tuple[str, bytes]]) -> Body:
    """What is asked by the script that the command names, where `files` brings it. Raises Invalid."""
    if job.launcher != "script":
        return Body()
    texts = dict(files)
    path = next((word for word in job.command if word in texts), None)
    if path is None:
        return Body()
    found = Body(path, tuple({each.name: each for each in directives(texts[path].decode("utf-8", "replace"))}.values()))
    for line in found.asked:
        if line.name in _PASSED_OVER or line.name in _SIZES or line.value in _HARMLESS.get(line.name, ()):
            continue
        if line.name not in {*_FIELDS, "time", "partition"}:
            raise found.refusal(line, _INSTEAD.get(line.name, "a TrainingJob has no such option") + "; remove the line")
    return found


def filled(job: TrainingJobSpec, script: Body) -> TrainingJobSpec:
    """The job, with the fields that it leaves out as its script asks for them. Raises Invalid where they contradict."""
    for name, read in _FIELDS.items():
        line = script.of(name)
        if line is None:
            continue
        field, told = _NAMES.get(name, name), read(line.value or "")
        if not told:
            raise script.refusal(line, _INSTEAD.get(name, f"write {field}") + "; remove the line")
        own = getattr(job, field)
        if own is None:
            job = _with(job, field, told, partial(script.refusal, line))
        elif own != told and not (field == "memory" and mib(own) == mib(told)):
            raise script.refusal(line, f"spec.{field} is {own}; remove the line, or write the same")
    line = script.of("time")
    if line is not None and slurm_seconds(line.value or "") != seconds(job.time_limit):
        raise script.refusal(line, f"spec.timeLimit is {job.time_limit}; remove the line, or write the same")
    return job


def _with(job: TrainingJobSpec, field: str, value: str, refusal: Callable[[str], Invalid]) -> TrainingJobSpec:
    """The job with one more field, if that takes the value."""
    try:
        return TrainingJobSpec.model_validate({**job.model_dump(by_alias=True, exclude_unset=True), field: value})
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise refusal(f"{why}, or remove the line") from None


def tasks_per_node(script: Body, partition: str, size: Size) -> int | None:
    """Tasks of each node as the script asks, None where it doesn't. Raises Invalid where its size is not the plan's."""
    line = script.of("partition")
    if line is not None and line.value != partition:
        raise script.refusal(line, f"the job goes to partition {partition}, which its Site names; remove the line")
    for name, (read, planned) in _SIZES.items():
        line, should = script.of(name), planned(size)
        if line is None or should is None:
            continue
        told = read(line.value or "")
        if told != should:
            raise script.refusal(line, f"the plan has {should}; remove the line, or write the same size in spec")
    per_node, every = script.count("ntasks-per-node"), script.count("ntasks")
    if per_node is None and every is not None:
        per_node, rest = divmod(every, size.nodes)
        if rest or not per_node:
            line = script.of("ntasks")
            assert line is not None  # noqa: S101 -- it was counted
            raise script.refusal(line, f"{size.nodes} nodes can't have equally many; write ntasks-per-node")
    return per_node


def cpus_per_task(script: Body) -> int | None:
    """As the script asks. Raises Invalid for what is no number."""
    return script.count("cpus-per-task")


def _whole(text: str) -> int | None:
    return int(text) if _COUNT.fullmatch(text) else None


_SIZES: dict[str, tuple[Callable[[str], int | None], Callable[[Size], int | None]]] = {
    "nodes": (_whole, lambda size: size.nodes),
    "gpus": (gpu_count, lambda size: size.nodes * size.gpus_per_node),
    "gpus-per-node": (gpu_count, lambda size: size.gpus_per_node),
    "gres": (gres_gpus, lambda size: size.gpus_per_node),
    "ntasks": (_whole, lambda _: None),
    "ntasks-per-node": (_whole, lambda _: None),
    "cpus-per-task": (_whole, lambda _: None),
}
"""How a size is read, and what the plan has; None: it is the script's own choice."""

"""An sbatch script -> TrainingJob. Pure.

Its #SBATCH lines become fields. Its body becomes launcher and command where one command trains and the rest only
prepares the machine; else the body is kept as a whole, under the launcher `script`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from passerelle import confidential
from passerelle.directives import directives, without
from passerelle.errors import Invalid
from passerelle.imports import scripts, units
from passerelle.imports.draft import Draft, joined
from passerelle.imports.fields import whole
from passerelle.imports.variables import READ_IT

_SILENT = frozenset(
    {
        "chdir", "error", "export", "get-user-env", "gres-flags", "hint", "kill-on-invalid-dep", "no-kill",
        "no-requeue", "ntasks", "ntasks-per-node", "ntasks-per-gpu", "open-mode", "output", "parsable", "quiet",
        "verbose", "gpu-bind", "distribution", "wait-all-nodes", "input", "comment", "cpus-per-gpu",
    }
)  # fmt: skip
"""Options that Passerelle sets by itself, or that change nothing."""
INSTEAD = {
    "array": "an array is many jobs: create one TrainingJob for each index",
    "begin": "create the TrainingJob when it shall start, or hold it with suspend: true",
    "clusters": "each cluster is a Site of its own",
    "constraint": "the Site's partition says which nodes fit",
    "dependency": "create the TrainingJob when the other has finished; a chain of one training is retry.maxAttempts",
    "exclude": "nodes that fail are left out by themselves in later attempts",
    "exclusive": "the profile says whether nodes come whole; write nodes to have all their GPUs",
    "hetjob": "a heterogeneous job is several: a TrainingJob has equal nodes",
    "hold": "write suspend: true",
    "licenses": "ask the Site's administrator",
    "mail-type": "alert on the TrainingJob's conditions, or on the operator's metrics",
    "mail-user": "alert on the TrainingJob's conditions, or on the operator's metrics",
    "mem-per-cpu": "write memory, the memory of each node",
    "mem-per-gpu": "write memory, the memory of each node",
    "nodelist": "named nodes make a job wait for them: let Slurm choose",
    "partition": "the Site has one; its administrator writes spec.partition",
    "requeue": "write retry.maxAttempts: attempts are the operator's, so that each has a record",
    "switches": "let Slurm place the job",
    "time-min": "write the whole timeLimit",
}
"""What to do instead of an option that is not carried over."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the #SBATCH lines ask for; the last of a name counts, as in sbatch."""

    values: dict[str, str | None]

    def text(self, name: str) -> str | None:
        return self.values.get(name)

    def count(self, name: str) -> int | None:
        """A number from 1 on; None for anything else."""
        return whole(self.values.get(name) or "") or None


def convert(text: str) -> Draft:
    """Raises Invalid for a text without a command."""
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        raise Invalid("The script has no command; write an sbatch script with the training in it.")
    found = directives(text)
    asked = _Asked({each.name: each.value for each in found})
    name = asked.text("job-name")
    draft = Draft(f"sbatch script {name or ''}".strip(), name or "training")
    body = without(text)
    script = scripts.read(body)
    _size(draft, asked, script.trainer.nproc if script is not None else None)
    _time(draft, asked)
    draft.word(account=asked.text("account"), qos=asked.text("qos"), reservation=asked.text("reservation"))
    _warning(draft, asked)
    for name in asked.values:
        if name not in _SILENT and name not in _TAKEN:
            instead = INSTEAD.get(name, "no field of a TrainingJob says it")
            draft.note(f"#SBATCH --{name} is left out: {instead}.")
    _body(draft, asked, body, script)
    return draft


def _body(draft: Draft, asked: _Asked, body: str, script: scripts.Script | None) -> None:
    if script is None:
        draft.put(launcher="script", command=["bash", "-c", _clean(draft, body)])
        draft.note(
            "The body could not be taken apart, and is kept whole under launcher script: it runs as it stands, on the "
            "first node, with its own srun."
        )
        return
    draft.script(script)
    per_node, gpus = asked.count("ntasks-per-node"), draft.spec.get("gpusPerNode")
    layers = script.trainer.layers
    if not {"torchrun", "accelerate", "deepspeed"} & set(layers) and (per_node or 1) != (gpus or per_node or 1):
        draft.note(
            f"The script starts {per_node or 1} process a node for {gpus} GPUs; here each GPU gets one, with RANK and "
            "LOCAL_RANK set: the trainer must not start processes of its own."
        )


def _size(draft: Draft, asked: _Asked, nproc: int | None) -> None:
    """Put nodes and gpusPerNode, or gpus in total where that is how the script asks."""
    text = asked.text("nodes") or ""
    if re.search(r"[-,:]", text):
        draft.note(f"#SBATCH --nodes={text} is a range: the first number is taken, a TrainingJob has one size.")
    nodes = whole(re.split(r"[-,:]", text)[0]) or None
    per_node = gpu_count(asked.text("gpus-per-node")) or gres_gpus(asked.text("gres"))
    total = gpu_count(asked.text("gpus"))
    every = asked.count("ntasks")
    tasks = asked.count("ntasks-per-node") or (every // nodes if every and nodes else None) or 1
    per_task = gpu_count(asked.text("gpus-per-task"))
    if total is None and per_task is not None and nodes is None and every is not None:
        total = per_task * every
    if per_node is None and total is None and per_task is not None:
        per_node = per_task * tasks
    if per_node is None and total is not None and nodes is not None and total % nodes == 0:
        per_node = total // nodes
    if per_node is None and total is not None:
        draft.put(gpus=total)
    else:
        if per_node is None and nproc is not None:
            per_node = nproc
        if per_node is None:
            draft.note("The script asks for no GPU by name: all GPUs of each node are taken; else write gpusPerNode.")
        draft.put(nodes=nodes or 1, gpusPerNode=per_node)
    _shares(draft, asked, tasks, per_node)


def _shares(draft: Draft, asked: _Asked, tasks: int, per_node: int | None) -> None:
    """CpusPerGpu and memory, as the script asks for them."""
    cpus = asked.count("cpus-per-task")
    if cpus is not None and per_node is not None and cpus * tasks >= per_node:
        draft.put(cpusPerGpu=cpus * tasks // per_node)
    draft.put(cpusPerGpu=asked.count("cpus-per-gpu"))
    memory = asked.text("mem")
    if memory is not None:
        fit = units.slurm_memory(memory)
        draft.put(memory=fit)
        if fit is None:
            draft.note(f"#SBATCH --mem={memory} is left out: the site's share of each node counts; else write memory.")


def _time(draft: Draft, asked: _Asked) -> None:
    text = asked.text("time")
    if text is None:
        return
    seconds = units.slurm_seconds(text)
    if seconds:
        draft.time_limit(seconds)
    else:
        draft.note(f"#SBATCH --time={text} is no time with an end: write timeLimit, like 12h.")


def _warning(draft: Draft, asked: _Asked) -> None:
    """--signal=B:USR1@300 -> checkpoint.grace: how long before the end the trainer is told."""
    text = asked.text("signal")
    if text is None:
        return
    seconds = re.search(r"@(\d{1,5})$", text)
    if seconds and int(seconds[1]):
        draft.put(checkpoint={"grace": units.duration(int(seconds[1]))})
    draft.note(
        f"#SBATCH --signal={text} became checkpoint.grace: the trainer looks for the file that PASSERELLE_STOP_FILE "
        "names, and gets no signal."
        if "checkpoint" in draft.spec
        else f"#SBATCH --signal={text} is left out: write checkpoint.grace, and look for the stop file."
    )


def gpu_count(text: str | None) -> int | None:
    """`4` or `a100:4`; of several types, all."""
    if not text:
        return None
    numbers = [part.rpartition(":")[2] for part in text.split(",")]
    return sum(map(int, numbers)) or None if all(re.fullmatch(r"\d{1,6}", number) for number in numbers) else None


def gres_gpus(text: str | None) -> int | None:
    """The GPUs of --gres=gpu:a100:4,tmp:10g; a gpu without a number is one."""
    found = 0
    for part in (text or "").split(","):
        kind, *rest = part.removeprefix("gres/").removeprefix("gres:").split(":")
        if kind == "gpu":
            number = rest[-1].partition("(")[0] if rest else "1"
            found += int(number) if re.fullmatch(r"\d{1,6}", number) else 1
    return found or None


def _clean(draft: Draft, body: str) -> str:
    """The body without the values of secrets."""
    clean, lost = confidential.without_told(body)
    if clean != body:
        names = joined(dict.fromkeys(lost)) if lost else "A value"
        draft.note(f"{names} looked like a secret, and {confidential.LEFT_OUT} stands in its place: {READ_IT}.")
    return clean


_TAKEN = frozenset(
    {
        "account", "cpus-per-task", "gpus", "gpus-per-node", "gpus-per-task", "gres", "job-name", "mem", "nodes", "qos",
        "reservation", "signal", "time",
    }
)  # fmt: skip
"""Options that became fields, or were noted on the way."""

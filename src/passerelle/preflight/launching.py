"""A launcher inside the command: which one it is, and what remains when it is taken off. Pure.

Only flags that tell size, ranks or the rendezvous may be dropped without a loss, since the launch sets them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from passerelle.preflight.words import Command, Word, base

_PYTHON = re.compile(r"python[0-9.]*")
_MODULES = frozenset({"torch.distributed.run", "torch.distributed.launch"})
_LAUNCHERS = {
    "deepspeed": "deepspeed",
    "horovodrun": "",
    "mpiexec": "mpi",
    "mpirun": "mpi",
    "srun": "srun",
    "torchrun": "torchrun",
}
"""Programs, and spec.launcher in their place."""
_ALONE = frozenset({"--multi-gpu", "--standalone"})
_WITH_VALUE = frozenset(
    {
        "--machine-rank",
        "--master-addr",
        "--master-port",
        "--nnodes",
        "--node-rank",
        "--nproc-per-node",
        "--ntasks",
        "--ntasks-per-node",
        "--num-gpus",
        "--num-machines",
        "--num-nodes",
        "--num-processes",
        "-n",
        "-np",
    }
)
_COUNTS = frozenset({"--nproc-per-node", "--num-gpus", "--num-processes"})
_MEETING = ("--master", "--nnodes", "--node-rank", "--rdzv", "--standalone")
_PREFIXES = ("--rdzv", "--main-process-")


@dataclass(frozen=True, slots=True)
class Nested:
    """`program` as it is called; `launcher` as spec names it, or "" where it has none; `rest` follows the program."""

    program: str
    launcher: str
    rest: Command


def nested(command: Command) -> Nested | None:
    """The launcher that a simple command begins with, if it does."""
    if not command:
        return None
    words = [word.text for word in command]
    head = base(words[0])
    if head in _LAUNCHERS:
        return Nested(head, _LAUNCHERS[head], command[1:])
    if head == "accelerate" and words[1:2] == ["launch"]:
        return Nested("accelerate launch", "accelerate", command[2:])
    if _PYTHON.fullmatch(head):
        place = next((place for place, word in enumerate(words[1:], start=1) if word != "-u"), 0)
        if words[place : place + 1] == ["-m"] and words[place + 1 : place + 2] and words[place + 1] in _MODULES:
            return Nested(f"python -m {words[place + 1]}", "torchrun", command[place + 2 :])
    return None


def processes(found: Nested) -> int:
    """How many trainers it is told to start, in figures; else 1, which is torchrun's default."""
    following = [word.text for word in found.rest[1:]] + [""]
    for word, after in zip(found.rest, following, strict=True):
        name, equals, value = word.text.partition("=")
        if name.replace("_", "-") in _COUNTS:
            told = value if equals else after
            return int(told) if told.isascii() and told.isdigit() else 1
    return 1


def takes_one_port(found: Nested) -> bool:
    """Whether two of it on one node are sure to meet: torchrun, told nothing of where its own processes meet."""
    words = [word.text.replace("_", "-") for word in found.rest if word.text.startswith("-")]
    return found.launcher == "torchrun" and not any(word.startswith(_MEETING) for word in words)


def taken_off(found: Nested) -> Command | None:
    """The trainer's own command; None where a flag would be lost that means something."""
    rest = found.rest
    while rest and rest[0].text.startswith("-") and rest[0].text not in {"-m", "--module"}:
        name, equals, _ = rest[0].text.partition("=")
        name = name.replace("_", "-")
        if name in _ALONE or (equals and _is_ours(name)):
            rest = rest[1:]
        elif _is_ours(name):
            rest = rest[2:]
        else:
            return None
    if not rest:
        return None
    first = rest[0]
    if first.text in {"-m", "--module"}:
        return (Word("python", field=first.field), Word("-m", field=first.field), *rest[1:])
    if first.text.endswith(".py"):
        return (Word("python", field=first.field), *rest)
    return rest if found.launcher in {"mpi", "srun"} else None


def _is_ours(name: str) -> bool:
    return name in _WITH_VALUE or name.startswith(_PREFIXES)

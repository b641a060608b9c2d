"""The command: does it start what is started already, and does it need a shell that isn't there?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from passerelle.preflight.finding import Finding, Operation, Patch, graded, warning, written
from passerelle.preflight.launching import Nested, nested, processes, taken_off, takes_one_port
from passerelle.preflight.refusals import without_variable
from passerelle.preflight.request import Request
from passerelle.preflight.words import Command, base, is_one_string

_CONTAINERS = {
    "apptainer": {"exec", "run"},
    "docker": {"exec", "run"},
    "enroot": {"start"},
    "nerdctl": {"exec", "run"},
    "podman": {"exec", "run"},
    "singularity": {"exec", "run"},
}
_OPERATORS = frozenset({"&", "&&", ";", "<", ">", ">>", "2>&1", "|", "||"})
_KNOWING_OPERATORS = frozenset({"[", "expr", "find", "test"})
_LINES_BEGIN_WITH = r"python[0-9.]*|(?:ba|da|z)?sh|torchrun|accelerate|deepspeed"
_OF_PYTHON = frozenset({"accelerate", "deepspeed", "torchrun"})
"""Launchers that a single process may well start itself by."""
_VARIABLE = re.compile(r"\$(?:[A-Z][A-Za-z0-9_]*|\{[A-Z][A-Za-z0-9_]*\}|\()")
"""As people write them for a shell; Hydra's ${lower.case} are its own."""
_DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"})


def findings(request: Request) -> Iterator[Finding]:
    if not request.is_script:
        yield from _launcher(request)
        yield from _container(request)
    yield from _shell(request)
    yield from _devices(request)


def _launcher(request: Request) -> Iterator[Finding]:
    for command in request.words.commands:
        found = nested(command)
        if found is None or _is_harmless(request, found):
            continue
        several = request.placed is not None and request.placed.size.gpus_per_node > 1
        certain = several and takes_one_port(found) and request.words.stops and not _told_by_environment(request)
        outer = request.job.launcher
        text = f"{found.program} would start a world of its own in every process that launcher {outer} starts."
        fix = f"Write launcher: {found.launcher or 'mpi'}, and the trainer's command without {found.program}."
        patch = _without_launcher(request, found)
        yield graded(certain=certain)("LauncherNested", command[0].field, text, fix, patch=patch)


def _is_harmless(request: Request, found: Nested) -> bool:
    """One world of one process, within one process."""
    return request.processes == 1 and found.launcher in _OF_PYTHON and processes(found) == 1


def _told_by_environment(request: Request) -> bool:
    """Whether torchrun's options may stand in env."""
    return any(each.name.startswith("PET_") for each in request.job.env)


def _without_launcher(request: Request, found: Nested) -> Patch:
    if request.words.shell is not None or not found.launcher:
        return ()
    rest = taken_off(found)
    if rest is None or rest[0].field != "spec.command":
        return ()
    command = [word.text for word in rest if word.field == "spec.command"]
    launcher = () if request.job.launcher == found.launcher else written("launcher", found.launcher)
    return (*launcher, Operation("replace", "/spec/command", [*command]))


def _container(request: Request) -> Iterator[Finding]:
    for command in request.words.commands:
        verb = next((word.text for word in command[1:] if not word.text.startswith("-")), "")
        head = base(command[0].text)
        is_inner = request.container is not None
        if verb not in _CONTAINERS.get(head, ()) or not (is_inner or head == "docker"):
            continue
        text = f"{head} {verb} starts a container within that of image, which seldom works."
        if head == "docker":
            text = "docker run needs a daemon, and compute nodes have none."
        fix = "Write its image as image, and what it runs as command."
        certain = head == "docker" and is_inner and request.words.stops
        yield graded(certain=certain)("ContainerNested", command[0].field, text, fix)


def _shell(request: Request) -> Iterator[Finding]:
    if is_one_string(request.job.command):
        yield _one_string(request)
        return
    if request.words.shell is not None:
        return
    text = "No shell reads command and args"
    fix = "Write command: [bash, -c, the whole line]."
    argv = request.words.argv
    for place, word in enumerate(argv):
        if word.text in _OPERATORS:
            if not _is_meant(argv, place):
                yield warning("ShellSyntax", word.field, f"{text}: {word.text} would be an argument.", fix)
        elif told := _VARIABLE.search(word.text):
            yield warning("ShellSyntax", word.field, f"{text}: {_whole(told)} arrives as it is written.", fix)
    for place, variable in enumerate(request.job.env):
        if told := _VARIABLE.search(variable.value):
            text = f"No shell reads env: {_whole(told)} arrives as it is written."
            yield warning("ShellSyntax", f"spec.env[{place}]", text, "Write the value itself.")


def _is_meant(argv: Command, place: int) -> bool:
    """Whether an operator is meant as an argument: of an option, or of a program that knows it."""
    following = argv[place + 1 : place + 2]
    is_value = argv[place - 1].text.startswith("-") and all(word.text.startswith("-") for word in following)
    return place > 0 and (is_value or base(argv[0].text) in _KNOWING_OPERATORS)


def _whole(told: re.Match[str]) -> str:
    return "$(…)" if told[0] == "$(" else told[0]


def _one_string(request: Request) -> Finding:
    line = request.job.command[0]
    text = "The whole command stands in one word, and there is no program of that name."
    is_path = line.startswith(("/", ".")) and " -" not in line
    certain = not is_path or re.fullmatch(_LINES_BEGIN_WITH, base(line.split()[0])) is not None
    if not certain:
        text = "The whole command stands in one word, and is taken for the name of one program."
    needs_shell = bool(re.search(r"[$`;|&<>\n]", line))
    try:
        split = shlex.split(line)
    except ValueError:
        needs_shell, split = True, []
    words = ["bash", "-c", line] if needs_shell else split
    fix = "Write command: [bash, -c, the line]." if needs_shell else "Write each word of it as one of its own."
    patch: Patch = () if request.job.args else (Operation("replace", "/spec/command", [*words]),)
    return graded(certain=certain)("ShellSyntax", "spec.command", text, fix, patch=patch)


def _devices(request: Request) -> Iterator[Finding]:
    for place, variable in enumerate(request.job.env):
        if variable.name in _DEVICES or (variable.name == "NVIDIA_VISIBLE_DEVICES" and variable.value != "all"):
            field = f"spec.env[{place}]"
            text = f"Slurm hands out the devices, and {variable.name} would give every process of a node the same ones."
            fix = "Leave the variable out, and take the device of LOCAL_RANK."
            yield warning("DevicesOverridden", field, text, fix, patch=without_variable(request, field))

"""The working directory: a new, empty one for each attempt, so that a relative path finds nothing there.

Neither an image's own directory counts nor the one that a person submits from: nothing but workingDir names another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from passerelle.preflight.finding import Finding, warning
from passerelle.preflight.launching import nested
from passerelle.preflight.request import Request
from passerelle.preflight.words import Command, Word, base

_INTERPRETER = re.compile(r"python[0-9.]*|(?:ba|da|z)?sh")
_SCRIPT = re.compile(r"[\w.][\w./+-]*\.(?:py|sh)")
_PROGRAM = re.compile(r"[\w.][\w.+-]*/[\w./+-]*")
_BRINGING_NOTHING = frozenset(
    {":", "date", "echo", "export", "hostname", "module", "nvidia-smi", "printenv", "pwd", "rocm-smi", "set", "sleep"}
    | {"true", "ulimit", "umask", "unset"}
)
"""What may run before in a shell's text: it changes no directory, and writes no file unless it is told to."""


def findings(request: Request) -> Iterator[Finding]:
    if request.job.working_dir is not None:
        return
    for command in request.words.commands:
        word = _relative(command)
        if word is not None:
            text = f"The command starts in a new, empty directory, where there is no {word.text}."
            fix = "Write its absolute path, or the directory that it lies in as workingDir."
            yield warning("PathRelative", word.field, text, fix)
            return
        if base(command[0].text) not in _BRINGING_NOTHING or any(">" in each.text for each in command):
            return


def _relative(command: Command) -> Word | None:
    """The program, or the script of an interpreter, that is named by a relative path."""
    if nested(command) is not None:
        return None
    first = command[0]
    if _PROGRAM.fullmatch(first.text):
        return first
    if not _INTERPRETER.fullmatch(base(first.text)):
        return None
    word = next((word for word in command[1:] if word.text not in _FLAGS), None)
    return word if word is not None and _SCRIPT.fullmatch(word.text) else None


_FLAGS = frozenset({"-O", "-OO", "-B", "-I", "-s", "-u", "-e", "-x", "-l", "-eu", "-ex", "-eux"})
"""Of interpreters, without a value."""

"""The `#SBATCH` lines of a script -> its options, as sbatch(1) reads them. Pure.

sbatch reads lines that begin with #SBATCH, up to the first line that is neither empty nor a comment; what stands after
it is text. Values are read, and never trusted: who uses them says which options there are.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_LONG = {
    "A": "account",
    "B": "extra-node-info",
    "C": "constraint",
    "D": "chdir",
    "F": "nodefile",
    "G": "gpus",
    "H": "hold",
    "I": "immediate",
    "J": "job-name",
    "L": "licenses",
    "M": "clusters",
    "N": "nodes",
    "O": "overcommit",
    "Q": "quiet",
    "S": "core-spec",
    "V": "version",
    "W": "wait",
    "a": "array",
    "b": "begin",
    "c": "cpus-per-task",
    "d": "dependency",
    "e": "error",
    "h": "help",
    "i": "input",
    "k": "no-kill",
    "m": "distribution",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "s": "oversubscribe",
    "t": "time",
    "v": "verbose",
    "w": "nodelist",
    "x": "exclude",
}
"""sbatch(1)'s one-letter options by their long names."""
_NO_VALUE = frozenset(
    {
        "contiguous", "exclusive", "get-user-env", "help", "hold", "ignore-pbs", "immediate", "no-kill", "no-requeue",
        "nice", "overcommit", "oversubscribe", "parsable", "propagate", "quiet", "reboot", "requeue", "spread-job",
        "test-only", "usage", "use-min-nodes", "verbose", "version", "wait", "hetjob", "packjob",
    }
)  # fmt: skip
"""Options that stand alone, or take their value after an equals sign only."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One option: its long name, its value (None where it has none), and its line, counted from 1."""

    name: str
    value: str | None
    line: int


def directives(text: str) -> list[Directive]:
    """The options of a script, in order; `hetjob` stands for the line that begins another component."""
    found: list[Directive] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#SBATCH") and line[7:8] in {"", " ", "\t"}:
            found += _line(line[7:], number)
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return found


def without(text: str) -> str:
    """The script without the lines that sbatch reads."""
    kept, reading = [], True
    for line in text.splitlines(keepends=True):
        reading = reading and (not line.strip() or line.lstrip().startswith("#"))
        if not (reading and re.match(r"#SBATCH(\s|$)", line)):
            kept.append(line)
    return "".join(kept)


def _line(text: str, number: int) -> list[Directive]:
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # a quote that doesn't close: sbatch takes the rest as it is
        words = text.split()
    found = []
    while words:
        word = words.pop(0)
        if word in {"hetjob", "packjob"}:
            found.append(Directive("hetjob", None, number))
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals and name not in _NO_VALUE and words:
                value, equals = words.pop(0), "="
            found.append(Directive(name, value if equals else None, number))
        elif word.startswith("-") and len(word) > 1:
            name, rest = _LONG.get(word[1], word[1]), word[2:].removeprefix("=")
            if not rest and name not in _NO_VALUE and words:
                rest = words.pop(0)
            found.append(Directive(name, rest or None, number))
        else:
            found.append(Directive(word, None, number))
    return found

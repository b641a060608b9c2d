"""Shell text around a training -> the one command that trains, and the environment that it needs. Pure.

What only prepares a machine (modules, activation, echo, mkdir) is dropped, downloads are named in a note, assignments
become env. Where more than one command works, or something steers, nobody can say what may be left out: then there is
no answer, and the caller keeps the text whole.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from passerelle import confidential
from passerelle.imports import commands
from passerelle.imports.commands import Trainer
from passerelle.imports.shelltext import Statement, Unplain, Word, spread, statements
from passerelle.imports.variables import GIVEN, absent, given

_QUIET = frozenset(
    {
        ":", "[", "cat", "date", "df", "echo", "env", "export", "free", "hostname", "id", "ls", "lscpu", "mkdir",
        "nproc", "nvidia-smi", "printenv", "printf", "pwd", "rocm-smi", "scontrol", "set", "shopt", "sleep", "squeue",
        "test", "touch", "true", "ulimit", "umask", "uname", "unset", "wait", "whereis", "which", "whoami",
    }
)  # fmt: skip
"""Commands that tell or prepare, and change nothing that a container keeps."""
_MODULES = frozenset({"module", "ml", "spack"})
_ACTIVATION = frozenset({"source", ".", "conda", "micromamba", "mamba", "eval"})
_FETCHING = frozenset(
    {
        "apt", "apt-get", "aws", "azcopy", "curl", "dnf", "gcloud", "git", "gsutil", "hf", "huggingface-cli", "pip",
        "pip3", "rclone", "rsync", "scp", "sudo", "uv", "wandb", "wget", "yum",
    }
)  # fmt: skip
_PLAIN_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=")


@dataclass(slots=True)
class Script:
    """What a text comes to. `environment` holds what it sets for the trainer, in order."""

    trainer: Trainer
    command: tuple[str, ...]
    environment: dict[str, str]
    working_dir: str | None
    notes: list[str]


@dataclass(slots=True)
class _Reading:
    known: dict[str, str]  # variables with their text
    inner: dict[str, str] = field(default_factory=dict)  # variables and arrays with the shell text of their words
    unknown: set[str] = field(default_factory=set)  # assigned from what only a run can tell
    secret: dict[str, str] = field(default_factory=dict)  # by the promise of their names; never put into a command
    exported: list[str] = field(default_factory=list)
    working_dir: str | None = None
    trains: Statement | None = None
    notes: list[str] = field(default_factory=list)


def read(text: str, known: Mapping[str, str] | None = None) -> Script | None:
    """The training of a text, or None where it can't be told without running it."""
    reading = _Reading(dict(known or {}))
    try:
        for statement in statements(text):
            if not _statement(reading, statement):
                return None
        return _training(reading)
    except Unplain:
        return None


def literal(words: list[str], known: Mapping[str, str]) -> Script | None:
    """The training of an argument vector; None where it is a shell's and its text can't be told."""
    vector = tuple(Word.literal(word) for word in words)
    text = commands.shell_text(vector)
    if text is not None:
        return read(text, known)
    return _training(_Reading(dict(known), trains=Statement(vector)))


def _statement(reading: _Reading, statement: Statement) -> bool:
    """Understand one statement; False where it works and is not the training."""
    if all(_PLAIN_ASSIGNMENT.match(word.lead) for word in statement.words):
        _assign(reading, statement.words)
        return True
    words = statement.words
    head = words[0].lead.rpartition("/")[2]
    if statement.after == "||":
        return head in _QUIET | {"exit"} | _FETCHING
    if head == "export":
        assigned = [word for word in words[1:] if not word.lead.startswith("-")]
        reading.exported += [word.lead.partition("=")[0] for word in assigned]
        _assign(reading, [word for word in assigned if "=" in word.lead])
        return True
    if head == "cd":
        return _change_directory(reading, words)
    if head in _QUIET or (head == "exit" and reading.trains is not None):
        return True
    if head in _MODULES | _ACTIVATION:
        if head != "eval" or "conda" in words[-1].raw or "activate" in words[-1].raw:
            reading.notes.append(_PREPARED.format(shown(statement)))
            return True
        return False
    if head in _FETCHING or _pip(words):
        reading.notes.append(_FETCHED.format(shown(statement)))
        return True
    if reading.trains is not None or statement.piped not in {"", "tee"}:
        return False
    reading.trains = statement
    return True


NOT_SET = "command reads {}, which nobody sets here: write RANK, LOCAL_RANK, NODE_RANK or WORLD_SIZE."
_WRITE = "command reads {}, which no job here finds set: write its value as env."
_PREPARED = "`{}` is left out: the trainer runs in the image; build what it needs into it."
_FETCHED = (
    "`{}` is left out: compute nodes may have no internet; build packages into the image, and bring data to the site "
    "before."
)


def shown(statement: Statement) -> str:
    """A statement for a note: the program and what it does, never its arguments, for one may be a secret."""
    program, *rest = [word.raw for word in statement.words]
    if rest[:1] == ["-m"]:
        return " ".join([program, *rest[:3]])
    return f"{program} {rest[0]}" if rest and rest[0] in _DOES else program


_DOES = frozenset(
    {"activate", "add", "clone", "cp", "download", "env", "install", "load", "login", "purge", "sync", "update", "use"}
)
"""Second words that say what a program does."""


def _pip(words: tuple[Word, ...]) -> bool:
    raw = [word.raw for word in words[:4]]
    return raw[1:3] == ["-m", "pip"] and raw[0].startswith("python")


def _assign(reading: _Reading, words: Iterable[Word]) -> None:
    """NAME=VALUE: remember what is known of it."""
    for word in words:
        name, _, raw = word.raw.partition("=")
        appended = name.endswith("+")
        name = name.removesuffix("+")
        text = None if appended else word.after(word.lead.index("=") + 1).value(reading.known)
        reading.known.pop(name, None)
        reading.inner.pop(name, None)
        reading.unknown.discard(name)
        if confidential.name_promises(name):
            reading.secret[name] = text or ""
            continue
        if text is None:
            reading.unknown.add(name)
        else:
            reading.known[name] = text
        if not appended and (inner := _inner(raw)) is not None:
            reading.inner[name] = inner


def _inner(raw: str) -> str | None:
    """The shell text of a value's words, as they stand where the variable is used without quotes."""
    if raw[:1] == "(" and raw[-1:] == ")":
        return raw[1:-1]
    if "$(" in raw or "`" in raw:
        return None
    quoted = len(raw) > 1 and raw[0] == raw[-1] and raw[0] in "'\""
    return raw[1:-1] if quoted else raw


def _change_directory(reading: _Reading, words: tuple[Word, ...]) -> bool:
    where = words[1].value(reading.known) if len(words) == 2 else None  # noqa: PLR2004 - cd and the directory
    if where is not None and where.startswith("/"):
        reading.working_dir = where
    else:
        reading.notes.append(
            f"`{' '.join(word.raw for word in words)}` is left out: write the directory as workingDir."
        )
    return True


def _training(reading: _Reading) -> Script | None:
    """The one command, taken out of its launchers and resolved as far as the text tells."""
    if reading.trains is None:
        return None
    splices = {name: text for name, text in reading.inner.items() if name not in GIVEN}
    trainer = commands.recognise(spread(reading.trains.words, splices))
    nested = commands.shell_text(trainer.words)
    if nested is not None:
        below = read(nested, reading.known)
        return None if below is None else _joined(reading, trainer, below)
    resolved = _resolve(reading, trainer)
    if resolved is None:
        return None
    command, used = resolved
    environment = {name: reading.known[name] for name in [*reading.exported, *used] if name in reading.known}
    environment |= reading.secret
    for name, word in trainer.environment:
        value = word.value(reading.known)
        if value is not None:
            environment[name] = value
        elif not given(name):
            reading.notes.append(f"{name}={word.raw} is known on the nodes alone: set it in the trainer.")
    lost = [name for name in dict.fromkeys(reading.exported) if name in reading.unknown and not given(name)]
    reading.notes += [f"{name} is computed by the script: write its value as env, where it is needed." for name in lost]
    if reading.trains.redirected or reading.trains.piped:
        reading.notes.append(
            "The command's output goes to the job's log, which status names, not to a file of its own."
        )
    return Script(trainer, command, environment, trainer.working_dir or reading.working_dir, reading.notes)


def _joined(reading: _Reading, outer: Trainer, below: Script) -> Script:
    """A script in a script: srun bash -c '...'."""
    inner = below.trainer
    inner.launcher = outer.launcher if inner.launcher == "srun" else inner.launcher
    inner.image = inner.image or outer.image
    inner.nproc = inner.nproc or outer.nproc
    inner.tasks = inner.tasks or outer.tasks
    inner.notes = outer.notes + inner.notes
    inner.layers = outer.layers + inner.layers
    exported = {name: reading.known[name] for name in reading.exported if name in reading.known}
    directory = below.working_dir or outer.working_dir or reading.working_dir
    exported |= reading.secret
    return Script(inner, below.command, exported | below.environment, directory, reading.notes + below.notes)


def _resolve(reading: _Reading, trainer: Trainer) -> tuple[tuple[str, ...], list[str]] | None:
    """The trainer's argument vector, and the variables that its shell needs where it keeps one."""
    values = [word.value(reading.known) for word in trainer.words]
    plain = [value for value in values if value is not None]
    if len(plain) == len(values):
        return tuple(plain), []
    mentioned = [
        name for word, value in zip(trainer.words, values, strict=True) if value is None for name in word.names
    ]
    if any(name in reading.unknown and name not in GIVEN for name in mentioned):
        return None
    text = " ".join(
        word.raw if value is None else shlex.quote(value) for word, value in zip(trainer.words, values, strict=True)
    )
    reading.notes.append("command keeps a shell, since the nodes alone know some of its words.")
    reading.notes += [NOT_SET.format(name) for name in absent(text)]
    found = [name for name in dict.fromkeys(mentioned) if name not in reading.known and name not in reading.secret]
    reading.notes += [_WRITE.format(name) for name in found if not given(name) and not absent(name)]
    return ("bash", "-c", f"exec {text}"), sorted(mentioned)

"""A command as people start trainings -> launcher and the trainer's own command. Pure.

Launchers stand around the trainer like shells of an onion: `srun apptainer exec train.sif torchrun train.py`. Each is
taken off with its options; what remains is what every trainer process runs. Sizes and rendezvous are dropped without a
word, since the launcher sets them; whatever else is dropped gets a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from passerelle.imports import options
from passerelle.imports.fields import whole
from passerelle.imports.options import Option, Syntax
from passerelle.imports.shelltext import Word

SHELLS = frozenset({"bash", "sh", "dash", "zsh"})
_PYTHON = re.compile(r"python[0-9.]*")
_MPIRUN = frozenset({"mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prun", "horovodrun"})
_LAUNCHING = frozenset({"torchrun", "accelerate", "deepspeed", "srun"}) | _MPIRUN
_MODULES = {
    "torch.distributed.run": "torchrun",
    "torch.distributed.launch": "torchrun",
    "accelerate.commands.launch": "accelerate",
    "deepspeed.launcher.runner": "deepspeed",
}
_ROUND = frozenset({"exec", "time", "nohup", "command"})


@dataclass(slots=True)
class Trainer:
    """What was recognised. `nproc` is how many processes a node gets, where the command says so in figures."""

    words: tuple[Word, ...]
    launcher: str = "srun"
    environment: list[tuple[str, Word]] = field(default_factory=list)
    image: str | None = None
    working_dir: str | None = None
    nproc: int | None = None
    tasks: int | None = None
    """Processes in all, as mpirun counts them."""
    notes: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    """The launchers and containers that were taken off, the outermost first."""


def launches(word: str) -> bool:
    """Whether a command of this name starts trainers: a line that begins with it is the training."""
    return _base(word) in _LAUNCHING


def relative(words: Sequence[str]) -> str | None:
    """What to write instead of a program or script under a relative path, where there is no workingDir."""
    for place, word in enumerate(words[:4]):
        beside = place and re.fullmatch(r"[\w.][\w./+-]*\.(py|sh)", word)
        within = not place and re.fullmatch(r"[\w.][\w.+-]*/[\w./+-]*", word)
        if within or (beside and (_PYTHON.fullmatch(_base(words[0])) or _base(words[0]) in SHELLS)):
            return (
                f"command names {word}, and starts in a new, empty directory: write an absolute path, or the script's "
                "folder as workingDir."
            )
        if place and not word.startswith("-"):
            break
    return None


def recognise(words: tuple[Word, ...]) -> Trainer:
    """Take launchers and containers off, from the outside in."""
    found = Trainer(words)
    while found.words and _peel(found):
        pass
    return found


def shell_text(words: tuple[Word, ...]) -> str | None:
    """TEXT of `bash -c TEXT`, whatever options stand in front, or None where it is no such command."""
    if len(words) < 3 or _base(words[0].lead) not in SHELLS:  # noqa: PLR2004 - a shell, -c and the text
        return None
    for place, word in enumerate(words[1:-1], start=1):
        flag = word.value({}) or ""
        if re.fullmatch(r"-[a-z]*c", flag):
            return words[place + 1].value({})
        if not flag.startswith("-"):
            return None
    return None


def _peel(found: Trainer) -> bool:
    """Take one layer off; False where there is none."""
    words = found.words
    head = _base(words[0].value({}) or "")
    if re.match(r"[A-Za-z_]\w*=", words[0].lead):
        name = words[0].lead.partition("=")[0]
        found.environment.append((name, words[0].after(len(name) + 1)))
        found.words = words[1:]
        return True
    if head in _ROUND or (head == "env" and len(words) > 1):
        found.words = words[1:]
        return True
    if _PYTHON.fullmatch(head):
        return _python(found)
    if head in {"apptainer", "singularity"}:
        return _apptainer(found)
    if head == "accelerate" and len(words) > 1 and words[1].lead == "launch":
        return _launcher(found, "accelerate", words[2:], options.ACCELERATE)
    if head == "torchrun":
        return _launcher(found, "torchrun", words[1:], options.TORCHRUN)
    if head == "deepspeed":
        return _launcher(found, "deepspeed", words[1:], options.DEEPSPEED)
    if head in _MPIRUN:
        return _mpirun(found)
    return head == "srun" and _srun(found)


def _python(found: Trainer) -> bool:
    """`python -m torch.distributed.run ...` is torchrun; a plain python is the trainer."""
    words = found.words
    place = next((place for place, word in enumerate(words) if place and word.value({}) not in {"-u", "-O", "-B"}), 0)
    if not place or words[place].value({}) != "-m" or len(words) == place + 1:
        return False
    launcher = _MODULES.get(words[place + 1].value({}) or "")
    syntaxes = {"torchrun": options.TORCHRUN, "accelerate": options.ACCELERATE, "deepspeed": options.DEEPSPEED}
    return launcher is not None and _launcher(found, launcher, words[place + 2 :], syntaxes[launcher])


def _launcher(found: Trainer, launcher: str, words: tuple[Word, ...], syntax: Syntax) -> bool:
    """Take off torchrun, or one of its kin: options, then a script, a module or a program."""
    taken, rest = options.take(words, syntax)
    _note_dropped(found, launcher, syntax, taken)
    names = {option.name for option in taken}
    if not {"--no-python"} & names and rest:
        module = (Word.literal("-m"),) if {"-m", "--module"} & names else ()
        rest = (Word.literal("python"), *module, *rest)
    for option in taken:
        if option.name in {"--nproc-per-node", "--num-gpus"}:
            found.nproc = _number(option)
    found.launcher, found.words = launcher, rest
    found.layers.append(launcher)
    return True


def _mpirun(found: Trainer) -> bool:
    head = _base(found.words[0].lead)
    taken, rest = options.take(found.words[1:], options.MPIRUN)
    for option in taken:
        if option.name == "-x" and option.value is not None:
            name, equals, _ = option.value.lead.partition("=")
            if equals:  # without a value, the variable is one of the Pod's, and carried as such
                found.environment.append((name, option.value.after(len(name) + 1)))
        elif option.name in {"-genv", "-env"} and option.value is not None and option.second is not None:
            found.environment.append((option.value.lead, option.second))
        elif option.name in {"-wdir", "--wdir", "-wd"} and option.value is not None:
            found.working_dir = option.value.value({})
        elif option.name in {"-np", "-n", "-c", "--np", "--n", "--num-proc"}:
            found.tasks = _number(option)
    carried = {"-x", "-genv", "-env", "-wdir", "--wdir", "-wd"}
    _note_dropped(found, head, options.MPIRUN, [option for option in taken if option.name not in carried])
    found.launcher, found.words = "mpi", rest
    found.layers.append("mpi")
    return True


def _srun(found: Trainer) -> bool:
    taken, found.words = options.take(found.words[1:], options.SRUN)
    found.layers.append("srun")
    for option in taken:
        value = option.value.value({}) if option.value is not None else None
        if option.name == "--container-image" and value:
            found.image = _image(value)
        elif (option.name == "--container-workdir" and value) or (option.name in {"--chdir", "-D"} and value):
            found.working_dir = value
        elif option.name == "--container-mounts":
            found.notes.append(_BINDS)
        elif option.name == "--environment":
            found.notes.append(
                f"srun's --environment={value or '...'} (an environment file) is left out: write its image as image, "
                "and its variables as env."
            )
        elif option.name == "--mpi" and value not in {None, "none"}:
            found.launcher = "mpi"
    carried = {"--container-mounts", "--environment", "--chdir", "-D"}
    _note_dropped(found, "srun", options.SRUN, [option for option in taken if option.name not in carried])
    return True


def _apptainer(found: Trainer) -> bool:
    words = found.words
    head, command = _base(words[0].lead), ""
    ahead, rest = options.take(words[1:], options.APPTAINER)
    if rest:
        command, rest = rest[0].lead, rest[1:]
    if command not in {"exec", "run"}:
        return False
    taken, rest = options.take(rest, options.APPTAINER)
    taken = ahead + taken
    for option in taken:
        if option.name in {"-B", "--bind", "--mount"}:
            found.notes.append(_BINDS)
        elif option.name == "--env" and option.value is not None:
            found.environment += _pairs(option.value)
        elif option.name in {"--pwd", "--cwd"} and option.value is not None:
            found.working_dir = option.value.value({})
    carried = {"-B", "--bind", "--mount"}
    _note_dropped(found, head, options.APPTAINER, [option for option in taken if option.name not in carried])
    if command == "run":
        found.notes.append(f"{head} run starts the image's own script: write what it does as command.")
    if rest:
        found.image = _image(rest[0].value({}) or "")
    found.words = rest[1:]
    found.layers.append("apptainer")
    return True


_BINDS = (
    "Bind mounts are left out: write each path of the site under data, and that path, not the container's, in command "
    "and args."
)


def _note_dropped(found: Trainer, name: str, syntax: Syntax, taken: list[Option]) -> None:
    dropped = [option for option in taken if option.name not in syntax.ours]
    unknown = [option.name for option in dropped if not option.known]
    known = [_shown(option) for option in dropped if option.known]
    if known:
        text = f"Options of {name} are left out: {' '.join(known)}."
        if syntax is options.ACCELERATE:
            text += " Set them in the trainer, as arguments of Accelerator()."
        found.notes.append(text)
    if unknown:
        found.notes.append(
            f"{name} {' '.join(unknown)}: unknown here and left out; check that command begins where the trainer does."
        )


def _shown(option: Option) -> str:
    return " ".join([option.name, *(word.raw for word in (option.value, option.second) if word is not None)])


def _pairs(word: Word) -> list[tuple[str, Word]]:
    """A=1,B=2 of apptainer's --env, where it is plain text."""
    text = word.value({})
    if text is None:
        name = word.lead.partition("=")[0]
        return [(name, word.after(len(name) + 1))] if "=" in word.lead else []
    return [(name, Word.literal(value)) for name, equals, value in _cut(text) if equals]


def _cut(text: str) -> list[tuple[str, str, str]]:
    return [pair.partition("=") for pair in text.split(",")]


def _image(text: str) -> str:
    """A reference as Kubernetes writes it, of docker://REF or enroot's HOST#REF; a path as it is."""
    return re.sub(r"^(docker|oras)://", "", text).replace("#", "/", 1)


def _number(option: Option) -> int | None:
    text = option.value.value({}) if option.value is not None else None
    return None if text is None else whole(text)


def _base(text: str) -> str:
    return text.rpartition("/")[2]

"""command and args as a site would read them: words, and the simple commands of a shell's text. Pure.

No shell reads an argument vector, so it is one simple command. Where it is `bash -c TEXT`, or where the whole command
was written as one word, the text is cut into simple commands, as far as that is possible without running it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SHELLS = frozenset({"bash", "dash", "sh", "zsh"})
_IN_FRONT = frozenset(
    {"!", "command", "do", "elif", "else", "env", "exec", "if", "nice", "nohup", "sudo", "then", "time", "until"}
    | {"while", "{"}
)
"""What stands in front of a program and is none of interest."""

_TURNS = frozenset(
    {"!", "case", "exec", "exit", "for", "function", "if", "return", "select", "trap", "until", "while", "{"}
)
"""What makes it uncertain whether a command is run, or whether its failure counts."""
_TOKEN = re.compile(
    r"""
      (?P<blank> [ \t\r]+ | \\\n )
    | (?P<comment> \#[^\n]* )
    | (?P<operator> && | \|\|? | ;+ | \n | [()] | &(?!>) )
    | (?P<word> (?: [<>]& | &> | \\. | '[^']*' | "(?:\\.|[^"\\])*" | [^\s;&|()'"\\] | ['"\\] )+ )
    """,
    re.VERBOSE | re.DOTALL,
)
"""A quote that nobody closes is a character."""
_QUOTED = re.compile(r"""\\(.)|'([^']*)'|"((?:\\.|[^"\\])*)\"""", re.DOTALL)
_HERE_DOCUMENT = re.compile(r"(<<-?\s*['\"]?(\w+)['\"]?[^\n]*\n).*?^\t*\2$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Word:
    """One word, and the field in which it stands."""

    text: str
    field: str

    @property
    def name(self) -> str:
        """Of an option, as it was written."""
        return self.text.partition("=")[0]

    @property
    def values(self) -> tuple[str, ...]:
        """The word, and what follows the = of an option or an assignment."""
        _, equals, value = self.text.partition("=")
        return (self.text, value) if equals else (self.text,)


Command = tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """`argv` as it was written; `shell` is the text that a shell reads, if any."""

    argv: Command
    shell: Word | None
    commands: tuple[Command, ...]
    """Simple commands, from the program on."""
    stops: bool = True
    """Whether each of the commands is run, and the first that fails certainly ends the whole."""

    def __iter__(self) -> Iterator[Word]:
        """Every word that a program gets."""
        return (word for command in self.commands for word in command)

    def options(self) -> Iterator[tuple[str, str, Word]]:
        """Each --name of a command, `_` written as `-`; its value, in the same word or the next; its word."""
        for command in self.commands:
            following = [word.text for word in command[1:]] + [""]
            for word, after in zip(command, following, strict=True):
                if word.text.startswith("--"):
                    name, equals, value = word.text.partition("=")
                    yield name.replace("_", "-"), value if equals else after, word


def read(command: Sequence[str], args: Sequence[str]) -> Words:
    """The words of a spec."""
    argv = (*(Word(text, field="spec.command") for text in command), *(Word(text, field="spec.args") for text in args))
    place = 0 if is_one_string(command) else _shell_text(argv)
    if place is None:
        return Words(argv, None, tuple(filter(None, [_program(argv)])))
    text, rest = argv[place], argv[place + 1 :]
    commands = [[Word(word, field=text.field) for word in simple] for simple in _simple_commands(text.text)] or [[]]
    commands[-1] += rest
    errexit = any(re.fullmatch(r"-[a-z]*e[a-z]*", word.text) for word in argv[1:place])
    found = tuple(program for each in commands if (program := _program(tuple(each))))
    return Words(argv, text, found, stops=_stops(text.text, errexit=errexit))


def is_one_string(command: Sequence[str]) -> bool:
    """Whether a whole line was written as one word. A path may hold a blank; a program's name does not begin so."""
    return len(command) == 1 and len(command[0].split()) > 1


def base(text: str) -> str:
    """The program's name without its directory."""
    return text.rpartition("/")[2]


def _shell_text(argv: Command) -> int | None:
    """Where TEXT of `bash -c TEXT` stands."""
    if not argv or base(argv[0].text) not in _SHELLS:
        return None
    takes_value = False
    for place, word in enumerate(argv[1:-1], start=1):
        if re.fullmatch(r"-[a-z]*c", word.text):
            return place + 1
        if not takes_value and not word.text.startswith(("-", "+")):
            return None
        takes_value = re.fullmatch(r"[-+][a-z]*[oO]|--(rcfile|init-file)", word.text) is not None
    return None


def _simple_commands(text: str) -> Iterator[list[str]]:
    """The words between operators, unquoted."""
    found: list[str] = []
    for token in _TOKEN.finditer(_HERE_DOCUMENT.sub(r"\1", text) if "<<" in text else text):
        if token.lastgroup == "word":
            found.append(_QUOTED.sub(lambda quoted: quoted[1] or quoted[2] or quoted[3] or "", token[0]))
        elif token.lastgroup == "operator" and found:
            yield found
            found = []
    if found:
        yield found


def _stops(text: str, *, errexit: bool) -> bool:
    """Whether a shell runs every command of a text until one fails, and then ends with its failure.

    So it is where all hang together by &&, and under `set -e` where none do: a failure on the left of && is let pass.
    """
    simple = list(_simple_commands(text))
    errexit = errexit or (bool(simple) and re.fullmatch(r"set -[a-z]*e[a-z]*( .*)?", " ".join(simple[0])) is not None)
    if any(word in _TURNS for each in simple for word in each[:2]):
        return False
    joined = {token[0].strip(" ;") for token in _TOKEN.finditer(text.strip(" ;\n")) if token.lastgroup == "operator"}
    return joined <= ({"\n", ""} if errexit else {"&&"})


def _program(command: Command) -> Command:
    """The command without assignments and the like in front of its program."""
    before = ""
    for place, word in enumerate(command):
        option = before in {"env", "nice"} and (word.text.startswith("-") or word.text.isdigit())
        if not (option or word.text in _IN_FRONT or re.match(r"[A-Za-z_]\w*=", word.text)):
            return command[place:]
        before = before if option else word.text
    return ()

"""Shell text -> statements of words, where the text is plain enough to be understood without running it. Pure.

Nothing is evaluated: a variable stays a name, and `$(...)` stays text. Whatever steers (if, for, functions, here
documents) is refused as Unplain, and the caller keeps the text as it is. So a line is either understood or not touched.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "name", "dynamic"]

_CONTROL = frozenset(
    {
        "!", "[[", "{", "}", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if",
        "select", "then", "trap", "until", "while",
    }
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GLOBS = frozenset("*?[")
_SPLICES = 8
"""How deep variables of words may hold each other; a loop ends there."""


class Unplain(Exception):
    """The text can't be understood without running it."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word: as it was written, and its parts. `spread` is the variable or array that alone makes it several."""

    raw: str
    parts: tuple[tuple[Kind, str], ...]
    spread: str | None = None

    @classmethod
    def literal(cls, text: str) -> Word:
        return cls(shlex.quote(text), (("text", text),))

    @property
    def lead(self) -> str:
        """The text in front of the first variable: enough to tell an option."""
        found = ""
        for kind, text in self.parts:
            if kind != "text":
                break
            found += text
        return found

    @property
    def names(self) -> frozenset[str]:
        """The variables that it mentions."""
        found = {text for kind, text in self.parts if kind == "name"}
        for kind, text in self.parts:
            if kind == "dynamic":
                found |= set(re.findall(r"\$\{?[#!]?([A-Za-z_][A-Za-z0-9_]*)", text))
        return frozenset(found)

    def value(self, known: Mapping[str, str]) -> str | None:
        """Its text, or None where something of it is not known."""
        found = ""
        for kind, text in self.parts:
            part = text if kind == "text" else known.get(text) if kind == "name" else None
            if part is None:
                return None
            found += part
        return found

    def after(self, count: int) -> Word:
        """The word without its first characters, which are text."""
        kind, text = self.parts[0]
        if kind != "text" or len(text) < count:
            raise ValueError(f"{self.raw} does not begin with {count} characters of text")
        rest = ((kind, text[count:]),) if text[count:] else ()
        return Word(_rendered(rest + self.parts[1:]), rest + self.parts[1:])


@dataclass(frozen=True, slots=True)
class Statement:
    """One command: its words, and what was around it.

    `after` is the operator in front of it. `piped` is the command that its output goes to, if any. `redirected`: its
    output goes to a file.
    """

    words: tuple[Word, ...]
    after: str = ""
    piped: str = ""
    redirected: bool = False


def statements(text: str) -> list[Statement]:
    """The statements, in order. Raises Unplain."""
    return _Reader(text).read()


def spread(words: tuple[Word, ...], inner: Mapping[str, str], depth: int = 0) -> tuple[Word, ...]:
    """The words, with `$ARGS` and `${ARGS[@]}` taken apart where the text of ARGS is known. Raises Unplain."""
    found: list[Word] = []
    for word in words:
        text = None if word.spread is None else inner.get(word.spread)
        if text is None or depth > _SPLICES:
            found.append(word)
            continue
        parts = statements(text.replace("\n", " "))
        if len(parts) > 1 or any(part.piped or part.redirected for part in parts):
            raise Unplain
        found += spread(parts[0].words, inner, depth + 1) if parts else ()
    return tuple(found)


@dataclass
class _Reader:
    text: str
    place: int = 0
    done: list[Statement] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    parts: list[tuple[Kind, str]] = field(default_factory=list)
    start: int | None = None  # of the word that is being read
    operator: str = ""
    piped: str = ""
    redirected: bool = False
    skipping: bool = False  # the next word is the target of a redirection

    def read(self) -> list[Statement]:
        while self.place < len(self.text):
            self._step(self.text[self.place])
        self._end_statement("")
        return self.done

    def _step(self, c: str) -> None:
        ahead = self.text[self.place : self.place + 2]
        if ahead == "\\\n":
            self.place += 2
        elif c in " \t":
            self._end_word()
            self.place += 1
        elif c == "#" and self.start is None:
            end = self.text.find("\n", self.place)
            self.place = len(self.text) if end < 0 else end
        elif c in "\n;":
            if ahead == ";;":
                raise Unplain
            self._end_statement(c)
            self.place += 1
        elif c in "|&":
            self._operator(c, ahead)
        elif c in "<>":
            self._redirection(ahead)
        elif c in "()" and not (c == "(" and self._assigning()):
            raise Unplain
        else:
            self._character(c)

    def _operator(self, c: str, ahead: str) -> None:
        if ahead in {"&&", "||"}:
            self._end_statement(ahead)
            self.place += 2
        elif ahead == "&>" or (c == "&" and self.text[self.place - 1 : self.place] in {">", "<"}):
            self._redirection(ahead)
        elif c == "&":
            self._end_statement("&")
            self.place += 1
        else:
            self._end_word()
            self._skip_pipeline()

    def _skip_pipeline(self) -> None:
        """What stands after a pipe up to the statement's end is another command's, read to be left out."""
        inner = _Reader(self.text, place=self.place + (2 if self.text[self.place : self.place + 2] == "|&" else 1))
        while inner.place < len(self.text) and not inner.done:
            inner._step(self.text[inner.place])
        ended = inner.operator
        if not inner.done:
            inner._end_statement("")
        if not inner.done:
            raise Unplain
        self.piped = inner.done[0].words[0].raw
        self.place = inner.place
        if ended:
            self._end_statement(ended)

    def _redirection(self, ahead: str) -> None:
        if ahead == "<<":
            raise Unplain
        if self.start is not None and self.text[self.start : self.place].isdigit():
            self.parts, self.start = [], None  # the 2 of 2>
        self._end_word()
        found = re.compile(r"&>>?|>>|>\||>&|<&|<>|[<>]").match(self.text, self.place)
        if found is None:
            raise Unplain
        self.place = found.end()
        self.redirected = self.skipping = True

    def _assigning(self) -> bool:
        """Whether an array begins here: NAME=( or NAME+=(."""
        return self.start is not None and bool(re.fullmatch(r"\w+\+?=", self.text[self.start : self.place]))

    def _character(self, c: str) -> None:
        if self.start is None:
            self.start = self.place
        if c == "'":
            end = self._find("'", self.place + 1)
            self._add("text", self.text[self.place + 1 : end])
            self.place = end + 1
        elif c == '"':
            self._double_quoted()
        elif c == "\\":
            self._add("text", self.text[self.place + 1 : self.place + 2])
            self.place += 2
        elif c in "$`":
            self._expansion()
        elif c == "(":
            self._dynamic(self._closing(self.place, "()"))
        else:
            self._add("dynamic" if c in _GLOBS or (c == "~" and self.place == self.start) else "text", c)
            self.place += 1

    def _double_quoted(self) -> None:
        self.place += 1
        self._add("text", "")
        while (c := self.text[self.place : self.place + 1]) != '"':
            if not c:
                raise Unplain
            if c in "$`":
                self._expansion()
            elif c == "\\":
                after = self.text[self.place + 1 : self.place + 2]
                if after != "\n":
                    self._add("text", after if after in '$`"\\' else c + after)
                self.place += 2
            else:
                self._add("text", c)
                self.place += 1
        self.place += 1

    def _expansion(self) -> None:
        if self.text[self.place] == "`":
            self._dynamic(self._find("`", self.place + 1))
            return
        rest = self.place + 1
        after = self.text[rest : rest + 1]
        if name := _NAME.match(self.text, rest):
            self._add("name", name[0])
            self.place = name.end()
        elif after == "{":
            end = self._closing(rest, "{}")
            name = _NAME.fullmatch(self.text[rest + 1 : end])
            if name is None:
                self._dynamic(end)
            else:
                self._add("name", name[0])
                self.place = end + 1
        elif after == "(":
            self._dynamic(self._closing(rest, "()"))
        elif after == "'":
            raise Unplain
        elif after and (after.isdigit() or after in "@*#?$!-"):
            self._dynamic(rest)
        else:
            self._add("text", "$")
            self.place += 1

    def _dynamic(self, last: int) -> None:
        self._add("dynamic", self.text[self.place : last + 1])
        self.place = last + 1

    def _closing(self, place: int, pair: str) -> int:
        """Where the bracket at a place closes; quotes between count. Raises Unplain where it does not."""
        depth = 0
        while place < len(self.text):
            c = self.text[place]
            if c == "'" and pair == "()":
                place = self._find("'", place + 1)
            elif c == "\\":
                place += 1
            elif c in pair:
                depth += 1 if c == pair[0] else -1
                if not depth:
                    return place
            place += 1
        raise Unplain

    def _find(self, what: str, start: int) -> int:
        end = self.text.find(what, start)
        if end < 0:
            raise Unplain
        return end

    def _add(self, kind: Kind, text: str) -> None:
        if kind == "text" and self.parts and self.parts[-1][0] == "text":
            self.parts[-1] = ("text", self.parts[-1][1] + text)
        else:
            self.parts.append((kind, text))

    def _end_word(self) -> None:
        if self.start is None:
            return
        raw = self.text[self.start : self.place].replace("\\\n", "")
        if not self.skipping:
            self.words.append(Word(raw, tuple(self.parts), _spread(raw, self.parts)))
        self.skipping = False
        self.parts, self.start = [], None

    def _end_statement(self, operator: str) -> None:
        self._end_word()
        if self.skipping:
            raise Unplain
        if self.words:
            if self.words[0].raw in _CONTROL:
                raise Unplain
            self.done.append(Statement(tuple(self.words), self.operator, self.piped, self.redirected))
            self.operator = operator
        elif operator in {"&&", "||", "&"}:
            self.operator = operator
        self.words, self.piped, self.redirected = [], "", False


def _spread(raw: str, parts: list[tuple[Kind, str]]) -> str | None:
    """The variable of `$NAME`, `${NAME}`, or the array of `"${NAME[@]}"`."""
    if array := re.fullmatch(r'"?\$\{(\w+)\[[@*]\]\}"?', raw):
        return array[1]
    alone = len(parts) == 1 and parts[0][0] == "name" and not raw.startswith('"')
    return parts[0][1] if alone else None


def _rendered(parts: tuple[tuple[Kind, str], ...]) -> str:
    """Parts as a shell reads them."""
    found = ""
    for kind, text in parts:
        found += shlex.quote(text) if kind == "text" else f'"${{{text}}}"' if kind == "name" else text
    return found

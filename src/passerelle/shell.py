"""The one way of a value into shell text.

Only the operator's own values come here: markers, numbers, paths of a Site that were checked. What a user wrote stands
in the JSON that the on-site Python reads, and nowhere else. A job's environment may hold anything, and passes through
`export` where a door can carry it in the script alone.
"""

from __future__ import annotations

import shlex


def assignment(name: str, value: str | int) -> str:
    """`name=value`, quoted where a shell would see more than a word."""
    if not name.isidentifier() or not name.isascii():
        raise ValueError(f"{name!r} is no name of a shell variable")
    text = str(value)
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"{text!r} is not plain ASCII")
    return f"{name}={quoted(text)}"


def quoted(text: str) -> str:
    """One word of a shell that means this text, whatever is in it but NUL."""
    if "\0" in text:
        raise ValueError("a shell has no word with NUL in it")
    return shlex.quote(text)


def export(name: str, value: str) -> str:
    """A command of POSIX sh that puts a variable into the environment, whatever its value holds.

    A carriage return is written as an escape: sbatch refuses a script with a line that ends in one.
    """
    if not name.isidentifier() or not name.isascii():
        raise ValueError(f"{name!r} is no name of a shell variable")
    if "\0" in value:
        raise ValueError("an environment holds no NUL")
    if "\r" not in value:
        return f"export {name}={shlex.quote(value)}"
    escaped = shlex.quote(value.replace("\\", "\\\\").replace("\r", "\\r"))
    return f"{name}=$(printf '%b.' {escaped}); export {name}=\"${{{name}%.}}\""


def here_document(path: str, text: str, failure: str, *, command: str = "cat") -> str:
    """A command that writes what another makes of text, with cat byte for byte, into a file. All but text is shell
    text.
    """
    if not text.endswith("\n") or _END in text.splitlines() or not text.isascii() or "\r" in text:
        raise ValueError("a here-document is lines of ASCII, none of which is its end")
    return f"{command} > {path} <<'{_END}' || {failure}\n{text}{_END}\n"


_END = "END_OF_FILE"

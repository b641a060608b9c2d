"""The one way of a value into shell text.

Only the operator's own values come here: markers, numbers, paths of a Site that were checked. What a user wrote stands
in the JSON that the on-site Python reads, and nowhere else.
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


def here_document(path: str, text: str, failure: str, *, command: str = "cat") -> str:
    """A command that writes what another makes of text, with cat byte for byte, into a file. All but text is shell
    text.
    """
    if not text.endswith("\n") or _END in text.splitlines() or not text.isascii() or "\r" in text:
        raise ValueError("a here-document is lines of ASCII, none of which is its end")
    return f"{command} > {path} <<'{_END}' || {failure}\n{text}{_END}\n"


_END = "END_OF_FILE"

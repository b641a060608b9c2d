"""Files that a person names: text in, text out. `-` is standard input or output."""

from __future__ import annotations

import sys
from pathlib import Path

from passerelle.errors import Invalid

STANDARD = Path("-")
LIMIT = 16 * 1024 * 1024
"""Bytes: a manifest has a few; whoever names a SIF file or a checkpoint gets a sentence, and no full memory."""


def read(path: Path) -> str:
    """Raises Invalid for what can't be read, or is no text."""
    try:
        if path == STANDARD:
            raw = sys.stdin.buffer.read(LIMIT + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(LIMIT + 1)
    except OSError as error:
        raise Invalid(f"{path} can't be read: {error.strerror}.") from None
    if len(raw) > LIMIT:
        raise Invalid(f"{path} has more than {LIMIT // 1024**2} MiB; name a manifest or a script.")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{path} is no UTF-8 text; name a manifest or a script.") from None


def write(path: Path, text: str, *, force: bool) -> None:
    """Raises Invalid for a file that is there already, unless forced, and for what can't be written."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Invalid(f"{path} is there already; name another file, or write --force.") from None
    except OSError as error:
        raise Invalid(f"{path} can't be written: {error.strerror}.") from None

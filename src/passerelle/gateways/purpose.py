"""What a call of the site is made for: by that it gives way where calls must be saved.

A gateway does not know it, and need not: whoever asks says so around the call. What is not said follows from the
operation (courtesy.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from enum import StrEnum


class Purpose(StrEnum):
    """In the order in which they give way: the first does so first, and the last never."""

    PROGRESS = "progress"
    """What running jobs report."""
    FILES = "files"
    """Data, outputs, and whatever else is read or written that nobody waits for."""
    LOOK = "look"
    """Which jobs there are, and how they stand."""
    NEWS = "news"
    """The records of jobs that have changed: as many as there are changes, and no more."""
    SUBMIT = "submit"
    """A job, and the files that travel beside it."""
    END = "end"
    """Whatever ends a job, or asks it to stop: somebody wants that, and hours burn until it is done."""


_PURPOSE: ContextVar[Purpose | None] = ContextVar("passerelle_purpose", default=None)


@contextlib.contextmanager
def made_for(purpose: Purpose) -> Iterator[None]:
    """The calls inside, and those of tasks that they start, are for this; the innermost word counts."""
    token = _PURPOSE.set(purpose)
    try:
        yield
    finally:
        _PURPOSE.reset(token)


def purpose() -> Purpose | None:
    """What the call at hand is for; None where nobody said."""
    return _PURPOSE.get()

"""Which file of a session directory a path at the site is. Pure.

A-REX shows session directories, and nothing else of the site. Of a job's own files only its log is to be read there,
through the link that payload.py leaves; whatever else lies elsewhere is missing for us.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from passerelle.gateways.arc.decode import Given, Local, is_id
from passerelle.gateways.arc.payload import LOG

ID_LENGTH = 10
"""A-REX's ids are longer: 12 hexadecimal digits in 7, some 54 letters and digits in 6."""


def candidates(path: str) -> list[str]:
    """The words of a path that may be the id of the job whose session directory it is, the innermost first."""
    return [word for word in reversed(PurePosixPath(path).parts) if len(word) >= ID_LENGTH and is_id(word)]


def within(path: str, job_id: str, local: Local) -> str | None:
    """The path within a job's session directory; None where it lies elsewhere."""
    inside = path.removeprefix(local.sessiondir.rstrip("/") + "/")
    if inside == path or not local.sessiondir or job_id not in path or ".." in PurePosixPath(inside).parts:
        return None
    return inside


def log_of(path: str, given: Mapping[str, Given]) -> tuple[str, str] | None:
    """The job whose log this is, and the link to it."""
    return next(((job_id, LOG) for job_id, note in given.items() if note.standard_output == path), None)

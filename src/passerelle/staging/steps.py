"""What is to be copied, and where to: an entry of data, or of outputs. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from passerelle.errors import Invalid, Missing
from passerelle.staging.place import Place
from passerelle.staging.store import Stored

MOST_FILES = 10_000
"""Of one entry. A Lustre likes fewer, larger files, and so does everybody on the way to it."""
DEEPEST = 32
"""Directories within one another, of outputs: a link that leads upwards ends there."""

Direction = Literal["In", "Out"]
State = Literal["Waiting", "Copying", "Done", "Failed"]

_COMPONENT = re.compile(r"[^/\x00-\x1f\x7f]+")
_LONGEST_NAME = 236
"""Bytes: file systems take 255, and a file that grows has 18 more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An entry: `path` is at the site, absolute; `place` in the object store; `secret` names who we are there. Where a
    job of the site carries large files, `account` is charged for it; "" leaves that to the site.
    """

    name: str
    direction: Direction
    path: str
    place: Place
    secret: str
    account: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a step has come. `reason` and `message` tell what went wrong last; `stalled`: a person must act.

    `began` and `ended` are of the wall clock, in epoch seconds.
    """

    name: str
    direction: Direction
    state: State = "Waiting"
    files: int = 0
    moved: int = 0
    total: int | None = None
    reason: str = ""
    message: str = ""
    stalled: bool = False
    began: float | None = None
    ended: float | None = None

    @property
    def done(self) -> bool:
        return self.state == "Done"

    def waiting(self) -> Progress:
        """As it stands when its step begins again. What a person must mend stands until bytes move."""
        return replace(self, state="Failed" if self.stalled else "Copying", files=0, moved=0, total=None, ended=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A file at the site, and the key of what it becomes."""

    path: str
    size: int
    key: str


def targets(step: Step, objects: Sequence[Stored]) -> list[tuple[Stored, str]]:
    """Each object with its path at the site. Raises Missing where there is none, Invalid for a key that is no path."""
    if not step.place.is_prefix:
        return [(each, step.path) for each in objects]
    found = []
    for each in objects:
        inside = each.key.removeprefix(step.place.key)
        if not inside or (inside.endswith("/") and not each.size):
            continue  # a folder, as some consoles make them
        names = inside.split("/")
        if not all(map(_is_name, names)):
            text = f"The key {each.key[:200]!a} can't be a path at the site; give the object another name."
            raise Invalid(text, reason="KeyNotAPath")
        found.append((each, f"{step.path.rstrip('/')}/{inside}"))
    if not found:
        raise Missing(f"There is no object below {step.place}; put some there, or correct the url.", reason="NoSuchKey")
    if (clash := _clash({path for _, path in found})) is not None:
        raise Invalid(
            f"{clash} would be a file and a directory; rename the object, or copy less.", reason="KeyNotAPath"
        )
    return found


def _is_name(name: str) -> bool:
    return name not in (".", "..") and bool(_COMPONENT.fullmatch(name)) and len(name.encode()) <= _LONGEST_NAME


def _clash(paths: set[str]) -> str | None:
    above = {path[: place.start()] for path in paths for place in re.finditer("/", path)}
    return min(above & paths, default=None)


def outgoing(step: Step, files: Sequence[tuple[str, int]] | None, size: int | None) -> list[Outgoing]:
    """What becomes of a file of this size, or of the files of a directory, by their paths in it. Raises Missing where
    there is neither, Invalid where a directory has no prefix to go to.
    """
    if files is not None:
        if not step.place.is_prefix:
            text = f"outputs: {step.path} is a directory; end the url of {step.name} with a slash: {step.place}/."
            raise Invalid(text, reason="NotAPrefix")
        found = [Outgoing(path=f"{step.path}/{name}", size=each, key=step.place.key + name) for name, each in files]
        if not found:
            raise Missing(f"outputs: the run left nothing in {step.path}.", reason="OutputMissing")
        return found
    if size is None:
        text = f"outputs: the run left no {step.path}; correct the path of {step.name}, or have the trainer write it."
        raise Missing(text, reason="OutputMissing")
    key = step.place.key + posixpath.basename(step.path) if step.place.is_prefix else step.place.key
    return [Outgoing(path=step.path, size=size, key=key)]

"""Where a TrainingJob's files appear in the container. Pure.

Folders are mounted, not files: one bind for each topmost folder, and what lies below it lies in it. A mount hides what
the image has at that place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from passerelle.errors import Invalid

SAFE_PATH = re.compile(r"(/[A-Za-z0-9_+@=~-][A-Za-z0-9_.+@=~-]*|/\.[A-Za-z0-9_+@=~-][A-Za-z0-9_.+@=~-]*)+")
"""An absolute path that is plain to every reader: no colon or comma (binds), no percent sign (Slurm's file names), no
dots that climb."""


@dataclass(frozen=True, slots=True)
class File:
    """One file: the number of its folder, its path in there, its content."""

    folder: int
    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Mounts:
    """Folders as the container sees them, and the files in them. `sealed` are those of Secrets: the number of a folder,
    and the path in there, like `0` or `0/token`. What lies in them, nobody knows but the attempt.
    """

    folders: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    sealed: tuple[str, ...] = ()

    def place(self, path: str) -> tuple[int, str]:
        """The number of the folder that holds an absolute path in the container, and the path in there, if any."""
        number = next(place for place, folder in enumerate(self.folders) if f"{path}/".startswith(f"{folder}/"))
        return number, path.removeprefix(self.folders[number]).removeprefix("/")


def mounts(
    files: Sequence[tuple[str, bytes]], sealed: Sequence[str] = (), sealed_folders: Sequence[str] = ()
) -> Mounts:
    """Sort files, given by their absolute paths in the container, into folders; `sealed` are the paths of the Secrets'
    files, which are only looked at. Raises Invalid.
    """
    paths = [*(path for path, _ in files), *sealed]
    for path in paths:
        if path.count("/") == 1:
            text = "files: path '/' is the container's root; write a folder such as /workspace."
            raise Invalid(text, reason="FilesInvalid")
        if not SAFE_PATH.fullmatch(path):
            text = f"files: {path!r} is no plain path; write a folder of letters, digits and . _ + @ = ~ -"
            raise Invalid(text, reason="FilesInvalid")
        if paths.count(path) > 1:
            text = f"files: two entries bring {path}; give one of them another path."
            raise Invalid(text, reason="FilesInvalid")
    for folder in sealed_folders:
        if not SAFE_PATH.fullmatch(folder):
            text = f"files: {folder or '/'!r} is no plain path; write a folder of letters, digits and . _ + @ = ~ -"
            raise Invalid(text, reason="FilesInvalid")
    parents = sorted({*(path.rpartition("/")[0] for path in paths), *sealed_folders})
    clash = next((path for path in paths if any(f"{parent}/".startswith(f"{path}/") for parent in parents)), None)
    if clash is not None:
        raise Invalid(f"files: {clash} is a file and a folder; give one of them another path.", reason="FilesInvalid")
    folders = tuple(one for one in parents if not any(one.startswith(f"{other}/") for other in parents))
    made = Mounts(folders)
    hidden = tuple("/".join(str(part) for part in made.place(folder) if part != "") for folder in sealed_folders)
    return Mounts(folders, tuple(File(*made.place(path), data) for path, data in files), hidden)

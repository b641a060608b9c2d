"""What takes long is built once, kept under one root, and appears there whole or not at all.

An artefact is a directory. It is filled beside its place, on the same file system, and renamed into it, under a lock
of its own: two builders of the same thing never meet, and a killed one leaves nothing that anybody would take for a
result.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import processes, say
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = "PASSERELLE_CACHE"
"""The environment variable that moves the cache."""


def cache_root() -> Path:
    """The directory under which everything of the sandbox lies; it may not exist yet."""
    return Path(os.environ.get(ROOT) or Path.home() / ".cache" / "passerelle").absolute()


def logs() -> Path:
    """Where the output of builds and installations is kept."""
    return cache_root() / "logs"


def build_once(name: str, build: Callable[[Path], None], *, root: Path | None = None) -> Path:
    """The directory `<cache>/<name>`; where it is missing, `build` fills an empty directory that becomes it."""
    base = root or cache_root()
    target = base / name
    if target.is_dir():
        return target
    flat = name.replace("/", "+")
    with lock(base / ".locks" / flat, waiting_for=name):
        if target.is_dir():
            return target
        processes.end(processes.orphaned_steps)
        workshop = base / ".building"
        workshop.mkdir(parents=True, exist_ok=True)
        for leftover in workshop.glob(f"{flat}.*"):
            remove(leftover)
        place = Path(tempfile.mkdtemp(prefix=f"{flat}.", dir=workshop))
        place.chmod(0o755)  # it may become somebody's root directory
        try:
            build(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            place.rename(target)
        except BaseException:
            remove(place)
            raise
    return target


@contextmanager
def lock(path: Path, *, waiting_for: str) -> Iterator[None]:
    """Hold the lock of a file; the kernel releases it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as held:
        if not _taken(held.fileno()):
            with say.step(f"{waiting_for}: waiting for another process that is at it"):
                while not _taken(held.fileno()):
                    time.sleep(0.2)
        yield


def remove(tree: Path) -> None:
    """Remove a tree, but never through a mount: what is mounted below it is taken off first."""
    for mount in sorted(mounts_below(tree), key=lambda each: len(each.parts), reverse=True):
        subprocess.run(["umount", "--lazy", str(mount)], check=False, timeout=10, capture_output=True)
    if left := mounts_below(tree):
        raise SandboxError(f"{left[0]} is still mounted; unmount it, and remove {tree}.")
    if tree.exists():
        shutil.rmtree(tree)


def mounts_below(tree: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    """The mount points of this mount namespace at or under a directory."""
    found = []
    for entry in mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        point = Path(entry.split()[4].encode().decode("unicode_escape"))  # a space is written \040
        if point == tree or tree in point.parents:
            found.append(point)
    return found


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

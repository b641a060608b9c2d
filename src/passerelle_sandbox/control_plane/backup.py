"""A backup of a cluster, and its restore: a copy of etcd's files, from which the control plane starts anew.

Afterwards all is as it was when the copy was made, resource versions too, whatever clients have seen since.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import processes, state
from passerelle_sandbox.control_plane import build, serve
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from passerelle_sandbox.control_plane.build import Programs
    from passerelle_sandbox.control_plane.serve import ControlPlane

_COPY_SECONDS = 30


def take(plane: ControlPlane, name: str, place: Path) -> None:
    """Copy what the cluster of the sandbox `name` holds to a new directory. etcd stands still meanwhile, as after a
    loss of power: what it finds then, it can begin from.
    """
    held = _daemons(name, build.programs().etcd)
    try:
        processes.freeze(held)
        _copy(plane.directory / "etcd", place)
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)


def restore(plane: ControlPlane, name: str, place: Path) -> None:
    """Begin anew from what was copied there; returns when all three daemons are healthy."""
    programs, found = build.programs(), state.read(name)
    if found is None:
        raise SandboxError(f"Sandbox {name!r} is gone.")
    _kill(name, programs)
    shutil.rmtree(plane.directory / "etcd")
    _copy(place, plane.directory / "etcd")
    serve.start_again(plane, {**os.environ, processes.SANDBOX: found.marker}, programs)


def _kill(name: str, programs: Programs) -> None:
    """All at once: a daemon that is asked to end would still write."""
    ended = _daemons(name, programs.etcd, programs.apiserver, programs.controller_manager)
    for pid in ended:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    processes.end(lambda: ended)


def _copy(source: Path, target: Path) -> None:
    words = ["cp", "--archive", "--sparse=always", "--reflink=auto", str(source), str(target)]
    subprocess.run(words, check=True, timeout=_COPY_SECONDS)


def _daemons(name: str, *programs: Path) -> list[int]:
    """The processes of a sandbox that run one of these."""
    wanted = {program.resolve() for program in programs}
    return [pid for pid in processes.of_sandbox(name) if _program(pid) in wanted]


def _program(pid: int) -> Path | None:
    with suppress(OSError):
        return Path(f"/proc/{pid}/exe").readlink()
    return None

"""A sandbox: a control plane and Slurm sites under one name, and everything that was started for them.

`up` returns when all is healthy, and what it started goes on without it. `down` trusts no file: it finds the processes
by the mark in their environment, so a sandbox whose `up` was killed at any moment goes without a trace, too; mount and
PID namespaces go with their processes. One command at a time works on a sandbox; several sandboxes live side by side.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passerelle_sandbox import cache, host, processes, say, state
from passerelle_sandbox.control_plane import build
from passerelle_sandbox.control_plane import serve as control_plane
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import rootfs
from passerelle_sandbox.site import serve as site
from passerelle_sandbox.site.image import trainer_image
from passerelle_sandbox.state import State, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from passerelle_sandbox.control_plane.serve import ControlPlane
    from passerelle_sandbox.site.serve import Site

DEFAULT_NAME = "default"
DEFAULT_RELEASE = "sid"
_KUBECTL_TIMEOUT = 60


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that came to be: the paths and doors that a test or a person needs."""

    name: str
    directory: Path
    kubectl: Path
    control_plane: ControlPlane | None
    sites: dict[str, Site] = field(default_factory=dict)
    """Debian release -> its site."""

    @property
    def kubeconfig(self) -> Path:
        if self.control_plane is None:
            raise SandboxError(f"Sandbox {self.name!r} was made without a control plane.")
        return self.control_plane.kubeconfig

    def kubectl_run(
        self, *args: str, stdin: str | None = None, timeout: float = _KUBECTL_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """What kubectl, as the cluster's administrator, says; the caller looks at the exit code."""
        return subprocess.run(
            [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def status(self) -> dict[str, dict[str, str]]:
        """Part -> component -> "ok" or what is wrong; all parts are asked at the same time."""
        questions: dict[str, Callable[[], dict[str, str]]] = {}
        if self.control_plane is not None:
            questions["control plane"] = self.control_plane.health
        questions |= {f"site {release}": each.health for release, each in self.sites.items()}
        with ThreadPoolExecutor() as pool:
            answers = {part: pool.submit(question) for part, question in questions.items()}
            return {part: answer.result() for part, answer in answers.items()}

    def complaints(self) -> list[str]:
        """What is wrong; an empty list means healthy."""
        return [
            f"{part}: {component}: {verdict}"
            for part, components in self.status().items()
            for component, verdict in components.items()
            if verdict != "ok"
        ]

    def down(self) -> None:
        """End all of it, and remove its files."""
        down(self.name)


def up(
    name: str = DEFAULT_NAME,
    slurm: str | Sequence[str] = DEFAULT_RELEASE,
    nodes: int = 3,
    gpus: int = 4,
    *,
    with_control_plane: bool = True,
) -> Sandbox:
    """Start a sandbox, or return the one that is up already; `slurm` names one release, several, or none."""
    releases = (slurm,) if isinstance(slurm, str) else tuple(slurm)
    wanted = Wanted(name, releases, nodes=nodes, gpus=gpus, control_plane=with_control_plane)
    host.ensure_host_tools()
    with _at_work(name):
        found = state.read(name)
        if found is not None and found.complete and processes.of_sandbox(name):
            return _again(found, wanted)
        if state.directory(name).exists() or processes.of_sandbox(name):
            say.line(f"sandbox {name!r}: what is left of an earlier one is removed first")
            _remove(name)
        made = State(wanted, marker=f"{name}-{secrets.token_hex(4)}")
        state.directory(name).mkdir(parents=True)
        made.write()
        _start(made)
        kubectl = str(build.kubectl()) if with_control_plane else ""
        replace(made, complete=True, kubectl=kubectl).write()
        return load(name)


def prepare(releases: Sequence[str] = state.RELEASES) -> None:
    """Build, or find built, all that a sandbox is made of; afterwards `up` takes seconds."""
    host.ensure_host_tools()
    with ThreadPoolExecutor() as pool:
        _together([pool.submit(build.programs), pool.submit(_prepare_sites, releases)], clean=lambda: None)


def load(name: str = DEFAULT_NAME) -> Sandbox:
    """The sandbox of a name as its `up` left it, healthy or not."""
    found = state.read(name)
    if found is None:
        there = ", ".join(state.names()) or "none at all"
        raise SandboxError(f"There is no sandbox {name!r} here, but {there}; `up` makes one.")
    if not found.complete:
        raise SandboxError(f"Sandbox {name!r} is half-made: its `up` is still at it, or failed; `down` removes it.")
    home = state.directory(name)
    return Sandbox(
        name=name,
        directory=home,
        kubectl=Path(found.kubectl),
        control_plane=control_plane.load(home / "control-plane") if found.wanted.control_plane else None,
        sites={release: site.load(home / "sites" / release) for release in found.wanted.releases},
    )


def down(name: str = DEFAULT_NAME) -> bool:
    """End every process of a sandbox and remove its files, whatever state it is in; False where there was nothing."""
    state.check_name(name)
    with _at_work(name):
        return _remove(name)


def _again(found: State, wanted: Wanted) -> Sandbox:
    """The sandbox that is there, if it is what is wanted and healthy."""
    name = wanted.name
    if found.wanted != wanted:
        raise SandboxError(f"Sandbox {name!r} is up with other options; take it `down` first, or choose another name.")
    there = load(name)
    if complaints := there.complaints():
        raise SandboxError(f"Sandbox {name!r} is up, but ill ({'; '.join(complaints)}); take it `down` first.")
    say.line(f"sandbox {name!r}: is up already, and healthy")
    return there


def _start(made: State) -> None:
    """Start all parts at the same time. Where one fails or somebody interrupts, none goes on; the logs stay."""
    wanted = made.wanted
    home = state.directory(wanted.name)
    env = {**os.environ, processes.SANDBOX: made.marker}
    with ThreadPoolExecutor() as pool:
        parts: list[Future[Any]] = []
        if wanted.control_plane:
            parts.append(pool.submit(_start_control_plane, home / "control-plane", env, wanted.name))
        for release in wanted.releases:
            place = home / "sites" / release
            place.mkdir(parents=True)
            options = {"nodes": wanted.nodes, "gpus": wanted.gpus}
            parts.append(pool.submit(site.start, place, env, release=release, **options))
        _together(parts, clean=lambda: processes.end(lambda: processes.of_sandbox(wanted.name)))


def _together(parts: Sequence[Future[Any]], *, clean: Callable[[], object]) -> None:
    """Wait for all parts. Where one fails or somebody interrupts, the others are ended, and it is raised.

    The commands of builds are ended here; `clean` ends the daemons that a part waits for.
    """
    try:
        wait(parts, return_when=FIRST_EXCEPTION)
        for part in parts:
            if part.done():
                part.result()
    except BaseException:
        for part in parts:
            part.cancel()
        while not all(part.done() for part in parts):
            processes.end(processes.own_steps)
            clean()
            wait(parts, timeout=0.5)
        clean()
        raise


def _prepare_sites(releases: Sequence[str]) -> None:
    for release in releases:
        rootfs.rootfs(release)
    if any(rootfs.named(release).apptainer for release in releases):
        trainer_image()


def _start_control_plane(place: Path, env: Mapping[str, str], name: str) -> ControlPlane:
    place.mkdir(parents=True)
    return control_plane.start(place, env, build.programs(), name=name)


def _remove(name: str) -> bool:
    """End and remove, then look again: what can't be removed is an error, never a silence."""
    processes.end(processes.orphaned_steps)
    ended = processes.end(lambda: processes.of_sandbox(name))
    home = state.directory(name)
    there = home.exists()
    cache.remove(home)
    return there or ended > 0


def _at_work(name: str) -> AbstractContextManager[None]:
    path = cache.cache_root() / ".locks" / f"sandbox+{name}"
    return cache.lock(path, waiting_for=f"sandbox {name!r}")

"""A sandbox: a control plane and Slurm sites under one name, and everything that was started for them.

`up` returns when all is healthy, and what it started goes on without it. `down` trusts no file: it finds the processes
by the mark in their environment, so a sandbox whose `up` was killed at any moment goes without a trace, too; mount and
PID namespaces go with their processes. One command at a time works on a sandbox; several sandboxes live side by side.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import cache, host, processes, running_operator, say, side_by_side, state
from passerelle_sandbox.control_plane import build, existing
from passerelle_sandbox.control_plane import serve as control_plane
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import arc_server, share
from passerelle_sandbox.site import serve as site
from passerelle_sandbox.state import State, Wanted
from passerelle_sandbox.twins import serve as twins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from passerelle_sandbox.control_plane.existing import ExistingCluster
    from passerelle_sandbox.control_plane.serve import ControlPlane
    from passerelle_sandbox.running_operator import Operator
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
    existing: ExistingCluster | None = None
    """The cluster that is used where none was started."""
    twin: str = ""
    """The machine whose scheduler the site is."""

    @property
    def cluster(self) -> ControlPlane | ExistingCluster | None:
        """The Kubernetes of this sandbox, whoever started it."""
        return self.control_plane or self.existing

    @property
    def operator(self) -> Operator | None:
        """The operator that was started for it last, if one was."""
        return running_operator.load(self.directory)

    @property
    def kubeconfig(self) -> Path:
        if self.cluster is None:
            raise SandboxError(f"Sandbox {self.name!r} was made without a control plane.")
        return self.cluster.kubeconfig

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
        if self.cluster is not None:
            questions["control plane" if self.control_plane else "cluster"] = self.cluster.health
        questions |= {f"site {release}": each.health for release, each in self.sites.items()}
        if (operator := self.operator) is not None:
            questions["operator"] = operator.health
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


def up(  # noqa: PLR0913 -- all that a sandbox may be, by name
    name: str = DEFAULT_NAME,
    slurm: str | Sequence[str] = DEFAULT_RELEASE,
    nodes: int = 3,
    gpus: int = 4,
    *,
    with_control_plane: bool = True,
    kubeconfig: Path | None = None,
    trusted: bool = False,
    twin: str = "",
    arc: bool = False,
) -> Sandbox:
    """Start a sandbox, or return the one that is up already; `slurm` names one release, several, or none.

    `kubeconfig` leads to a cluster that is used instead of one of its own; `trusted`, even where that is no toy. `twin`
    names the machine whose scheduler the site is. `arc` lays A-REX over the sites, for a test that starts it.
    """
    wanted = Wanted(
        name,
        releases=(slurm,) if isinstance(slurm, str) else tuple(slurm),
        nodes=nodes,
        gpus=gpus,
        control_plane=with_control_plane and kubeconfig is None,
        kubeconfig=str(kubeconfig.absolute()) if kubeconfig else "",
        trusted=trusted,
        twin=twin,
        arc=arc,
    )
    host.ensure_host_tools()
    with _at_work(name):
        found = state.read(name)
        if found is not None and found.complete and (processes.of_sandbox(name) or not found.wanted.has_processes):
            return _again(found, wanted)
        if exists(name):
            why = "none of its processes lives any more" if found is not None and found.complete else "it is half-made"
            say.line(f"sandbox {name!r}: {why}; what is left of it is removed, and it starts over")
            _remove(name)
        made = State(wanted, marker=f"{name}-{secrets.token_hex(4)}")
        state.directory(name).mkdir(parents=True)
        made.write()
        _start(made)
        kubectl = str(build.kubectl()) if wanted.control_plane or wanted.kubeconfig else ""
        replace(made, complete=True, kubectl=kubectl).write()
        return load(name)


def exists(name: str) -> bool:
    """Whether anything of a sandbox is there, whatever state it is in."""
    state.check_name(name)
    return state.directory(name).exists() or bool(processes.of_sandbox(name))


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
        existing=existing.load(home, Path(found.kubectl)) if found.wanted.kubeconfig else None,
        control_plane=control_plane.load(home / "control-plane") if found.wanted.control_plane else None,
        sites={release: site.load(home / "sites" / release) for release in found.wanted.releases},
        twin=found.wanted.twin,
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
    parts: list[Callable[[], object]] = []
    if wanted.control_plane:
        parts.append(partial(_start_control_plane, home / "control-plane", env, wanted.name))
    if wanted.kubeconfig:
        parts.append(partial(_adopt_cluster, home, wanted))
    for release in wanted.releases:
        place = home / "sites" / release
        place.mkdir(parents=True)
        if wanted.twin:
            parts.append(partial(twins.start, place, env, wanted.twin))
        else:
            over = (arc_server.layer(release),) if wanted.arc else ()
            shape = {"nodes": wanted.nodes, "gpus": wanted.gpus}
            parts.append(partial(site.start, place, env, release=release, over=over, **shape))
    side_by_side.run(parts, clean=lambda: processes.end(lambda: processes.of_sandbox(wanted.name)))


def _start_control_plane(place: Path, env: Mapping[str, str], name: str) -> ControlPlane:
    place.mkdir(parents=True)
    return control_plane.start(place, env, build.programs(), name=name)


def _adopt_cluster(home: Path, wanted: Wanted) -> ExistingCluster:
    return existing.adopt(home, build.kubectl(), Path(wanted.kubeconfig), trusted=wanted.trusted)


def _remove(name: str) -> bool:
    """End and remove, then look again: what can't be removed is an error, never a silence."""
    processes.end(processes.orphaned_steps)
    ended = processes.end(lambda: processes.of_sandbox(name))
    home = state.directory(name)
    share.tidy()
    there = home.exists()
    cache.remove(home)
    return there or ended > 0


def _at_work(name: str) -> AbstractContextManager[None]:
    path = cache.cache_root() / ".locks" / f"sandbox+{name}"
    return cache.lock(path, waiting_for=f"sandbox {name!r}")

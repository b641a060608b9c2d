"""What is known of a sandbox between two commands: its directory, and one file in it that is always whole.

The file says what was asked for and whether it came to be; never what is alive, for that is asked of the living.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from passerelle_sandbox import cache
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.twins import model as twins

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = ("bookworm", "trixie", "sid")
"""The Debian releases whose Slurm makes a site: 22.05, 24.11, and the newest."""
TWINS_RELEASE = RELEASES[-1]
MOST_NODES = 64
MOST_GPUS = 16
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True)
class Wanted:
    """What a sandbox is to be. Checked when made: whoever holds one can build it.

    `kubeconfig` leads to a cluster that is used instead of a control plane of its own; `trusted`, even where that is no
    toy. `twin` names the machine whose scheduler the site is, in full size and without nodes: `nodes` and `gpus` are
    others' then. `arc`: its sites have what A-REX needs, for whoever starts it there.
    """

    name: str
    releases: tuple[str, ...]
    nodes: int
    gpus: int
    control_plane: bool
    kubeconfig: str = ""
    trusted: bool = False
    twin: str = ""
    arc: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        for release in self.releases:
            if release not in RELEASES:
                raise SandboxError(f"{release!r} is no release with a known Slurm: it is one of {', '.join(RELEASES)}.")
        if len(set(self.releases)) < len(self.releases):
            raise SandboxError("Each release makes at most one site of a sandbox.")
        if self.kubeconfig and self.control_plane:
            raise SandboxError("A sandbox starts a control plane or uses a cluster that is there, not both.")
        if not self.releases and not self.control_plane and not self.kubeconfig:
            raise SandboxError("A sandbox is a control plane, a site, or both; this would be nothing.")
        if self.twin:
            twins.load(self.twin)
            if self.releases != (TWINS_RELEASE,):
                raise SandboxError(f"A twin is of the newest Slurm alone: --slurm {TWINS_RELEASE}, or leave it out.")
        if not 1 <= self.nodes <= MOST_NODES:
            raise SandboxError(f"{self.nodes} nodes: a site has 1 to {MOST_NODES}.")
        if not 0 <= self.gpus <= MOST_GPUS:
            raise SandboxError(f"{self.gpus} GPUs a node: a node has 0 to {MOST_GPUS}.")

    @property
    def has_processes(self) -> bool:
        """Whether anything is started for it; a cluster that is merely used isn't."""
        return self.control_plane or bool(self.releases)


@dataclass(frozen=True)
class State:
    """The content of the file. `kubectl` is empty where there is no cluster."""

    wanted: Wanted
    marker: str
    complete: bool = False
    kubectl: str = ""

    def write(self) -> None:
        place = directory(self.wanted.name) / "state.json"
        draft = place.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        draft.replace(place)


def read(name: str) -> State | None:
    """The state of a sandbox, or None where there is none that could be told."""
    check_name(name)
    try:
        found = json.loads((directory(name) / "state.json").read_text(encoding="utf-8"))
        wanted = found.pop("wanted")
        return State(Wanted(**{**wanted, "releases": tuple(wanted["releases"])}), **found)
    except (OSError, ValueError, KeyError, TypeError, SandboxError):
        return None


def names() -> list[str]:
    """The sandboxes that have a directory."""
    home = cache.cache_root() / "sandboxes"
    return sorted(each.name for each in home.iterdir() if each.is_dir()) if home.is_dir() else []


def directory(name: str) -> Path:
    """Where everything of one sandbox lies."""
    return cache.cache_root() / "sandboxes" / name


def check_name(name: str) -> None:
    """A name becomes a directory and a part of a mark: it is a DNS label of at most 32 characters."""
    if not _NAME.fullmatch(name):
        raise SandboxError(
            f"{name!r} can't name a sandbox: write 1 to 32 of a-z, 0-9 and -, beginning and ending alike."
        )

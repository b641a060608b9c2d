"""Where the operator and the daemons of a sandbox write: found by looking, so that a half-made one can be read, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passerelle_sandbox import state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

AUDIT = "control-plane/audit"
"""Every request to the API server, a line of JSON each: shown only to who asks for it."""


def log_files(name: str) -> dict[str, Path]:
    """`operator`, and `<part>/<component>` -> file: `control-plane/etcd`, `sid/slurmctld`; without empty ones."""
    state.check_name(name)
    home = state.directory(name)
    found = {file.stem: file for file in sorted(home.glob("*.log"))}
    folders = {"control-plane": home / "control-plane" / "logs"}
    folders |= {each.name: each / "log" for each in sorted((home / "sites").glob("*"))}
    for part, folder in folders.items():
        for file in sorted(folder.glob("*")):
            found[f"{part}/{file.stem if file.suffix in {'.log', '.out'} else file.name}"] = file
    return {component: file for component, file in found.items() if file.is_file() and file.stat().st_size > 0}


def chosen(files: Mapping[str, Path], component: str | None) -> dict[str, Path]:
    """The logs of a component by its whole name or the last part of it; where none is named, all but the audit log."""
    if component is None:
        return {name: file for name, file in files.items() if name != AUDIT}
    return {name: file for name, file in files.items() if component in {name, name.rpartition("/")[2]}}

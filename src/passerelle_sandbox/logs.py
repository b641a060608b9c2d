"""Where the daemons of a sandbox write: found by looking, so that a half-made sandbox can be read, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passerelle_sandbox import state

if TYPE_CHECKING:
    from pathlib import Path


def log_files(name: str) -> dict[str, Path]:
    """`<part>/<component>` -> file: `control-plane/etcd`, `sid/slurmctld`; without those that hold nothing."""
    state.check_name(name)
    home = state.directory(name)
    folders = {"control-plane": home / "control-plane" / "logs"}
    folders |= {each.name: each / "log" for each in sorted((home / "sites").glob("*"))}
    return {
        f"{part}/{file.stem if file.suffix in {'.log', '.out'} else file.name}": file
        for part, folder in folders.items()
        for file in sorted(folder.glob("*"))
        if file.is_file() and file.stat().st_size > 0
    }

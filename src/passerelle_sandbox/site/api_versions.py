"""The versions of its REST API that a Slurm serves, read from its plugins, and which of them Passerelle speaks.

Sid moves: one day its Slurm serves versions that nobody here has seen. The newest known one is spoken then.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from passerelle.gateways.slurmrestd.versions import KNOWN
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_PLUGIN = re.compile(r"(?:data_parser|openapi)_v0_0_(\d+)\.so")
"""A version was a plugin for all of openapi up to 22.05, and is one for its data since 23.02."""
_NUMBERS = tuple(version.number for version in KNOWN)


def served(root: Path) -> list[int]:
    """The last numbers of the versions (v0.0.45 is 45) that the Slurm of a root file system serves, rising."""
    plugins = (root / "usr" / "lib").glob("*/slurm*/*.so")
    return sorted({int(found[1]) for plugin in plugins if (found := _PLUGIN.fullmatch(plugin.name))})


def spoken(slurm: str, numbers: Collection[int], known: Collection[int] = _NUMBERS) -> str:
    """What is spoken with a Slurm, in one sentence; a SandboxError where the two have no version in common."""
    if not numbers:
        raise SandboxError(f"Slurm {slurm} has no plugin that names a version of its REST API.")
    common = set(numbers) & set(known)
    if not common:
        raise SandboxError(
            f"Slurm {slurm} serves {_words(numbers)}, and Passerelle speaks {_words(known)}: none in common."
        )
    newest = f"{_word(max(common))} is spoken"
    if max(numbers) > max(known):
        return f"Slurm {slurm} serves {_word(max(numbers))}, newer than anything Passerelle knows: {newest}."
    return f"Slurm {slurm} serves {_words(numbers)}: {newest}."


def _words(numbers: Collection[int]) -> str:
    return " to ".join(dict.fromkeys((_word(min(numbers)), _word(max(numbers)))))


def _word(number: int) -> str:
    return f"v0.0.{number}"

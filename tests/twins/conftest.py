"""Twins for the tests of this folder, each started once."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from passerelle_sandbox import sandbox
from passerelle_sandbox.site.serve import Site


@pytest.fixture(scope="module")
def twin() -> Iterator[Callable[[str], Site]]:
    """The twin of a machine, one at a time: asking for another takes the last one down."""
    name = f"twins-{secrets.token_hex(3)}"
    up: dict[str, Site] = {}

    def asked(machine: str) -> Site:
        if machine not in up:
            end()
            (up[machine],) = sandbox.up(name, with_control_plane=False, twin=machine).sites.values()
        return up[machine]

    def end() -> None:
        up.clear()
        sandbox.down(name)

    yield asked
    end()

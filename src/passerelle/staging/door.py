"""A site's files as the engine needs them: all that a gateway with Transfer has."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from passerelle.gateways.base import Files, Opens, Traits, Transfer, Upload


@runtime_checkable
class Door(Files, Upload, Transfer, Protocol):
    """Reads, writes small files, moves large ones."""

    traits: Traits


async def opened(site: Door) -> None:
    """Before anything is asked of it. Raises Unavailable while a gateway whose files must be opened is at it."""
    if isinstance(site, Opens):
        await site.open_files()

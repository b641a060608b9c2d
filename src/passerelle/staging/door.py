"""A site's files as the engine needs them: all that a gateway with Transfer has."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from passerelle.gateways.base import Files, Transfer, Upload


@runtime_checkable
class Door(Files, Upload, Transfer, Protocol):
    """Reads, writes small files, moves large ones."""

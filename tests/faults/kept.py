"""Mishaps that once led to a defect, whatever seed had drawn them: they are tried with every sample."""

from __future__ import annotations

from faults.plan import Mishap

KEPT: dict[str, tuple[Mishap, ...]] = {}
"""By a name that says what went wrong; it becomes a namespace's."""

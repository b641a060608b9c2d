"""Options that differ in one field, so that a dialect which forgets a field can be caught."""

from __future__ import annotations

import dataclasses
from typing import Any

from passerelle.batch import Options


def changed_in(options: Options, field: str) -> Options:
    """The same Options with another value of one field, which must be set."""
    before = getattr(options, field)
    after: Any
    match before:
        case bool():
            after = not before
        case int():
            after = before + 1
        case tuple():
            after = (*before, "more")
        case "gres":
            after = "gpus"
        case _:
            after = before + "x"
    change: dict[str, Any] = {field: after}
    return dataclasses.replace(options, **change)

"""A curve in a terminal of 80 columns. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = 9
COLUMNS = 60


def plot(values: Sequence[float], *, horizontal: str) -> list[str]:
    """Rows of text, the highest value in the first; every other one has a label, and the last line says from where to
    where the values go.
    """
    high = max(values)
    step = (high - min(values)) / (ROWS - 1) or 1.0
    columns = [values[column * len(values) // COLUMNS] for column in range(COLUMNS)]
    places = [round((high - value) / step) for value in columns]
    lines = []
    for row in range(ROWS):
        label = "" if row % 2 else f"{high - row * step:.3f}"
        lines.append(f"  {label:>8} |" + "".join("*" if row == place else " " for place in places).rstrip())
    begin, end = f"{horizontal} 1", f"{horizontal} {len(values)}"
    lines.append(" " * 11 + "+" + "-" * COLUMNS)
    lines.append(" " * 12 + begin + end.rjust(COLUMNS - len(begin)))
    return lines

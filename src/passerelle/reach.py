"""How far an attempt came beside those before it: `reached` is the step of each that told one. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def advanced(reached: Mapping[int, int], number: int) -> bool:
    """Whether an attempt came further than all before it. The first one has none before it; one that told no step is
    not known to have come anywhere.
    """
    if number == 1:
        return True
    return reached.get(number, -1) > furthest(reached, number)


def furthest(reached: Mapping[int, int], number: int) -> int:
    """The step to which the attempts before this one came; -1 where none told one."""
    return max((step for attempt, step in reached.items() if attempt < number), default=-1)

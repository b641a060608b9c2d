"""Times and sizes as Slurm writes them -> as a TrainingJob writes them. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_SLURM_MIB = {"": Decimal(1), "K": Decimal(1) / 1024, "M": Decimal(1), "G": Decimal(1024), "T": Decimal(1024 * 1024)}
_GIB = 1024
_LONGEST_HOURS = 99_999


def duration(seconds: int) -> str:
    """A Duration: 5400 is `1h30m`, and nothing is lost; 0 is one second, since a Duration holds at least one."""
    hours, rest = divmod(max(seconds, 1), 3600)
    if hours > _LONGEST_HOURS:
        return f"{_LONGEST_HOURS}h"
    minutes, left = divmod(rest, 60)
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if number)


def slurm_seconds(text: str) -> int | None:
    """Seconds of sbatch's --time: `90`, `1:30`, `12:00:00`, `1-12`, `1-12:00`, `1-12:00:00`; None for anything else.

    Two numbers are minutes and seconds, after days hours and minutes: sbatch(1) says so.
    """
    found = re.fullmatch(r"(?:(\d{1,5})-)?(\d{1,7})(?::(\d{1,7}))?(?::(\d{1,7}))?", text)
    if not found:
        return None
    days, *rest = found.groups()
    numbers = [int(number) for number in rest if number is not None]
    if days is not None:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
        return int(days) * 86_400 + hours * 3600 + minutes * 60 + seconds
    match numbers:
        case [minutes]:
            return minutes * 60
        case [minutes, seconds]:
            return minutes * 60 + seconds
        case [hours, minutes, seconds]:
            return hours * 3600 + minutes * 60 + seconds
    return None


def slurm_memory(text: str) -> str | None:
    """Slurm's `480G`, `491520` (MiB) or `1T` as `480Gi`; None for 0, which asks for all, and for anything else."""
    found = re.fullmatch(r"(\d{1,12})([KMGT]?)B?", text.upper())
    return mebibytes(int(Decimal(found[1]) * _SLURM_MIB[found[2]])) if found else None


def mebibytes(number: int) -> str | None:
    """MiB as a TrainingJob writes memory; None for nothing."""
    if number <= 0:
        return None
    return f"{number // _GIB}Gi" if number % _GIB == 0 else f"{number}Mi"

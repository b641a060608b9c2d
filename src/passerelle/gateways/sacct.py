"""What sacct makes of an exit code. Pure."""

from __future__ import annotations

from passerelle.onsite.codes import DUPLICATE
from passerelle.slurm import ENDINGS_BY_CODE

OUR_CODES = frozenset({DUPLICATE, *ENDINGS_BY_CODE})
_HALF = 128


def whole(code: int | None) -> int | None:
    """A code as the job ended with it, of one that sacct told.

    sacct takes 128 from every code that has it: 212 reads 84. Our own codes are told from what they become, since no
    trainer's exit is reported as one of those (onsite/codes.py); of others nobody can say which of the two it was.
    """
    return code + _HALF if code is not None and code + _HALF in OUR_CODES else code

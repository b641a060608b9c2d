"""Exit codes with a meaning of their own. Some are the batch script's alone; two a trainer may end with."""

SITE_FAULT = 212
"""The site did not let the attempt begin: no python3, no scontrol, a directory that can't be written, wrong tasks."""

DUPLICATE = 213
"""Another job holds this attempt's claim, or a later attempt has one: never an outcome of the attempt."""

BAD_NODE = 214
"""A node failed the attempt: it answers no more, or a trainer found it broken. Later attempts keep away from it."""

CONTINUE = 215
"""The attempt was stopped with more to do: the next one goes on from its checkpoint."""

IMAGE_NOT_FOUND = 216
"""There is no image that could be entered, and another attempt would find none either."""

RESERVED = (SITE_FAULT, DUPLICATE, IMAGE_NOT_FOUND)
"""The batch script's alone: no trainer's exit is ever reported as one of them."""


_OURS = (SITE_FAULT, DUPLICATE, BAD_NODE, CONTINUE, IMAGE_NOT_FOUND)
_HALF = 128


def public(code: int) -> int:
    """A trainer's exit code as the job may end with it. sacct takes 128 from a code: one that ours would be told as is
    none of a trainer's.
    """
    return 1 if code in RESERVED or code + _HALF in _OURS else code

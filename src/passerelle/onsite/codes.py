"""Exit codes that a batch script keeps for itself: no trainer's exit is ever reported as one of them."""

SITE_FAULT = 212
"""The site did not let the attempt begin: no python3, no scontrol, a directory that can't be written, wrong tasks."""

DUPLICATE = 213
"""Another job holds this attempt's claim, or a later attempt has one: never an outcome of the attempt."""

RESERVED = (SITE_FAULT, DUPLICATE)


def public(code: int) -> int:
    """A trainer's exit code as the job may end with it."""
    return 1 if code in RESERVED else code

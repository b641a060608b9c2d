"""What spreads the looks of jobs that began together. Python's own random would cost each rank a few more imports."""

import os


def within(seconds: float) -> float:
    """A random part of a time."""
    return seconds * int.from_bytes(os.urandom(4), "big") / 2**32

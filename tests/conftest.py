"""What is true of every test."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules live on to the end: the collector need not look through them each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)

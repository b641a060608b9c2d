"""What is true of every test."""

from __future__ import annotations

import gc

from hypothesis import HealthCheck, settings

# In a new clone hypothesis makes its table of characters first, seconds that it would hold against the test.
settings.register_profile("passerelle", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("passerelle")


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules live on to the end: the collector need not look through them each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)

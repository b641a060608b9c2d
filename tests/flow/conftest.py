"""Luck that is the same each time: the operator spreads its looks and second tries by chance.

A story that fails can so be told again. `LUCK=n` tells all of them with another luck: a bound that holds with one alone
is the test's mistake, or a defect.
"""

from __future__ import annotations

import os
import random

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Each story begins with a luck of its own, whatever ran before it."""
    random.seed(f"{item.nodeid} {os.environ.get('LUCK', '')}")

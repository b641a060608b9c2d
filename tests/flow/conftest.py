"""Luck that is the same each time: the operator spreads its looks and second tries by chance.

A story that fails can so be told again. `LUCK=n` tells all of them with another luck: a bound that holds with one alone
is the test's mistake, or a defect.
"""

from __future__ import annotations

import os
import random

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Each story has a luck of its own, the same each time: after pytest-randomly, which draws one for each session."""
    random.seed(f"{pyfuncitem.nodeid} {os.environ.get('LUCK', '')}")

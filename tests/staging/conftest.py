"""A real object store on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from passerelle_sandbox.object_store.serve import ObjectStore
from staging import engine


@pytest.fixture(scope="session")
def store() -> Iterator[ObjectStore]:
    with engine.object_store() as started:
        yield started

"""A real object store on loopback, and a way to it that can be cut."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from passerelle_sandbox.object_store import serve
from passerelle_sandbox.object_store.serve import ObjectStore

BUCKET = "startup"


@pytest.fixture(scope="session")
def store() -> Iterator[ObjectStore]:
    with tempfile.TemporaryDirectory(prefix="passerelle-s3-") as directory:
        started = serve.start(Path(directory), os.environ, buckets=(BUCKET,))
        try:
            yield started
        finally:
            started.end()

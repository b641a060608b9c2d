"""The image, built once a run from this checkout."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from passerelle_sandbox import chart, operator_image, sandbox
from passerelle_sandbox.sandbox import Sandbox

TAG = "localhost/passerelle:test"


@pytest.fixture(scope="session")
def image() -> str:
    operator_image.build(TAG)
    return TAG


@pytest.fixture(scope="session")
def cluster() -> Iterator[Sandbox]:
    made = sandbox.up(f"image-{secrets.token_hex(3)}", slurm=())
    try:
        chart.install_chart(made)
        yield made
    finally:
        made.down()

"""What several tests of the ssh driver begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from passerelle.gateways.ssh.driver import Ssh
from unit.gateways.login_node import LoginNode


@pytest.fixture
async def door(node: LoginNode) -> AsyncIterator[Ssh]:
    """A door to the login node that the test's own fixture runs."""
    made = node.door()
    yield made
    await made.close()

import time

import pytest

from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.components import Component
from passerelle_sandbox.site.namespace import Namespace

GONE = Namespace(init_pid=1, started="never", marks={})


def test_nobody_waits_for_a_site_that_has_ended() -> None:
    begin = time.monotonic()

    with pytest.raises(SandboxError, match="init has ended while one waited for slurmctld to serve"):
        Component("slurmctld", (("slurmctld",),), (0,)).wait(GONE)

    assert time.monotonic() - begin < 1

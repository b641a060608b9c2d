import os
import subprocess
import time

import pytest

from passerelle_sandbox import processes
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.components import Component
from passerelle_sandbox.site.namespace import Namespace

GONE = Namespace(init_pid=1, started="never", marks={})


def test_a_daemon_is_known_by_its_own_name_and_by_the_one_that_started_it() -> None:
    """As Slurm's are that have started themselves anew, whose file has another name than the link to it."""
    with subprocess.Popen(["/opt/slurmctld", "60"], executable="/bin/sleep", stdin=subprocess.DEVNULL) as daemon:
        try:
            here = Namespace(init_pid=os.getpid(), started=str(processes.start_time(os.getpid())), marks={})
            assert here.pids("slurmctld") == [daemon.pid]
            assert daemon.pid in here.pids("sleep")
            assert daemon.pid not in here.pids("slurm")
        finally:
            daemon.kill()


def test_nobody_waits_for_a_site_that_has_ended() -> None:
    begin = time.monotonic()

    with pytest.raises(SandboxError, match="init has ended while one waited for slurmctld to serve"):
        Component("slurmctld", (("slurmctld",),), (0,)).wait(GONE)

    assert time.monotonic() - begin < 1

"""Loaded by kopf ahead of the operator: it dies by SIGKILL between the site's answer and its record."""

import os
import signal

from passerelle.batch import Batch
from passerelle.gateways.slurmrestd.driver import Slurmrestd

_submit = Slurmrestd.submit


async def submit(self: Slurmrestd, batch: Batch) -> str:
    job_id = await _submit(self, batch)
    os.kill(os.getpid(), signal.SIGKILL)
    return job_id


Slurmrestd.submit = submit  # type: ignore[method-assign]  # the crash is this file's purpose

"""How a running job is asked to save and stop: by a signal to its batch script, else by a file that it looks for.

The signal takes Slurm's own way and arrives at once; not every gateway has one that spares the ranks. The stop request
lies in the run directory under the attempt's name. The job looks for it now and then (onsite/claim.py), and does what
the signal would have done.
"""

from __future__ import annotations

import logging

from passerelle.errors import Invalid, Missing, Rejected
from passerelle.gateways.base import Gateway, Signals, Upload
from passerelle.marker import parse
from passerelle.onsite import places
from passerelle.reports import RunDirectory
from passerelle.slurm import RemoteJob

log = logging.getLogger("passerelle.stopping")

WARNING = "USR1"
"""The signal by which the batch script takes note that it is time to stop, as before a time limit."""

REQUEST = b"Passerelle asks this attempt to save and stop.\n"


async def ask(gateway: Gateway, job: RemoteJob, run_directory: RunDirectory) -> bool:
    """Whether the job was asked. Raises Unauthorized and Unavailable where nobody knows, and Rejected where it may
    pass later: a full disk is no reason to end the job before its grace.
    """
    if isinstance(gateway, Signals) and await gateway.warn(job.job_id, WARNING):
        return True
    named = parse(job.name)
    directory = run_directory(*named) if named is not None else None
    if named is None or directory is None or not isinstance(gateway, Upload):
        return False
    try:
        await gateway.write(places.stop_request(directory, named[1]), REQUEST)
    except (Rejected, Missing, Invalid) as error:
        if isinstance(error, Rejected) and error.transient:
            raise
        log.warning("a job can't be asked to stop", extra={"job_id": job.job_id, "error": error.message})
        return False
    return True

"""Where the attempts of a run lie at their site. The run's directory is its fence (law 7), and its checkpoints lie
there: so what an attempt began in stays the run's, wherever the Site puts new ones. Pure.
"""

from __future__ import annotations

from passerelle.gateways.base import Identity
from passerelle.marker import Run
from passerelle.mounts import SAFE_PATH
from passerelle.objects import TrainingJob
from passerelle.sites import Service
from passerelle.slurm import RemoteJob


def run_directory(job: TrainingJob, service: Service | None, attempt: int) -> str:
    """As its intent says; of one that has none, that of the newest attempt before it, and the Site's where the run has
    none. On another cluster, or as another user, the former one can't be counted on.
    """
    root = recorded_root(job, service, attempt)
    spec = service.site.spec if service is not None else None
    return f"{root or (spec.run_root.rstrip('/') if spec else '')}/{job.run.key}"


def recorded_root(job: TrainingJob, service: Service | None, attempt: int) -> str:
    """The run root that the status tells of; `""` where it tells of none. It may be written by others: no directory
    counts that is not this run's.
    """
    probe = service.watch.probe if service is not None and service.watch is not None else None
    found = ""
    for each in job.status.attempts:
        root = _root(each.run_directory, job.run)
        if each.number == attempt and root:
            return root
        if probe is None or Identity(each.cluster, each.user) == probe.identity:
            found = root or found
    return found


def adopted_directory(job: TrainingJob, service: Service | None, attempt: int, remote: RemoteJob) -> str:
    """Likewise, of a job that the status has lost: its log lies in the run root that it was sent to."""
    root, _, name = remote.standard_output.rpartition("/")
    if name.startswith(remote.name) and SAFE_PATH.fullmatch(root):
        return f"{root}/{job.run.key}"
    return run_directory(job, service, attempt)


def _root(directory: str, run: Run) -> str:
    root = directory.removesuffix(f"/{run.key}")
    return root if root != directory and SAFE_PATH.fullmatch(root) else ""
